"""`benchmarks/proposals.py`: one command prints every part; its measures against plain references."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsis.method.proposals import MCGConfig, generate

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two discs on a ground, uint8 [60, 80, 3], and their instance numbers with a rim of void."""
    y, x = np.mgrid[:60, :80]
    pixels = np.random.default_rng(seed).integers(60, 80, (60, 80, 3)).astype(np.uint8)
    objects = np.zeros((60, 80), np.uint8)
    for number, (row, column, radius) in enumerate(((20, 20, 6), (35, 55, 18)), start=1):
        distance = np.hypot(y - row, x - column)
        pixels[distance < radius, number] += 120
        objects[distance < radius + 1] = 255
        objects[distance < radius - 1] = number
    return pixels, objects


@pytest.fixture(scope="module")
def devkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A devkit of two photographs."""
    root = tmp_path_factory.mktemp("devkit")
    for folder in ("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for seed in range(2):
        pixels, objects = picture(seed)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"p{seed}.jpg", quality=95)
        Image.fromarray(objects).save(root / "SegmentationObject" / f"p{seed}.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("p0\np1\n")
    return root


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "proposals.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_one_command_prints_every_part(devkit: Path, tmp_path: Path) -> None:
    options = ("--contour", "lab_gradient", "--limit", 1, "--timed", 1)
    drawn = ("--plot", tmp_path / "growth.png", "--preview", 1, "--out", tmp_path)
    done = run("--data", devkit, *options, *drawn)
    assert done.returncode == 0, done.stderr
    parts = re.findall(r"^## (.*)$", done.stdout, re.MULTILINE)
    assert parts == ["Quality", "Speed", "Memory", "Growth", "Store", "Figures to reach"]
    assert "1 photographs, 2 instances, void pixels left out" in done.stdout
    assert "| MCG, published, other photographs | 100 | 0.638 |" in done.stdout
    table = done.stdout[done.stdout.index("## Figures") :]
    assert len(re.findall(r"^\| .* \| [≤≥] \S+.* \| .* \| (reached|\*\*missed\*\*) \|$", table, re.M)) == 14
    for name in ("growth.png", "p0.png"):
        with Image.open(tmp_path / name) as found:
            assert found.format == "PNG" and found.width > 300


def test_bad_options_are_named(
    devkit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the script sets it where it is not
    import proposals

    monkeypatch.setattr(sys, "argv", ["proposals.py", "--data", str(devkit), "--parts", "speed,colour"])
    with pytest.raises(SystemExit, match="2"):
        proposals.main()
    assert "expected some of quality,speed,memory,growth,store, got colour" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["proposals.py", "--data", str(devkit), "--voc-sized", str(tmp_path)])
    with pytest.raises(SystemExit, match="--voc-sized: expected a folder with JPEG files"):
        proposals.main()


def test_best_ious_leave_void_out() -> None:
    from proposal_cases import masks_of
    from proposal_quality import COUNTS, best_ious

    pixels, objects = picture(0)
    found = generate(pixels, MCGConfig(contour="lab_gradient", max_regions=60, num_proposals=600))
    best, share = best_ious(found, *masks_of(objects))
    seen, masks = objects != 255, found.masks()
    for number in (1, 2):
        truth = objects == number
        iou = (masks & truth).sum((1, 2)) / ((masks & seen) | truth).sum((1, 2))
        np.testing.assert_allclose(best[:, number - 1], [iou[:n].max() for n in COUNTS])
        assert share[number - 1] == truth.mean()
    assert best[0].min() > 0.8


def test_no_instance_is_no_column() -> None:
    from proposal_cases import masks_of
    from proposal_quality import best_ious

    pixels, objects = picture(0)
    found = generate(pixels, MCGConfig(contour="lab_gradient"))
    best, share = best_ious(found, *masks_of(np.zeros_like(objects)))
    assert best.shape == (3, 0) and share.shape == (0,)


def test_coco_photographs_have_the_masks_of_their_annotations(tmp_path: Path) -> None:
    from proposal_cases import photographs

    pixels, _ = picture(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    square = [10, 20, 30, 20, 30, 50, 10, 50]
    runs = {"size": [60, 80], "counts": [60 * 79, 60]}
    annotations = [{"image_id": 7, "segmentation": one} for one in ([square], runs)]
    crowd = {"image_id": 7, "segmentation": runs, "iscrowd": 1}
    images = [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "none.png"}]
    content = {"images": images, "annotations": [*annotations, crowd]}
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    (one,) = photographs(tmp_path, "val", None)
    masks, void = one.truth()
    assert masks.sum(axis=(1, 2)).tolist() == [20 * 30, 60] and not void.any()
    assert masks[0, 20:50, 10:30].all() and masks[1, :, 79].all()
    np.testing.assert_array_equal(one.image, pixels)


def test_time_inside_a_step_counts_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import proposal_speed

    now = iter(
        [0.0, 1.0, 3.0, 4.5, 10.0, 11.0]
    )  # outer starts, inner starts and ends, outer ends; inner again
    monkeypatch.setattr(proposal_speed.time, "process_time", lambda: next(now))
    clock = proposal_speed._Clock()
    inner = clock.timed(lambda: "x", "inner")
    outer = clock.timed(lambda: inner(), "outer")
    assert outer() == "x" and clock.seconds == {"inner": 2.0, "outer": 2.5}
    inner()
    assert clock.seconds == {"inner": 3.0, "outer": 2.5}


def test_steps_add_up_and_the_generator_is_left_as_it_was() -> None:
    import proposal_speed

    from stages.proposals import proposals
    from wsis.method.proposals.contours.detectors import build_detector
    from wsis.method.proposals.generator import generation

    before = dict(vars(generation))
    config = proposals.Config(contour="lab_gradient")
    one = proposal_speed.time_one(picture(0)[0], config, build_detector(config))
    assert vars(generation) == before
    assert one.steps.total() == pytest.approx(one.total)
    assert {"contours", "watershed and region graph", "hierarchies", "tuples", "selection"} <= set(one.steps)
    assert one.steps["the rest"] < 0.5 * one.total
    known = set(vars(generation))
    assert {n for names in proposal_speed.STEPS.values() for n in names} <= known, (
        "the generator's names changed"
    )


def test_figures_are_kept_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    from proposal_cases import Figure, print_figures

    print_figures([Figure("a", 0.9, 0.9, True), Figure("b", 0.41, 0.4, unit=" s"), Figure("c", 3, 5)])
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines == [
        "| a | ≥ 0.9 | 0.9 | reached |",
        "| b | ≤ 0.4 s | 0.41 s | **missed** |",
        "| c | ≤ 5 | 3 | reached |",
    ]
