"""`--image`: a user picks an image of a run by its name."""

from pathlib import Path

import cv2
import pytest

from tests.runs.tiny_run import RUN, done, wsis

pytestmark = pytest.mark.timeout(300)


def test_show_draws_the_named_images(tiny_store: Path, tmp_path: Path) -> None:
    arguments = ["--image", "train_00003.png", "--image", "train_0000[01]", "--out", tmp_path / "o"]
    done(wsis("show", RUN, "prm_seeds", *arguments, "--store", tiny_store))
    drawn = sorted(p.name for p in (tmp_path / "o").iterdir())
    assert drawn == [f"prm_seeds_train_0000{n}.png" for n in (0, 1, 3)]


def test_proposals_are_outlined(tiny_store: Path, tmp_path: Path) -> None:
    for key in ("proposals", "prm_seeds"):
        done(wsis("show", RUN, key, "--image", "train_00003", "--out", tmp_path, "--store", tiny_store))
    pictures = [cv2.imread(str(tmp_path / f"{key}_train_00003.png")) for key in ("proposals", "prm_seeds")]
    outline = [int((picture == (110, 0, 255)).all(-1).sum()) for picture in pictures]
    assert outline[0] > 1000 and outline[1] < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "train_00001"], "--image: expected --out DIR beside it, got none"),
        (
            ["--image", "train_00001", "--images", 2, "--out", "x"],
            "--images: expected without --image, got both",
        ),
        (["--image", "train_0000", "--out", "x"], "got 'train_0000'; did you mean train_000"),
        (["--image", "nosuch", "--out", "x"], "got 'nosuch'; there are train_00000, train_00001, "),
        (
            ["--image", "val_00001", "--out", "x"],
            "--image: expected images that prm_seeds holds, got val_00001",
        ),
    ],
)
def test_what_cannot_be_chosen(tiny_store: Path, arguments, message) -> None:
    refused = wsis("show", RUN, "prm_seeds", *arguments, "--store", tiny_store)
    assert refused.code == 2 and message in refused.err and not Path("x").exists()
    assert refused.out == "" and refused.err.count("\n") == 1, "the error alone, in one line"


def test_pictures_of_a_whole_run_need_an_artefact(tiny_store: Path, tmp_path: Path) -> None:
    refused = wsis("show", RUN, "--image", "train_00001", "--out", tmp_path / "o", "--store", tiny_store)
    assert refused.code == 2 and refused.out == ""
    assert "--image: expected an artefact to draw after the run's name, as in: wsis show" in refused.err
