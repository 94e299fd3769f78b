"""The stage `proposals` on a COCO results file: a real store, several processes, what it refuses."""

import json

import numpy as np
import pytest

from data_contracts.errors import DataError
from data_contracts.schemas import DATASET, PROPOSALS
from data_contracts.store import Store
from stages.proposals import proposals
from tests.records import image_record
from wsis.engine.per_image import read_failures, write_records
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, Stage, StageConfig, execute
from wsis.method.masks import rle
from wsis.method.masks.proposal_set import Regions
from wsis.method.proposals import MCGConfig, generate
from wsis.method.proposals.imports.coco_results import coco_results
from wsis.readers import proposal_files
from wsis.views.dataset import SOURCE_IDS

SIZES = {"t_1": (40, 60), "t_2": (30, 30), "t_10": (100, 48), "v_3": (8, 90), "v_4": (64, 64)}


class GivenConfig(StageConfig):
    format: str = "voc"


def picture(name):
    height, width = SIZES[name]
    pixels = np.random.default_rng(height).integers(60, 90, (height, width, 3), dtype=np.uint8)
    pixels[height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] += 100
    return pixels


def dataset_record(name):
    return image_record(picture(name), f"JPEGImages/{name}.png", "train" if name[0] == "t" else "val")


def _write_dataset(inputs, config, context):
    if config.format == "coco":
        context.write_json(SOURCE_IDS, {name: int(name.split("_")[1]) for name in SIZES})
    write_records(context, DATASET, list(SIZES), lambda some: (dataset_record(name) for name in some))


DATASET_STAGE = Stage("dataset", 1, GivenConfig, _write_dataset, (), "dataset")


