"""Figures 2 and 4 of a run: what is drawn where, which images are chosen, what is not there yet."""

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import ConfigError
from tests.records import image_record, label_sets_record, truth_record
from tests.reporting.conftest import (
    RunBuilder,
    detections_record,
    proposals_record,
    pseudo_labels_record,
)
from tests.reporting.gallery_run import gallery_run, give_masks
from wsis.reporting.pictures import panels
from wsis.reporting.pictures.contact_sheet import contact_sheets
from wsis.reporting.pictures.figures import SIDE, figures_of_run, write_figures
from wsis.reporting.pictures.overlays import instance_colours
from wsis.reporting.pictures.pictures import overlays
from wsis.reporting.pictures.text import text_size, wrapped

SIZE = (60, 80)
COLUMN, HEIGHT = SIDE + 8, round(SIDE * 60 / 80)
WHITE = 255  # the paper: nothing is drawn


def two_squares() -> np.ndarray:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:30, 10:30] = masks[1, 25:55, 40:70] = True
    return masks


@pytest.fixture
def run(tmp_path):
    """Five train and five val images; the true masks of image i lie i * 4 pixels beside what was found."""
    builder, rng, masks = RunBuilder(tmp_path / "store"), np.random.default_rng(0), two_squares()
    images = rng.integers(0, 256, (10, *SIZE, 3), dtype=np.uint8)
    ids = {f"{split}{i}": (split, i) for split in ("train", "val") for i in range(5)}
    data = {}
    for image, (image_id, (split, _)) in zip(images, ids.items(), strict=True):
        data[image_id] = image_record(image, split=split)
    builder.commit("dataset", "dataset", "dataset", data)
    true = {i: truth_record(np.roll(masks, 4 * n, axis=2), split=split) for i, (split, n) in ids.items()}
    builder.commit("ground_truth", "ground_truth", "ground_truth", true)
    builder.commit("proposals", "proposals", "proposals", {i: proposals_record(masks) for i in ids})
    train, val = list(ids)[:5], list(ids)[5:]
    for t in (1, 2, 3):
        labels = {i: pseudo_labels_record(masks) for i in train}
        builder.commit(f"pseudo_labels@{t}", "pseudo_labels", "pseudo_labels", labels)
    for name, t, of in (("train", 1, train), ("train", 2, train), ("val", 1, val), ("val", 3, val)):
        found = {i: detections_record(masks) for i in of}
        builder.commit(f"predictions.{name}@{t}", "predictions", "detections", found)
    return builder


def forget(run: RunBuilder, *keys: str) -> None:
    for key in keys:
        del run.record.entries[key]


def test_images_are_taken_from_the_best_to_the_worst(run):
    """A shift of image i lowers its IoU: of five, every other one, and all where more are asked for."""
    two, four = figures_of_run(run.run, images=3)
    assert (two.name, list(two.parts)) == ("figure2", ["train0", "train2", "train4"])
    assert (four.name, list(four.parts)) == ("figure4", ["val0", "val2", "val4"])
    assert list(figures_of_run(run.run)[1].parts) == [f"val{i}" for i in range(5)]
    assert "outer iterations 1 and 3" in two.caption and "iteration 3 on val at score ≥ 0.3" in four.caption


def test_named_images_go_where_they_belong(run):
    two, four = figures_of_run(run.run, ["val3", "train1", "val1"])
    assert list(two.parts) == ["train1"] and list(four.parts) == ["val3", "val1"]
    (only,) = figures_of_run(run.run, ["val3"])
    assert only.name == "figure4"
    with pytest.raises(
        ConfigError, match="--image: expected the name of one of 10 images, or a pattern, got 'nobody'"
    ):
        figures_of_run(run.run, ["val3", "nobody"])


def panel(picture: np.ndarray, row: int, column: int, rows: int) -> np.ndarray:
    """A panel of a picture that ends with `rows` rows of panels of one height, each with its caption above."""
    caption = text_size("", 14)[1] + 5
    bottom = picture.shape[0] - 8 - (rows - 1 - row) * (caption + HEIGHT + 8)
    return picture[bottom - HEIGHT : bottom, 8 + column * COLUMN : 8 + column * COLUMN + SIDE]


