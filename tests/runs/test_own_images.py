"""`wsis proposals` on photographs of all kinds: what is stored, listed, written, drawn and refused."""

import json
import re
from pathlib import Path

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import scipy.io
from PIL import Image

from data_contracts.errors import ConfigError
from data_contracts.manifest import Manifest
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, PROPOSALS
from data_contracts.store import Store
from stages.data import dataset
from stages.proposals import proposals
from tests.runs.own_photographs import (
    SMALL,
    TURNED,
    encoded,
    good_folder,
    large_photograph,
    odd_folder,
    scene,
)
from tests.runs.tiny_run import Result, done, wsis
from wsis.apps.photograph_proposals import build_settings, chosen_for_preview
from wsis.engine.per_image import read_failures
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute
from wsis.method.proposals import ProposalSet, generate
from wsis.readers.files.photographs import Photograph

pytestmark = pytest.mark.timeout(300)


def made(store: Path) -> tuple[RecordReader, Manifest, Path]:
    """The records, manifest and folder of the store's only artefact of proposals."""
    (path,) = [p.parent for p in (store / "proposals").glob("*/manifest.json")]
    artefact = Store(store).open("proposals", path.name)
    return artefact.records(PROPOSALS), artefact.manifest, path


def run(images: Path, store: Path, *more: object) -> Result:
    return wsis("proposals", images, "--out", store, *SMALL, *more)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory):
    """A folder of everything, its store after the command, and what the command said."""
    root = tmp_path_factory.mktemp("odd")
    sizes, words = odd_folder(root / "photos")
    shards = ("--set", "execution.shard_images=4", "--workers", 2)  # good and bad ones share shards
    result = run(root / "photos", root / "store", *shards, "--coco", root / "all.json")
    return root, sizes, words, result


# -- photographs that fail, and those that do not ---------------------------------------------------------
def test_odd_photographs_have_proposals(odd) -> None:
    root, sizes, words, _ = odd
    records, manifest, _ = made(root / "store")
    assert set(records.ids) == set(sizes) | set(words)
    for image_id, size in sizes.items():
        found = ProposalSet.from_record(records[image_id])
        assert found.image_size == size
        masks = found.masks(slice(5))
        assert masks.shape[1:] == size and masks.any((1, 2)).all()
        assert (found.boxes[:, 2] <= size[1]).all() and (found.boxes[:, 3] <= size[0]).all()
    assert (
        len(ProposalSet.from_record(records["one"])) == 1
        and len(ProposalSet.from_record(records["uniform"])) < 4
    )
    for image_id in ("one", "uniform"):
        assert (
            ProposalSet.from_record(records[image_id]).masks().all((1, 2)).any()
        )  # the whole image is among them
    assert manifest.counts["images"] == len(sizes)
    # what a grey, deep or rotated file holds is what the same pixels hold
    grey = generate(np.repeat(scene(40, 60)[..., :1], 3, axis=2), build_settings(SMALL[1::2]).proposals)
    for image_id in ("grey", "deep"):
        np.testing.assert_array_equal(ProposalSet.from_record(records[image_id]).membership, grey.membership)


def test_failures_are_listed_and_the_rest_of_the_shard_survives(odd) -> None:
    root, sizes, words, result = odd
    records, manifest, path = made(root / "store")
    failed = read_failures(path)
    assert set(failed) == set(words)
    for image_id, message in failed.items():
        assert words[image_id] in message
        assert f"  - {message}\n" in result.err
        assert result.err.count(message) == 1
        assert all(a.size == 0 or not a.any() for a in records[image_id].values())
    assert manifest.counts["failed"] == list(failed.values())
    assert manifest.config["tolerate_failures"] is True
    assert result.code == 1
    assert (
        f"error: {len(words)} of {len(words) + len(sizes)} photographs failed, the others are done"
        in result.err
    )
    assert "13 photographs in" in result.err and "; 1 other file left out" in result.err
    assert str(path) in result.out and "Traceback" not in result.err
    assert done(wsis("verify", "--store", root / "store")).out == "2 artefacts checked, 0 problems\n"