class Log(Progress):
    """Quiet, and remembers what was said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.said = []

    def log(self, message):
        self.said.append(message)


def do(store, file=None, workers=1, data_format="voc", progress=None, source="coco_results", **settings):
    execution = Execution(device="cpu", workers=workers, threads=1)
    data = execute(
        DATASET_STAGE, GivenConfig(format=data_format), {}, store, execution=execution, progress=Log()
    )
    config = proposals.Config(source=source, contour="lab_gradient", file=file, **settings)
    return execute(
        proposals.STAGE,
        config,
        {"dataset": data.artefact},
        store,
        execution=execution,
        progress=progress or Log(),
    ).artefact


def halves(name):
    """The left half and everything, the latter with the higher score."""
    height, width = SIZES[name]
    left = np.zeros((height, width), bool)
    left[:, : width // 2] = True
    return [(left, 0.25), (np.ones_like(left), 0.75)]


def entries_of(name, **named):
    return [
        {
            **(named or {"file_name": f"{name}.png"}),
            "segmentation": {"size": list(mask.shape), "counts": rle.encode(mask).decode()},
            "score": score,
        }
        for mask, score in halves(name)
    ]


def write(folder, entries, name="results.json"):
    path = folder / name
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_masks_scores_and_counts(store, tmp_path):
    unknown = [{**entry, "file_name": "other.png"} for entry in entries_of("t_1")]
    mixed = [*entries_of("t_1"), *unknown, *entries_of("v_4", image_id="v_4")]
    rest = [entry for name in ("t_2", "t_10", "v_3") for entry in entries_of(name)]
    log = Log()
    artefact = do(store, write(tmp_path, mixed + rest), ranking="file", progress=log)
    records = artefact.records(PROPOSALS)
    assert records.ids == list(SIZES)
    for name, one in records:
        np.testing.assert_array_equal(
            Regions.from_record(one).masks(), [halves(name)[1][0], halves(name)[0][0]]
        )
        assert one["scores"].tolist() == [1.0, 0.5] and int(one["num_superpixels"][0]) == 2
    counts = artefact.manifest.counts
    assert (counts["images"], counts["proposals"], counts["entries_of_unknown_images"]) == (5, 10, 2)
    assert any(
        "2 entries are of 1 image that the data set lacks, and left out: other.png" in s for s in log.said
    )


def test_several_processes_give_the_same_and_best_ones_are_kept(store, tmp_path):
    config = MCGConfig(contour="lab_gradient", num_proposals=30)
    found = {name: generate(picture(name), config) for name in SIZES}
    entries = [entry for name, one in found.items() for entry in coco_results(one, name, f"{name}.png")]
    file = write(tmp_path, entries)
    one = do(store, file, ranking="file", num_proposals=12)
    two = do(Store(tmp_path / "other"), file, workers=2, ranking="file", num_proposals=12)
    assert one.fingerprint == two.fingerprint
    for name, record in one.records(PROPOSALS):
        np.testing.assert_array_equal(Regions.from_record(record).masks(), found[name].masks(np.s_[:12]))
        other = two.records(PROPOSALS)[name]
        for field, value in record.items():
            np.testing.assert_array_equal(value, other[field], err_msg=f"{name} {field}")


def test_whole_numbers_are_images_of_coco_files_alone(store, tmp_path):
    entries = [entry for name in SIZES for entry in entries_of(name, image_id=int(name.split("_")[1]))]
    file = write(tmp_path, entries)
    assert do(store, file, data_format="coco").manifest.counts["proposals"] == 10
    with pytest.raises(DataError, match=r"images that the data set lacks, e\.g\. '1'\): 5 problems"):
        do(store, file)


def test_every_image_without_entries_is_named_before_anything_is_computed(store, tmp_path, monkeypatch):
    monkeypatch.setattr(proposal_files, "import_coco_results", lambda *_: pytest.fail("computed"))
    wrong = entries_of("v_4")
    wrong[1]["segmentation"]["size"] = [64, 63]
    entries = [*entries_of("t_1"), *entries_of("v_3"), *wrong]
    with pytest.raises(DataError) as caught:
        do(store, write(tmp_path, entries))
    lines = str(caught.value).split("\n")
    assert lines[0].endswith("results.json: 3 problems")
    assert lines[1].startswith(
        "  - image v_4: entry 5: segmentation.size: expected the image's size [64, 64]"
    )
    assert lines[2:] == [
        f"  - image {name} (JPEGImages/{name}.png): expected entries, got none" for name in ("t_2", "t_10")
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_wrong_with_one_image_fails_alone_where_that_is_tolerated(store, tmp_path, workers):
    wrong = entries_of("v_4")
    wrong[1]["segmentation"]["size"] = [64, 63]
    damaged = entries_of("v_3")
    damaged[0]["segmentation"]["counts"] = "04"
    file = write(tmp_path, [*entries_of("t_1"), *wrong, *damaged])
    artefact = do(store, file, workers, ranking="file", tolerate_failures=True)
    failed = read_failures(artefact.path)
    assert list(failed) == ["t_2", "t_10", "v_3", "v_4"]
    assert "results.json: image t_2 (JPEGImages/t_2.png): expected entries, got none" in failed["t_2"]
    assert "entry 4: segmentation.counts" in failed["v_3"]
    assert "image v_4: entry 3: segmentation.size: expected the image's size [64, 64]" in failed["v_4"]
    assert artefact.manifest.counts["images"] == 1
    assert artefact.manifest.counts["failed"] == list(failed.values())
    np.testing.assert_array_equal(
        Regions.from_record(artefact.records(PROPOSALS)["t_1"]).masks()[1], halves("t_1")[0][0]
    )


def test_damaged_runs_are_named_with_image_and_entry(store, tmp_path):
    entries = [entry for name in SIZES for entry in entries_of(name)]
    entries[5]["segmentation"]["counts"] = "04"
    with pytest.raises(
        DataError, match=r"image t_10: .*results\.json: entry 5: segmentation\.counts: expected runs"
    ):
        do(store, write(tmp_path, entries))


def test_files_of_segment_anything_give_the_same(store, tmp_path):
    entries = [entry for name in SIZES for entry in entries_of(name)]
    wanted = do(store, write(tmp_path, entries), ranking="file").records(PROPOSALS)
    folder = tmp_path / "amg"
    folder.mkdir()
    for name in SIZES:
        masks = [
            {**one, "predicted_iou": one["score"], "score": 0, "bbox": [0, 0, 1, 1]}
            for one in entries_of(name)
        ]
        write(folder, masks, f"{name}.json")
    made = do(store, folder=folder, source="sam", workers=2, ranking="file")
    assert made.manifest.counts["proposals"] == 10
    assert any("imported sam (Segment Anything, trained on the masks" in s for s in made.manifest.supervision)
    for name, record in made.records(PROPOSALS):
        for field, value in record.items():
            np.testing.assert_array_equal(value, wanted[name][field], err_msg=f"{name} {field}")
    (folder / "t_2.json").write_text("[]")
    with pytest.raises(DataError, match=r"image t_2: .*t_2\.json: expected a JSON list of masks"):
        do(store, folder=folder, source="sam")


def test_content_decides_and_not_the_place(store, tmp_path):
    entries = [entry for name in SIZES for entry in entries_of(name)]
    one, other = write(tmp_path, entries), write(tmp_path, entries, "moved.json")
    fingerprint = do(store, one).fingerprint
    assert do(store, other).fingerprint == fingerprint
    assert do(store, write(tmp_path, entries[::-1])).fingerprint != fingerprint
    assert do(store, other, ranking="file").fingerprint != fingerprint
    with pytest.raises(DataError, match=r"proposals\.file: expected a COCO results JSON, got .*none\.json"):
        do(store, tmp_path / "none.json")


def test_lineage_says_imported(tmp_path):
    lineage = proposals.STAGE.supervision
    settings = {"source": "coco_results", "file": tmp_path / "x.json"}
    unlearned = lineage(proposals.Config(**settings))
    assert any(line.startswith("proposals: imported coco_results (whatever trained") for line in unlearned)
    assert not any("ranking" in line or "BSDS500" in line for line in unlearned[1:])
    ranked = lineage(proposals.Config(**settings, ranking="file"))
    assert any(
        line.startswith("proposal ranking: of the imported files (whatever trained") for line in ranked
    )


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            {"source": "coco_results"},
            "file: expected the file of proposals for source coco_results, got None",
        ),
        ({"file": "x.json"}, "file: expected None for source generate, got x.json"),
        ({"source": "mcg_mat", "folder": "x", "file": "x.json"}, "file: expected None for source mcg_mat"),
        (
            {"source": "coco_results", "file": "x", "folder": "y"},
            "folder: expected None for source coco_results",
        ),
    ],
)
def test_bad_settings_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        proposals.Config(**settings)