def test_figure_2_shows_samples_and_predictions(run):
    """Rows: iterations 1 and 3. The second square is in the most frequent sample (6 of 10) and not in the next."""
    case = figures_of_run(run.run, ["train0"])[0].parts["train0"]
    assert case.shape[1] == 5 * COLUMN + 8
    middle = np.s_[round(SIDE * 40 / 80), round(SIDE * 55 / 80)]
    image, both, first = (panel(case, 0, column, 2)[middle] for column in range(3))
    assert (both != image).any() and (first == image).all()
    true = panel(case, 1, 0, 2)[middle]
    assert (true != image).any()
    for row in (0, 1):  # predictions of networks 1 and 2; 3 has none
        assert (panel(case, row, 4, 2)[10:40, 10:40] != WHITE).any()
    forget(run, "predictions.train@2")
    case = figures_of_run(run.run, ["train0"])[0].parts["train0"]
    assert (panel(case, 1, 4, 2) == WHITE).all() and (panel(case, 0, 4, 2) != WHITE).any()


def test_figure_4_draws_sure_instances_beside_the_truth(run):
    """The second detection has score 0.2: it is not drawn, its square is as in the photograph."""
    pair = figures_of_run(run.run, ["val0"])[0].parts["val0"]
    assert pair.shape[1] == 2 * COLUMN + 8
    first, second = (np.s_[round(SIDE * y / 80), round(SIDE * x / 80)] for y, x in ((20, 15), (45, 60)))
    plain = figures_of_run(run.run, ["train0"])[0].parts["train0"]
    assert plain.shape[1] == 5 * COLUMN + 8
    truth, found = panel(pair, 0, 0, 1), panel(pair, 0, 1, 1)
    assert (truth[first] == found[first]).all()
    assert (truth[second] != found[second]).any()


def test_a_thing_keeps_its_colour(run):
    """The first square is the first true instance (0 pixels apart), in both iterations' samples and the predictions."""
    case = figures_of_run(run.run, ["train0"])[0].parts["train0"]
    edge = np.s_[round(SIDE * 20 / 80), round(SIDE * 10 / 80) + 1]
    drawn = [
        panel(case, row, column, 2)[edge] for row, column in ((0, 1), (0, 2), (0, 4), (1, 0), (1, 1), (1, 4))
    ]
    assert all((one == instance_colours(1)[0]).all() for one in drawn)


def test_a_run_without_ground_truth_is_drawn_without_true_masks(run):
    forget(run, "ground_truth")
    two, four = figures_of_run(run.run, images=2)
    assert list(two.parts) == ["train0", "train4"] and list(four.parts) == ["val0", "val4"]
    assert all(part.shape[1] == COLUMN + 8 for part in four.parts.values())
    case = two.parts["train0"]
    assert (panel(case, 1, 0, 2) == WHITE).all() and (captions(case, 1, 0, 2) == WHITE).all()


def captions(picture: np.ndarray, row: int, column: int, rows: int) -> np.ndarray:
    """What is written above a panel."""
    caption = text_size("", 14)[1] + 5
    bottom = picture.shape[0] - 8 - (rows - 1 - row) * (caption + HEIGHT + 8) - HEIGHT
    return picture[bottom - caption : bottom, 8 + column * COLUMN : 8 + column * COLUMN + SIDE]


def test_an_image_that_lacks_what_others_have_says_so(run):
    """Words on paper where a mask, sample or prediction is missing, and no column without any."""
    forget(run, "ground_truth")
    run.commit(
        "ground_truth",
        "masks_of_some",
        "ground_truth",
        {"train1": truth_record(two_squares(), split="train")},
    )
    few = {f"train{i}": label_sets_record([10], [[(0, 1)]]) for i in range(5)}
    run.commit("pseudo_labels@3", "fewer_sets", "pseudo_labels", few)
    case = figures_of_run(run.run, ["train0"])[0].parts["train0"]
    for column in (0, 2, 3):
        assert (panel(case, 1, column, 2) == WHITE).all() and (captions(case, 1, column, 2) < WHITE).any()
    forget(run, *(key for key in list(run.record.entries) if key.startswith("predictions")))
    run.commit("pseudo_labels@1", "fewer_sets", "pseudo_labels", few)
    (two,) = figures_of_run(run.run, ["train0"])
    assert (
        two.caption == "Pseudo labels (samples of the conditional distribution) in outer iterations 1 and 3"
    )
    case = two.parts["train0"]
    assert (panel(case, 0, 1, 2) != WHITE).any() and (case[60:, 8 + 2 * COLUMN :] == WHITE).all()


