"""`wsis contours`: what the maps hold, which are kept and which made again, what is never overwritten."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.runs.own_photographs import SMALL, encoded, good_folder, large_photograph, odd_folder, scene
from tests.runs.tiny_run import Result, done, wsis
from wsis.apps.contour_maps import MARK
from wsis.apps.photograph_proposals import build_settings
from wsis.method.proposals.maps import contour_map
from wsis.readers.files.images import decode_image

pytestmark = pytest.mark.timeout(300)
CONFIG = build_settings(SMALL[1::2]).proposals


def run(images: Path, out: Path, *more: object) -> Result:
    return wsis("contours", images, "--out", out, *SMALL, "--workers", 1, *more)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        return np.asarray(picture)


def times(out: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in out.rglob("*.png")}


def test_one_map_a_photograph_at_its_size(tmp_path: Path) -> None:
    sizes, words = odd_folder(tmp_path / "photos")
    del words["strip"]  # too long to learn from, but it has contours
    sizes["strip"] = (3, 5000)
    result = run(tmp_path / "photos", tmp_path / "maps", "--workers", 2)
    assert result.code == 1
    assert result.out == f"{len(sizes)} contour maps written: {tmp_path / 'maps'}\n"
    listed = re.findall(r"^  - (.*)$", result.err, re.MULTILINE)
    assert (
        len(listed) == len(words) and "error: 5 of 13 photographs failed, the others are done\n" in result.err
    )
    for message, expected in zip(listed, words.values(), strict=True):
        assert expected in message
    found = {str(p.relative_to(tmp_path / "maps"))[:-4] for p in (tmp_path / "maps").rglob("*.png")}
    assert found == set(sizes)
    for image_id, size in sizes.items():
        assert pixels(tmp_path / "maps" / f"{image_id}.png").shape == size
    assert (pixels(tmp_path / "maps" / "uniform.png") == 0).all()
    for name in ("alpha.png", "turned.jpg", "sub/good.JPG"):
        image = decode_image((tmp_path / "photos" / name).read_bytes(), name)
        expected = np.rint(255 * contour_map(image, CONFIG)).astype(np.uint8)
        got = pixels(tmp_path / "maps" / f"{name.split('.')[0]}.png")
        np.testing.assert_array_equal(got, expected)
        assert got.max() > 4 * np.median(got)  # the rectangle's border in the noise


def test_maps_that_are_there_are_kept_and_others_made_again(tmp_path: Path) -> None:
    images, out = good_folder(tmp_path / "photos", 6), tmp_path / "maps"
    assert done(run(images, out)).out.startswith("6 contour maps written: ")
    first, before = times(out), {p.name: p.read_bytes() for p in out.iterdir()}
    assert "0 contour maps written, 6 were there already: " in done(run(images, out)).out
    assert times(out) == first

    (out / "p01.png").write_bytes(before["p01.png"][:-40])  # cut short
    damaged = bytearray(before["p02.png"])
    damaged[-60] ^= 1
    (out / "p02.png").write_bytes(damaged)
    (out / "p03.png").unlink()
    (images / "p04.png").write_bytes(encoded(scene(30, 30, 9)))  # another photograph
    assert "4 contour maps written, 2 were there already: " in done(run(images, out)).out
    assert {n for n, t in times(out).items() if t == first[n]} == {"p00.png", "p05.png"}
    assert {p.name for p in out.iterdir() if p.read_bytes() != before[p.name]} == {"p04.png"}
    assert pixels(out / "p04.png").shape == (30, 30)

    assert "6 contour maps written: " in done(run(images, out, "--set", "proposals.max_side=32")).out
    # what does not change a contour does not make it again
    assert (
        "0 contour maps"
        in done(run(images, out, "--set", "proposals.max_side=32", "--set", "proposals.num_proposals=7")).out
    )


@pytest.mark.parametrize("theirs", ["picture", "no picture"])
def test_a_file_that_is_not_ours_is_never_overwritten(tmp_path: Path, theirs: str) -> None:
    images, out = good_folder(tmp_path / "photos", 2), tmp_path / "maps"
    out.mkdir()
    data = encoded(scene(9, 9)) if theirs == "picture" else b"my notes"
    (out / "p01.png").write_bytes(data)
    refused = run(images, out)
    assert refused.code == 1
    assert (
        f"p01.png: {out / 'p01.png'} is there and was not written by wsis contours; it is left as it is"
        in refused.err
    )
    assert (out / "p01.png").read_bytes() == data and pixels(out / "p00.png").shape == (40, 60)
    inside = run(images, images / "maps")
    assert inside.code == 2 and "--out: expected a place outside the photographs" in inside.err
    assert run(images, images).code == 2 and len(list(images.iterdir())) == 2


def test_names_that_differ_by_their_ending(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for name, seed in (("a.png", 1), ("a.jpg", 2), ("b.jpg", 3), ("a/b.jpg", 4)):
        kind = "JPEG" if name.endswith("jpg") else "PNG"
        (tmp_path / "photos" / name).write_bytes(encoded(scene(20 + seed, 30, seed), kind))
    done(run(tmp_path / "photos", tmp_path / "maps"))
    heights = {
        str(p.relative_to(tmp_path / "maps")): len(pixels(p)) for p in (tmp_path / "maps").rglob("*.png")
    }
    assert heights == {"a.png.png": 21, "a.jpg.png": 22, "b.png": 23, "a/b.png": 24}


def test_large_photographs_and_long_names(tmp_path: Path) -> None:
    image, ellipse = large_photograph()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "large.jpg").write_bytes(encoded(image, "JPEG"))
    (tmp_path / "photos" / ("n" * 250 + ".png")).write_bytes(encoded(scene(9, 9)))
    settings = ["--set", "proposals.contour=lab_gradient", "--set", "proposals.max_side=384"]
    done(wsis("contours", tmp_path / "photos", "--out", tmp_path / "maps", *settings))
    assert {p.stem for p in (tmp_path / "maps").iterdir()} == {"large", "n" * 250}
    strength = pixels(tmp_path / "maps" / "large.png")
    assert strength.shape == image.shape[:2]
    border = cv2.dilate(ellipse.astype(np.uint8), np.ones((21, 21))) > cv2.erode(
        ellipse.astype(np.uint8), np.ones((21, 21))
    )
    far = cv2.dilate(border.astype(np.uint8), np.ones((201, 201))) == 0
    assert strength[border].mean() > 10 * strength[far].mean()


def test_refusals(tmp_path: Path) -> None:
    images = good_folder(tmp_path / "photos", 1)
    assert "Missing option '--out'" in wsis("contours", images).err
    absent = run(images, tmp_path / "maps", "--set", f"proposals.contour_model={tmp_path / 'none.yml'}")
    assert absent.code == 1 and re.search(
        r"error: contour_model: the file .*none\.yml is missing", absent.err
    )
    unknown = run(images, tmp_path / "maps", "--set", "proposals.contour=structured_forests")
    assert unknown.code == 2 and "contour: expected one of learned, lab_gradient, got" in unknown.err
    occupied = tmp_path / "file"
    occupied.write_text("x")
    refused = run(images, occupied)
    assert refused.code == 1 and "error: cannot create" in refused.err
    assert MARK == "wsis-contours"  # in every map that was ever written
