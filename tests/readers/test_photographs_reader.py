"""A folder of photographs: what counts, in what order, under what ids; and the data set made of it."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import DataError
from data_contracts.schemas import DATASET, array_to_text
from data_contracts.store import Store
from stages.data import photographs
from wsis.engine.per_image import read_failures
from wsis.engine.progress import Progress
from wsis.engine.stage import execute
from wsis.readers.files.photographs import digest, list_photographs


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def ids(root: Path) -> dict[str, str]:
    return {one.file_name: one.image_id for one in list_photographs(root)[0]}


def test_order_hidden_and_other_files(tmp_path):
    fill(
        tmp_path, "b.PNG", "a/z.jpg", "a/a.jpeg", "a.jpg", "c.webp", "a/deep/er/x.tiff", "readme.txt", "x.xmp"
    )
    fill(tmp_path, ".hidden.jpg", "._b.PNG", ".thumbnails/t.png", "a/.git/x.png", "no_ending")
    found, others = list_photographs(tmp_path)
    assert [one.file_name for one in found] == [
        *("a/a.jpeg", "a/deep/er/x.tiff", "a/z.jpg", "a.jpg", "b.PNG", "c.webp"),
    ]
    assert [one.image_id for one in found] == ["a/a", "a/deep/er/x", "a/z", "a", "b", "c"]
    assert all(one.path == tmp_path / one.file_name for one in found)
    assert others == 3


def test_names_that_differ_by_their_ending_keep_it(tmp_path):
    fill(tmp_path, "a.jpg", "a.png", "b.jpg", "C.JPG", "c.png", "s/a.jpg", "a.jpg.tif")
    assert ids(tmp_path) == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "a.jpg.tif": "a.jpg.tif",  # its stem is the first one's id
        "b.jpg": "b",
        "C.JPG": "C.JPG",  # a file system may not tell C from c
        "c.png": "c.png",
        "s/a.jpg": "s/a",
    }


def test_formats_we_cannot_read_are_not_passed_over(tmp_path):
    """Unless a picture of the same name lies beside, as cameras write them."""
    fill(tmp_path, "phone.HEIC", "camera.CR2", "camera.JPG", "raw/camera.dng")
    assert ids(tmp_path) == {"phone.HEIC": "phone", "camera.JPG": "camera", "raw/camera.dng": "raw/camera"}


def test_one_file_and_links(tmp_path):
    fill(tmp_path, "real/a.jpg", "real/b.txt")
    (only,), others = list_photographs(tmp_path / "real" / "a.jpg")
    assert (only.image_id, only.file_name, others) == ("a", "a.jpg", 0)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "l.jpg").symlink_to(tmp_path / "real" / "a.jpg")
    (tmp_path / "links" / "loop").symlink_to(tmp_path / "links")
    assert ids(tmp_path / "links") == {"l.jpg": "l"}


def test_names_that_are_not_utf8(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.jpg"))).write_bytes(b"x")
    (one,) = list_photographs(tmp_path)[0]
    assert one.image_id == "\\xff\\xe9" and one.path.read_bytes() == b"x"


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"expected a folder or an image file, got .*none"):
        list_photographs(tmp_path / "none")
    fill(tmp_path, "a.txt", "b.doc")
    with pytest.raises(DataError, match=r"expected files that end in \.jpg .* got 2 other files"):
        list_photographs(tmp_path)


def test_digest_is_that_of_names_and_bytes(tmp_path):
    one, other = fill(tmp_path / "one", "a.jpg", "s/b.png"), fill(tmp_path / "other", "a.jpg", "s/b.png")

    def of(root):
        return digest(list_photographs(root)[0])

    first = of(one)
    assert of(other) == first
    fill(other, "notes.txt")
    assert of(other) == first
    (other / "a.jpg").write_bytes(b"changed")
    assert of(other) != first
    (other / "a.jpg").write_bytes(b"")  # cannot be read: still a digest, and another one
    assert of(other) not in (first, None)
    (one / "a.jpg").rename(one / "c.jpg")
    assert of(one) != first


def test_stage_keeps_bytes_and_lists_what_is_no_image(tmp_path):
    root = tmp_path / "photos"
    fill(root, "fake.jpg")
    (root / "empty.png").touch()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    (root / "turned.png").write_bytes(buffer.getvalue())
    (root / "cut.png").write_bytes(buffer.getvalue()[:-30])  # its header is whole
    config = photographs.Config(root=root)
    made = execute(photographs.STAGE, config, {}, Store(tmp_path / "store"), progress=Progress(quiet=True))
    records = made.artefact.records(DATASET)
    assert records.ids == ["cut", "empty", "fake", "turned"]
    assert records["turned"]["encoded"].tobytes() == buffer.getvalue()
    assert records["turned"]["size"].tolist() == [20, 12]
    assert array_to_text(records["turned"]["file_name"]) == "turned.png"
    assert len(records["turned"]["labels"]) == 0
    failed = read_failures(made.artefact.path)
    assert list(failed) == ["empty", "fake"]
    assert "empty (0 bytes)" in failed["empty"]
    assert "fake.jpg: expected an image (JPEG" in failed["fake"]
    manifest = made.artefact.manifest
    assert manifest.counts["failed"] == list(failed.values())
    assert (manifest.counts["images"], manifest.supervision) == (2, [])