def test_a_second_call_reuses_what_is_there(odd) -> None:
    root, _, _, first = odd
    again = run(root / "photos", root / "store", "--workers", 1)
    assert again.code == 1 and "(was there already)" in again.out
    assert "starts" not in again.err
    assert again.err[again.err.index("error: ") :] == first.err[first.err.index("error: ") :]


def test_a_photograph_more_makes_new_proposals(tmp_path: Path) -> None:
    images, store = good_folder(tmp_path / "photos", 3), tmp_path / "store"
    done(run(images, store))
    (images / "new.png").write_bytes(encoded(scene(20, 30)))
    assert "of 4 photographs: " in done(run(images, store)).out
    (images / "new.png").unlink()
    assert "of 3 photographs (was there already): " in done(run(images, store)).out
    (images / "p00.png").rename(tmp_path / "p00.png")  # elsewhere, a single file
    assert "of 1 photograph: " in done(run(tmp_path / "p00.png", store)).out


def test_all_fail(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").write_bytes(b"no")
    refused = run(tmp_path / "photos", tmp_path / "store", "--coco", tmp_path / "c.json", "--preview", 2)
    assert refused.code == 1 and "error: 1 of 1 photograph failed" in refused.err
    assert json.loads((tmp_path / "c.json").read_text()) == []
    assert made(tmp_path / "store")[1].counts["images"] == 0


def test_strict_by_choice(tmp_path: Path) -> None:
    odd_folder(tmp_path / "photos")
    refused = run(
        tmp_path / "photos", tmp_path / "store", "--set", "proposals.tolerate_failures=false", "--workers", 1
    )
    assert refused.code == 1 and refused.out == ""
    assert "\nerror: cut.jpg: the image is cut short" in refused.err
    assert not list((tmp_path / "store" / "proposals").glob("*/manifest.json"))


def test_a_run_with_labels_never_has_holes(tmp_path: Path) -> None:
    scenes = {"train": 2, "val": 1, "height": 32, "width": 40}
    store, options = Store(tmp_path), {"progress": Progress(quiet=True), "execution": Execution(workers=1)}
    data = execute(dataset.STAGE, dataset.Config(format="scenes", scenes=scenes), {}, store, **options)
    config = proposals.Config(tolerate_failures=True, max_side=32)
    with pytest.raises(ConfigError, match=r"tolerate_failures: expected false .* with image labels"):
        execute(proposals.STAGE, config, {"dataset": data.artefact}, store, **options)
    assert proposals.Config().identity()["tolerate_failures"] is False  # and another fingerprint than true


# -- large photographs ------------------------------------------------------------------------------------
def test_a_large_photograph_is_worked_at_a_bounded_size_and_mapped_back(tmp_path: Path) -> None:
    pixels, ellipse = large_photograph()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "large.jpg").write_bytes(encoded(pixels, "JPEG"))
    (tmp_path / "photos" / "turned.jpg").write_bytes(encoded(pixels, "JPEG", TURNED))
    settings = ["--set", "proposals.contour=lab_gradient", "--set", "proposals.num_proposals=100"]
    coco = tmp_path / "c.json"
    done(wsis("proposals", tmp_path / "photos", "--out", tmp_path / "store", *settings, "--coco", coco))
    records, *_ = made(tmp_path / "store")
    results = json.loads(coco.read_text())
    turned = np.ascontiguousarray(np.rot90(ellipse, -1))
    for image_id, mask, working in (("large", ellipse, (288, 384)), ("turned", turned, (384, 288))):
        found = ProposalSet.from_record(records[image_id])
        assert found.superpixels.shape == working and found.image_size == mask.shape
        encoded_masks = [r["segmentation"] for r in results if r["file_name"] == f"{image_id}.jpg"]
        assert len(encoded_masks) == len(found) == 100
        truth = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        iou = coco_mask.iou(encoded_masks, [truth], [0])[:, 0]
        best = int(iou.argmax())
        assert iou[best] > 0.97  # a boundary pixel of the working image is ten of the photograph
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(found.boxes[best] - box).max() < 25


