"""Stage `train_ranker`: reads regions, learns, resumes, says what supervised it; proposals ranked by its file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from data_contracts.errors import DataError
from data_contracts.store import Store
from stages.proposals import proposals, train_ranker
from wsis.engine.stage import Execution, execute
from wsis.errors import MissingWeightsError
from wsis.method.proposals import generate
from wsis.method.proposals.generator.ranker import load_ranker
from wsis.readers.formats.regions import read_regions, region_files

SMALL = {
    "contour": "lab_gradient",
    "max_side": 64,
    "max_regions": 30,
    "epochs": 2,
    "hidden": 4,
    "held_out": 0.25,
    "smallest_region": 0.01,
}


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright rectangle on a dark ground, uint8 [50, 60, 3], and where it is."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((50, 60), np.bool_)
    top, left = rng.integers(4, 20, 2)
    inside[top : top + 22, left : left + 30] = True
    image = np.where(inside[..., None], 190, 60) + rng.normal(0, 5, (50, 60, 3))
    return image.clip(0, 255).astype(np.uint8), inside


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Four photographs with the boundaries of two people."""
    root = tmp_path / "drawn"
    for seed in range(4):
        image, inside = _scene(seed)
        boundary = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, 1, 1))
        boundary |= inside & ~(np.roll(inside, -1, 0) & np.roll(inside, -1, 1))
        _save(root / f"images/train/p{seed}.jpg", image)
        _save(root / f"boundaries/train/p{seed}.png", 3 * boundary.astype(np.uint8))
    return root


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Four photographs with one instance each, its outline void."""
    root = tmp_path / "devkit"
    for seed in range(4):
        image, inside = _scene(seed)
        objects = 7 * inside.astype(np.uint8)
        objects[inside & ~np.roll(inside, 1, 0)] = 255
        _save(root / f"JPEGImages/v{seed}.jpg", image)
        _save(root / f"SegmentationObject/v{seed}.png", objects)
    listed = root / "ImageSets/Segmentation/mine.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"v{seed}\n" for seed in range(4)))
    return root


def _train(root: Path, store: Path, **changes: Any) -> Any:
    config = train_ranker.Config(root=root, **{**SMALL, **changes})
    execution = Execution(device="cpu", threads=1)
    return execute(train_ranker.STAGE, config, {}, Store(store), execution=execution).artefact


def test_the_file_ranks_proposals_and_says_what_it_learned_from(drawn: Path, tmp_path: Path) -> None:
    artefact = _train(drawn, tmp_path / "store")
    counts = artefact.manifest.counts
    assert (counts["images"], counts["images_held_out"], counts["regions"]) == (3, 1, 12)
    figures = json.loads(artefact.file(train_ranker.HELD_OUT_NAME).read_text())
    assert figures["images"] == 1 and figures["regions"] == 4
    for way in ("learned", "unlearned"):
        assert figures["best_overlap"][way]["1000"] > 0.8
        assert -1 <= figures["rank_correlation"][way] <= 1
    assert not (artefact.path / "tables").exists()

    model = artefact.file(train_ranker.MODEL_NAME)
    settings = {"contour": "lab_gradient", "ranking": "learned", "ranker_model": model}
    config = proposals.Config(**settings)
    words = "boundaries: proposal ranking (regions of train of the named folder)"
    assert load_ranker(model).weights.supervision == words
    assert proposals.supervision(config) == ("contours: none: Lab gradient", words)
    assert list(artefact.manifest.supervision) == [words, "contours: none: Lab gradient"]
    proposals.check(config)
    image = _scene(9)[0]
    ranked = proposals._Compute(None, config, {}).proposals_of("p9", image)  # type: ignore[arg-type]
    np.testing.assert_array_equal(ranked.membership, generate(image, config).membership)
    plain = generate(image, proposals.Config(contour="lab_gradient"))
    assert not np.array_equal(ranked.membership, plain.membership)
    before = proposals.content_digest(config)
    other = _train(drawn, tmp_path / "store", epochs=1).file(train_ranker.MODEL_NAME)
    assert proposals.content_digest(proposals.Config(**{**settings, "ranker_model": other})) != before


def test_masks_are_pixel_labels_and_must_be_named(devkit: Path, tmp_path: Path) -> None:
    artefact = _train(devkit, tmp_path / "store", source="voc_masks", splits=("mine",))
    words = "pixel labels: proposal ranking (masks of mine of the named folder)"
    assert words in artefact.manifest.supervision
    assert load_ranker(artefact.file(train_ranker.MODEL_NAME)).weights.supervision == words
    assert artefact.manifest.counts["regions"] == 3
    image, (regions,) = read_regions("voc_masks", region_files("voc_masks", devkit, ("mine",))[0], 0.01)
    expected = _scene(0)[1]
    assert regions.void.sum() == 30 and not (regions.labels.astype(bool) & regions.void).any()
    np.testing.assert_array_equal(regions.labels.astype(bool) | regions.void, expected)
    assert regions.labels.max() == 1 and image.shape == (50, 60, 3)


def test_a_stopped_stage_goes_on_and_gives_the_same_file(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(drawn, tmp_path / "whole").file(train_ranker.MODEL_NAME).read_bytes()
    real, calls = train_ranker.make_example, 0

    def stopping(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train_ranker, "make_example", stopping)
    with pytest.raises(KeyboardInterrupt):
        _train(drawn, tmp_path / "stopped")
    resumed = _train(drawn, tmp_path / "stopped").file(train_ranker.MODEL_NAME)
    assert calls == 4 and resumed.read_bytes() == whole  # the first photograph was not measured again


def test_other_regions_are_another_artefact(drawn: Path, devkit: Path) -> None:
    config = train_ranker.Config(root=drawn, **SMALL)
    before = train_ranker.content_digest(config)
    path = drawn / "boundaries/train/p1.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    _save(path, pixels)
    assert train_ranker.content_digest(config) != before
    learned = train_ranker.Config(root=drawn, **{**SMALL, "contour": "learned"})
    assert train_ranker.content_digest(learned) != train_ranker.content_digest(config)


def test_everything_wrong_with_the_data_is_named(drawn: Path, devkit: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected photographs .*val/\*\.jpg"):
        _train(drawn, tmp_path / "store", splits=("val",))
    masks = {"source": "voc_masks", "splits": ("mine",)}
    (devkit / "SegmentationObject/v1.png").unlink()
    (devkit / "JPEGImages/v2.jpg").unlink()
    with pytest.raises(DataError, match=r"2 problems(.|\n)*image v1: .*v1\.png is missing(.|\n)*image v2"):
        _train(devkit, tmp_path / "store", **masks)
    with pytest.raises(DataError, match=r"none\.txt is missing"):
        _train(devkit, tmp_path / "store", source="voc_masks", splits=("none",))
    with pytest.raises(DataError, match="without path separators"):
        _train(devkit, tmp_path / "store", source="voc_masks", splits=("../mine",))
    _save(drawn / "boundaries/train/p2.png", np.ones((5, 9), np.uint8))
    with pytest.raises(DataError, match=r"image p2: expected a label map of \(50, 60\), got \(5, 9\)"):
        _train(drawn, tmp_path / "store", held_out=0)
    for seed in range(4):
        _save(drawn / f"boundaries/train/p{seed}.png", np.zeros((50, 60), np.uint8))
    with pytest.raises(DataError, match="expected regions in 3 photographs, got none"):
        _train(drawn, tmp_path / "store")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"splits": ("test",)}, "splits: expected train or val"),
        ({"splits": ()}, "splits"),
        ({"drawn": (50, 0)}, "drawn: expected numbers of at least 1"),
        ({"contour": "structured_forests"}, "contour_model: expected a model file"),
        ({"source": "coco"}, "bsds_regions"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        train_ranker.Config(root=tmp_path, **{**SMALL, **change})


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            {"ranking": "learned"},
            "ranker_model: expected a file of train_ranker for ranking learned, got None",
        ),
        ({"ranker_model": "r.npz"}, r"ranker_model: expected None for ranking unlearned, got r\.npz"),
        (
            {"ranking": "learned", "ranker_model": "r.npz", "source": "mcg_mat", "folder": "f"},
            "ranking: expected unlearned or file for source mcg_mat",
        ),
    ],
)
def test_proposals_want_a_ranker_exactly_when_they_are_ranked_by_it(
    settings: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValidationError, match=match):
        proposals.Config(**settings)


def test_an_absent_ranker_is_found_before_the_run(tmp_path: Path) -> None:
    settings = {"contour": "lab_gradient", "ranking": "learned", "ranker_model": tmp_path / "none.npz"}
    for early in (proposals.check, proposals.content_digest, proposals.supervision):
        with pytest.raises(MissingWeightsError, match=r"ranker: no file .*none\.npz"):
            early(proposals.Config(**settings))


def test_unlearned_proposals_keep_their_fingerprint() -> None:
    assert "ranker_model" not in proposals.Config().identity()
    assert proposals.Config().identity()["ranking"] == "unlearned"
    assert proposals.Config().ranker_model is None