def test_an_unfinished_run(run, tmp_path):
    """One iteration is one row; nothing to draw is an error that says so."""
    forget(run, "pseudo_labels@2", "pseudo_labels@3", "predictions.val@1", "predictions.val@3")
    (two,) = figures_of_run(run.run, images=1)
    assert "in outer iteration 1" in two.caption and two.parts["train0"].shape[0] < 2 * HEIGHT
    forget(run, "pseudo_labels@1")
    with pytest.raises(ConfigError, match="predictions \\(val\\) of any image to draw, got none yet"):
        write_figures(run.run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    forget(run, "dataset")
    with pytest.raises(ConfigError, match="no data set yet"):
        figures_of_run(run.run)


def test_files(run, tmp_path):
    paths = write_figures(run.run, tmp_path / "out", ["train1", "val2"])
    assert [p.name for p in paths] == ["figure2.png", "figure2_train1.png", "figure4.png", "figure4_val2.png"]
    more = write_figures(run.run, tmp_path / "all")
    assert [p.name for p in more if "sheet" in p.name] == ["sheet_train.png", "sheet_val.png"]
    part, whole = (np.asarray(Image.open(p)) for p in (paths[1], paths[0]))
    assert (whole[-8 - part.shape[0] : -8, : part.shape[1]] == part).all()


def told(monkeypatch) -> list[str]:
    """What pictures are captioned, titled and explained with, from here on."""
    said: list[str] = []

    def heard(text: str, *of, **also) -> list[str]:
        said.append(text.replace("\u00a0", " "))
        return wrapped(text, *of, **also)

    monkeypatch.setattr(panels, "wrapped", heard)
    return said


def test_sheets_say_what_they_draw(run, monkeypatch):
    """Train was predicted for iterations 2 and 3 alone; of val0 nothing was found, of train1 there is no prediction."""
    none = {name: value[:0] for name, value in detections_record(two_squares()).items() if name != "size"}
    found = {f"val{i}": detections_record(two_squares()) for i in range(5)}
    found["val0"] = {**none, "size": found["val0"]["size"]}
    run.commit("predictions.val@3", "with_nothing", "detections", found)
    some = {f"train{i}": detections_record(two_squares()) for i in (0, 2, 3, 4)}
    run.commit("predictions.train@2", "of_some", "detections", some)
    forget(run, "predictions.train@1")
    said = told(monkeypatch)
    contact_sheets(run.run)
    assert "demo: train, 5 images: prediction of iteration 2 (score ≥ 0.3)" in said
    assert "demo: val, 5 images: prediction of iteration 3 (score ≥ 0.3)" in said
    assert "No prediction of iteration 3: train images are predicted only to feed a next iteration." in said
    assert "val0\nnothing found" in said and "val1" in said
    assert "train1\npseudo labels of iteration 3" in said and "train2" in said


def test_figures_say_of_which_iteration_a_prediction_is(run, monkeypatch):
    said = told(monkeypatch)
    figures_of_run(run.run, ["train0", "val1"])
    assert {
        "prediction of iteration 1 (score ≥ 0.3)",
        "prediction of iteration 2 (score ≥ 0.3), the last on train",
        "val1: prediction of iteration 3 (score ≥ 0.3)",
    } <= set(said)


def test_given_masks_are_marked(tmp_path, monkeypatch):
    """In overlays, figures and sheets; without a score, which says nothing of them."""
    built = gallery_run(tmp_path / "store")
    give_masks(built, "train1")
    del built.record.entries["predictions.train@1"]
    said = told(monkeypatch)
    overlays(built.run, "pseudo_labels@2", 1, ["train1"])
    assert "given masks" in said and "10 of 10 samples" not in said
    assert not any("background" in line for line in said)
    figures_of_run(built.run, ["train1"])
    assert "iteration 2: given masks" in said and "iteration 1: 6 of 10" in said
    contact_sheets(built.run)
    assert "train1\ngiven masks of iteration 2" in said


def test_a_title_is_not_cut(run, tmp_path):
    path, _ = write_figures(run.run, tmp_path, ["val1"])
    (figure,) = figures_of_run(run.run, ["val1"])
    whole = np.asarray(Image.open(path))
    assert figure.picture.shape[1] == 2 * COLUMN + 8 < whole.shape[1]
    assert whole.shape[1] == text_size(figure.caption, 17, bold=True)[0] + 16