# -- COCO results -----------------------------------------------------------------------------------------
def test_coco_results_are_the_stored_proposals_ranked(odd) -> None:
    root, sizes, words, _ = odd
    records, *_ = made(root / "store")
    results = json.loads((root / "all.json").read_text())
    names = {"sub/good": "sub/good.JPG", "turned": "turned.jpg"}
    at = 0
    for image_id in records.ids:
        if image_id in words:
            assert not [r for r in results if r["file_name"].startswith(f"{image_id}.")]
            continue
        found = ProposalSet.from_record(records[image_id])
        mine = results[at : at + len(found)]
        at += len(found)
        name = names.get(image_id, f"{image_id}.png")
        assert {(r["image_id"], r["file_name"], r["category_id"]) for r in mine} == {(name, name, 1)}
        np.testing.assert_allclose([r["score"] for r in mine], found.scores, atol=1e-6)
        assert all(r["segmentation"]["size"] == list(sizes[image_id]) for r in mine)
        for result, mask in zip(mine, found.masks(), strict=True):
            expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
            assert result["segmentation"]["counts"] == expected
    assert at == len(results)


def test_coco_results_come_back_as_they_went(odd, tmp_path: Path) -> None:
    """Written, and imported again for the same photographs; also a check that both commands agree on names."""
    root, *_ = odd
    images = tmp_path / "photos"
    images.mkdir()
    for name in ("grey.png", "turned.jpg", "uniform.png"):
        (images / name).write_bytes((root / "photos" / name).read_bytes())
    coco = ["--set", "proposals.source=coco_results", "--set", f"proposals.file={root / 'all.json'}"]
    done(run(images, tmp_path / "store", *coco, "--set", "proposals.ranking=file"))
    first, again = made(root / "store")[0], made(tmp_path / "store")[0]
    assert again.ids == ["grey", "turned", "uniform"]
    for image_id in again.ids:
        expected, got = ProposalSet.from_record(first[image_id]), ProposalSet.from_record(again[image_id])
        np.testing.assert_array_equal(got.masks(), expected.masks())
        np.testing.assert_array_equal(got.boxes, expected.boxes)


def test_an_imported_file_that_is_wrong_fails_alone(tmp_path: Path) -> None:
    images, folder = good_folder(tmp_path / "photos", 4), tmp_path / "mat"
    folder.mkdir()
    for i, width in ((0, 60), (1, 61), (2, 50)):  # the third is of another size, the fourth missing
        superpixels = np.ones((40, width), np.uint16)
        superpixels[:, 20:] = 2
        labels = np.empty((2, 1), object)
        labels[0, 0], labels[1, 0] = np.array([[1]], np.uint16), np.array([[1, 2]], np.uint16)
        variables = {"superpixels": superpixels, "labels": labels, "scores": np.array([0.2, 0.7])}
        scipy.io.savemat(folder / f"p{i:02d}.mat", variables)
    settings = ["--set", "proposals.source=mcg_mat", "--set", f"proposals.folder={folder}"]
    refused = run(images, tmp_path / "store", *settings, "--workers", 1)
    assert refused.code == 1 and "error: 2 of 4 photographs failed, the others are done" in refused.err
    records, manifest, path = made(tmp_path / "store")
    failed = read_failures(path)
    assert list(failed) == ["p02", "p03"] and manifest.counts["images"] == 2
    assert "p02.mat: superpixels: expected the image's size (40, 62)" in failed["p02"]
    assert "p03.mat is missing" in failed["p03"]
    assert len(ProposalSet.from_record(records["p01"])) == 2


