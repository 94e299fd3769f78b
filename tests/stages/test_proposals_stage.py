"""The stage `proposals` on a small data set: generated, imported, several processes, what it refuses."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io

from data_contracts.errors import DataError
from data_contracts.records import RecordReader, RecordWriter
from data_contracts.schemas import BOXES, DATASET, PROPOSALS
from stages.proposals import proposals
from stages.proposals.sources import SOURCES, ProposalSource
from tests.records import image_record
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, StageContext
from wsis.errors import MissingWeightsError
from wsis.method.masks.proposal_set import Regions
from wsis.method.proposals.imports.complete import complete
from wsis.readers.proposal_files import FileAnImage

SIZES = {"a": (40, 60), "b": (1, 1), "c": (64, 48), "d": (8, 200), "e": (30, 30), "f": (50, 50)}
SMALL = {"contour": "lab_gradient", "max_side": 64, "max_regions": 60, "num_proposals": 40}


def picture(name):
    height, width = SIZES[name]
    rng = np.random.default_rng(height)
    pixels = rng.integers(60, 90, (height, width, 3), dtype=np.uint8)
    pixels[height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] += 100
    return pixels


class Dataset:
    """What a stage sees of an artefact."""

    manifest = SimpleNamespace(files={})

    def __init__(self, root):
        self.root = root

    def records(self, schema):
        return RecordReader(self.root, schema)


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "dataset"
    root.mkdir()
    split_of = dict(zip(SIZES, ["train"] * 4 + ["val"] * 2, strict=True))
    records = [image_record(picture(name), f"{name}.png", split) for name, split in split_of.items()]
    RecordWriter(root, DATASET, list(SIZES)).write(0, records)
    return Dataset(root)


def run(dataset, workdir, workers=1, config=None, **settings):
    workdir.mkdir()
    config = config or proposals.Config(**settings)
    context = StageContext(workdir, 0, None, Execution(workers=workers), Progress(quiet=True), "proposals")
    proposals.run({"dataset": dataset}, config, context)
    return RecordReader(workdir, PROPOSALS), context.counts


def test_every_image_of_both_splits_gets_proposals(dataset, tmp_path):
    records, counts = run(dataset, tmp_path / "one", **SMALL)
    assert records.ids == list(SIZES)
    for name, one in records:
        assert tuple(one["size"]) == SIZES[name]
        count, masks = int(one["num_superpixels"][0]), Regions.from_record(one).masks()
        assert masks.any((1, 2)).all() and masks.all((1, 2)).any()
        assert len(masks) == len(one["scores"]) == len(one["boxes"]) == len(one["areas"]) <= 40
        assert count == one["superpixels"].max() + 1 <= 60
    assert counts["images"] == 6 and counts["images_with_one_proposal"] == 1  # the image of one pixel
    assert counts["proposals"] == sum(len(one["scores"]) for _, one in records)

    other, other_counts = run(dataset, tmp_path / "two", workers=2, **SMALL)
    assert other_counts == counts
    for name, one in records:
        for field, value in other[name].items():
            np.testing.assert_array_equal(value, one[field], err_msg=f"{name} {field}")


def write_mat(folder, name, **changes):
    height, width = SIZES[name]
    superpixels = np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)
    if superpixels.size > 4:
        superpixels = (np.arange(width)[None] * 4 // width + np.ones((height, 1))).astype(np.uint16)
    labels = np.empty((2, 1), object)
    labels[0, 0], labels[1, 0] = (
        np.array([[1]], np.uint16),
        np.arange(1, superpixels.max() + 1, dtype=np.uint16),
    )
    variables = {"superpixels": superpixels, "labels": labels, "scores": np.array([0.2, 0.7])} | changes
    scipy.io.savemat(folder / f"{name}.mat", variables)


def test_imported_files_by_image_id(dataset, tmp_path):
    folder = tmp_path / "mat"
    folder.mkdir()
    for name in SIZES:
        write_mat(folder, name)
    records, counts = run(dataset, tmp_path / "out", source="mcg_mat", folder=folder, ranking="file")
    assert counts["proposals"] == 12
    one = records["a"]
    assert Regions.from_record(one).membership.tolist() == [[True] * 4, [True, False, False, False]]
    assert one["boxes"].tolist() == [[0, 0, 60, 40], [0, 0, 15, 40]]

    (folder / "c.mat").unlink()
    (folder / "e.mat").unlink()
    with pytest.raises(DataError, match=r"2 problems(.|\n)*image c: the file .*c\.mat is missing"):
        run(dataset, tmp_path / "missing", source="mcg_mat", folder=folder)
    write_mat(folder, "c")
    write_mat(folder, "e", superpixels=np.ones((3, 3)))
    with pytest.raises(
        DataError, match=r"image e: .*e\.mat: superpixels: expected the image's size \(30, 30\)"
    ):
        run(dataset, tmp_path / "wrong", source="mcg_mat", folder=folder)
    hdf5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64 HDF5 schema 1.00 .".ljust(512) + b"\x89HDF\r\n\x1a\n"
    (folder / "e.mat").write_bytes(hdf5)
    with pytest.raises(
        DataError, match=r"image e: .*e\.mat: .* got version 7\.3 \(HDF5\); write it again in MATLAB"
    ):
        run(dataset, tmp_path / "hdf5", source="mcg_mat", folder=folder)


def import_quarters(data, image, where, settings):
    """Superpixel ids [H, W] as .npy bytes; each is a proposal."""
    superpixels = np.load(io.BytesIO(data), allow_pickle=False)
    each = np.eye(superpixels.max() + 1, dtype=bool)
    return complete(superpixels, each, np.ones(len(each)), image, image.shape[:2], where, settings)


def test_a_source_is_a_reader_and_a_row(dataset, tmp_path, monkeypatch):
    place = FileAnImage(import_quarters, suffix=".npy")
    monkeypatch.setitem(SOURCES, "quarters", ProposalSource(place, "nobody", "nothing"))
    for name, (height, width) in SIZES.items():
        np.save(
            tmp_path / f"{name}.npy", (np.arange(width)[None] * 4 // width).repeat(height, 0).astype(np.int32)
        )
    config = proposals.Config(source="mcg_mat", folder=tmp_path).model_copy(update={"source": "quarters"})
    assert "proposals: imported quarters (nobody)" in proposals.supervision(config)
    records, counts = run(dataset, tmp_path / "out", config=config)
    assert counts["proposals"] == 4 * 5 + 1 and len(records["a"]["scores"]) == 4
    before = proposals.content_digest(config)
    (tmp_path / "f.npy").unlink()
    assert proposals.content_digest(config) != before
    with pytest.raises(DataError, match=r"image f: the file .*f\.npy is missing"):
        run(dataset, tmp_path / "again", config=config)


def test_content_of_imported_files_decides_the_digest(tmp_path):
    for folder in (tmp_path / "x", tmp_path / "y"):
        folder.mkdir()
        write_mat(folder, "a")
    one, other = (
        proposals.Config(source="mcg_mat", folder=tmp_path / "x"),
        proposals.Config(source="mcg_mat", folder=tmp_path / "y"),
    )
    (tmp_path / "y" / "a.mat").write_bytes((tmp_path / "x" / "a.mat").read_bytes())
    assert proposals.content_digest(one) == proposals.content_digest(other)
    assert one.identity() == other.identity()  # where the files lie changes no result
    write_mat(tmp_path / "y", "a", scores=np.array([0.3, 0.7]))
    assert proposals.content_digest(one) != proposals.content_digest(other)
    with pytest.raises(DataError, match="expected a folder"):
        proposals.content_digest(proposals.Config(source="cob_mat", folder=tmp_path / "none"))


def test_lineage_says_what_supervised_it(tmp_path):
    lineage = proposals.STAGE.supervision
    learned = ("contours: human boundaries (BSDS500 train+val)", "ImageNet labels")
    assert lineage(proposals.Config()) == learned
    assert lineage(proposals.Config(contour="lab_gradient")) == ("contours: none: Lab gradient",)
    imported = lineage(proposals.Config(source="mcg_mat", folder=tmp_path, ranking="file"))
    assert any("VOC masks" in source for source in imported)
    unlearned = lineage(proposals.Config(source="mcg_mat", folder=tmp_path))
    assert not any("VOC" in source for source in unlearned) and "BSDS500" in unlearned[2]
    own = lineage(proposals.Config(contour_model=tmp_path / "mine.pt"))
    assert "mine.pt" in own[0] and "BSDS500" not in own[0]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"source": "mcg_mat"}, "folder: expected the folder"),
        ({"folder": "somewhere"}, "folder: expected None for source generate"),
        ({"contour": "forests"}, "lab_gradient"),
        ({"max_side": 8}, "greater than or equal to 16"),
        ({"source": "boing"}, "mcg_mat"),
        ({"sides": 8}, "Extra inputs"),
    ],
)
def test_bad_settings_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        proposals.Config(**settings)


def test_an_absent_model_is_found_before_the_run(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"none\.pt"):
        proposals.STAGE.check(proposals.Config(contour_model=tmp_path / "none.pt"), Execution())


def test_boxes_of_a_training_image_get_candidates_of_their_own(dataset, tmp_path):
    """Images without a box, and val, have the proposals that they have without any artefact of boxes."""
    root = tmp_path / "boxes"
    root.mkdir()
    boxes = {"a": [[15, 10, 31, 21], [0, 0, 5, 5]], "c": [[12, 16, 25, 33]], "b": [], "d": [[0, 0, 200, 8]]}
    records = [
        {"boxes": np.array(one, np.float32).reshape(-1, 4), "box_labels": np.ones(len(one), np.int32)}
        for one in boxes.values()
    ]
    RecordWriter(root, BOXES, list(boxes)).write(0, records)
    plain, _ = run(dataset, tmp_path / "plain", **SMALL)
    workdir = tmp_path / "boxed"
    workdir.mkdir()
    config = proposals.Config(**SMALL)
    context = StageContext(workdir, 0, None, Execution(workers=2), Progress(quiet=True), "proposals")
    proposals.run({"dataset": dataset, "boxes": Dataset(root)}, config, context)
    found = RecordReader(workdir, PROPOSALS)
    for name in SIZES:
        same = all(np.array_equal(found[name][field], plain[name][field]) for field in plain[name])
        assert same == (not boxes.get(name)), name
        for x1, y1, x2, y2 in boxes.get(name, []):
            inside = (found[name]["boxes"] >= [x1, y1, 0, 0]) & (found[name]["boxes"] <= [1e3, 1e3, x2, y2])
            assert inside.all(1).any(), name
