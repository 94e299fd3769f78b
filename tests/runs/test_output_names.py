"""Names of what is written for each photograph: any name of a photograph has one, and no two share one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_contracts.atomic import write_atomic
from data_contracts.errors import StoreError
from data_contracts.paths import write_file
from tests.runs.own_photographs import SMALL
from tests.runs.tiny_run import done, wsis
from wsis.apps.output_paths import output_names, write_names


def test_usual_names_are_kept() -> None:
    ids = ["a", "sub/b", "c.jpg", "sub/ü", "x" * 251]
    assert output_names(ids) == {i: f"{i}.png" for i in ids}


def test_a_name_that_is_another_ones_folder_or_too_long_is_mapped(tmp_path: Path) -> None:
    ids = ["x", "x.png/y", "y" * 252, "y" * 253, "é" * 127 + "/" + "é" * 126, "z/" + "y" * 252]
    names = output_names(ids)
    assert len({name.casefold() for name in names.values()}) == len(ids)
    assert names["x.png/y"] == "x.png/y.png" and names["x"].startswith("x~")
    for name in names.values():
        write_file(tmp_path / name, b"picture")  # the file system takes all of them
        assert name.endswith(".png") and all(len(os.fsencode(part)) <= 255 for part in name.split("/"))
    write_names(names, tmp_path)
    mapped = json.loads((tmp_path / "names.json").read_text())
    assert mapped == {i: name for i, name in names.items() if name != f"{i}.png"} and len(mapped) == 5
    write_names(output_names(["a"]), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), b"x")
    with pytest.raises(StoreError, match="File name too long"):
        write_file(tmp_path / ("n" * 256), b"x")


def test_contours_and_previews_of_photographs_with_hard_names(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "x.png").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    long = "n" * 251
    for name in ("x.jpg", "x.png/y.jpg", f"{long}.jpg", f"{long}.png", "\x1b[31m.jpg"):
        Image.fromarray(pixels).save(photos / name)
    result = done(wsis("contours", photos, "--out", tmp_path / "maps", *SMALL, "--workers", 1))
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 5 + 1  # and the folder x.png
    mapped = json.loads((tmp_path / "maps" / "names.json").read_text())
    assert mapped.keys() >= {f"{long}.png", f"{long}.jpg"}
    sheets = tmp_path / "sheets"
    made = ("--out", tmp_path / "store", "--preview", 5, "--preview-out", sheets, *SMALL, "--workers", 1)
    result = done(wsis("proposals", photos, *made))
    assert len([p for p in sheets.rglob("*.png") if p.is_file()]) == 5
    assert "\x1b" not in result.out + result.err and "\\u001b[31m.png" in result.out