# -- previews ---------------------------------------------------------------------------------------------
def test_previews_of_some_and_of_a_number(tmp_path: Path) -> None:
    images, store = good_folder(tmp_path / "photos", 5), tmp_path / "store"
    (images / "sub").mkdir()
    (images / "p03.png").rename(images / "sub" / "p03.png")
    (images / "bad.png").write_bytes(b"no image")
    wanted = ["--preview", "p03", "--preview", 2, "--preview", images / "p01.png", "--preview", "bad.png"]
    result = run(images, store, *wanted, "--workers", 1)
    path = made(store)[2]
    drawn = re.findall(r"^preview: (.*)$", result.out, re.MULTILINE)
    folder = store / "previews" / path.name
    assert drawn == [
        str(folder / f"{n}.png") for n in ("sub/p03", "p01", "p00")
    ]  # p03 is also the last of two
    for file in drawn:
        with Image.open(file) as picture:
            picture.load()
            assert picture.format == "PNG" and 1000 < picture.width < 1500 and 500 < picture.height < 1700
    done(run(images / "p00.png", store, "--preview", 9, "--preview-out", tmp_path / "drawn"))
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == ["p00.png"]
    assert done(wsis("verify", "--store", store)).out.endswith(" 0 problems\n")


def test_preview_names(tmp_path: Path) -> None:
    found = [
        Photograph(n.rsplit(".", 1)[0], n, tmp_path / n) for n in ("a.jpg", "s/a.jpg", "s/b.jpg", "t/b.jpg")
    ]
    assert chosen_for_preview(["a", "b.jpg"][:1], found) == (0, ["a"])
    assert chosen_for_preview(["2", "s/b.jpg", "t/b", "3"], found) == (5, ["s/b", "t/b"])
    assert chosen_for_preview([str(tmp_path / "s" / "a.jpg")], found) == (0, ["s/a"])
    numbered = [Photograph(str(n), f"{n}.jpg", tmp_path / f"{n}.jpg") for n in (2, 3096)]
    assert chosen_for_preview(["2", "3", "3096"], numbered) == (5, ["3096"])
    assert chosen_for_preview(["2.jpg"], numbered) == (0, ["2"])
    with pytest.raises(ConfigError, match=r"of the 4 photographs, got 'b'; it could be s/b\.jpg, t/b\.jpg"):
        chosen_for_preview(["b"], found)
    with pytest.raises(ConfigError, match=r"got 'aa\.jpg'; near it: a\.jpg"):
        chosen_for_preview(["aa.jpg"], found)


# -- refusals ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 1, r"expected a folder or an image file, got none"),
        (["."], 2, r"--out: expected a place outside the photographs in \., got .*store"),
        (["photos", "--preview-out", "photos/drawn"], 2, r"--preview-out: expected a place outside"),
        (
            ["photos", "--preview", "x"],
            2,
            r"--preview: expected a number or one of the 1 photographs, got 'x'",
        ),
        (["photos", "--coco", "photos"], 2, r"--coco: expected the name of a file, got the folder photos"),
        (["photos", "--coco", "photos/p00.png/c.json"], 1, r"cannot create photos/p00.png"),
        (
            ["photos", "--set", "proposals.max_syde=3"],
            2,
            r"proposals\.max_syde: unknown key; did you mean 'proposals.max_side'",
        ),
        (
            ["photos", "--set", "proposals.max_side=3"],
            2,
            r"--set proposals\.max_side: expected a whole number from 16 to 4096, got",
        ),
        (
            ["photos", "--set", "data.root=."],
            2,
            r"data\.root: data: unknown key \(known: proposals, execution\)",
        ),
        (["photos", "--set", "execution=3", "--workers", "2"], 2, "'execution' is no section but 3"),
        (["photos", "--workers", "0"], 2, r"Invalid value for '--workers'"),
        (["empty"], 1, r"expected files that end in \.jpg .* got 0 other files"),
    ],
)
def test_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    good_folder(tmp_path / "photos", 1)
    (tmp_path / "empty").mkdir()
    refused = wsis("proposals", *arguments, "--out", tmp_path / "store")
    assert refused.code == code and re.search(message, refused.err), refused.err
    assert "Traceback" not in refused.err and not (tmp_path / "store").exists()


def test_the_data_set_has_no_labels(odd) -> None:
    root, *_ = odd
    (path,) = [p.parent for p in (root / "store" / "photographs").glob("*/manifest.json")]
    artefact = Store(root / "store").open("photographs", path.name)
    assert artefact.manifest.supervision == []
    assert made(root / "store")[1].supervision == ["contours: none: Lab gradient"]
    assert len(artefact.records(DATASET)["grey"]["labels"]) == 0
