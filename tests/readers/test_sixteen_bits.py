"""16-bit images whose cameras use fewer: stretched alike in a whole data set, never black."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import DataError
from data_contracts.schemas import DATASET
from data_contracts.store import Store
from stages.data import dataset, photographs
from wsis.engine.progress import Progress
from wsis.engine.stage import execute
from wsis.readers.config import DataConfig
from wsis.readers.files.images import decode_image, image_size, sample_bits
from wsis.readers.formats.coco import CocoSource
from wsis.readers.shared.folder import FolderOptions


def encode(pixels: np.ndarray, kind: str = ".png") -> bytes:
    return bytes(cv2.imencode(kind, pixels)[1].tobytes())


def ramp(bits: int, channels: int = 1) -> np.ndarray:
    """uint16 [8, 12] or [8, 12, channels], 0 to the largest value of `bits`."""
    pixels = np.linspace(0, (1 << bits) - 1, 8 * 12 * channels).astype(np.uint16)
    return pixels.reshape(8, 12) if channels == 1 else pixels.reshape(8, 12, channels)


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_upper_8_of_the_bits_in_use(bits: int, channels: int, kind: str) -> None:
    pixels = ramp(bits, channels)
    data = encode(pixels, kind)
    assert sample_bits(data, "x") == bits
    found = decode_image(data, "x")
    expected = (pixels >> (bits - 8)).astype(np.uint8)
    expected = np.repeat(expected[:, :, None], 3, axis=2) if channels == 1 else expected[:, :, ::-1]
    np.testing.assert_array_equal(found, expected)
    assert found.max() == 255
    np.testing.assert_array_equal(decode_image(data, "x", 16).max(), ((1 << bits) - 1) >> 8)


def test_images_of_8_bits_have_no_depth() -> None:
    for kind in (".png", ".jpg", ".tiff", ".bmp"):
        data = encode(np.full((4, 4, 3), 7, np.uint8), kind)
        assert sample_bits(data, "x") is None
        np.testing.assert_array_equal(decode_image(data, "x"), decode_image(data, "x", 12))


def test_transparency_and_orientation_of_16_bits() -> None:
    pixels = np.full((4, 6, 4), 4000, np.uint16)
    pixels[:, :3, 3] = 0
    pixels[:, 3:, 3] = 65535
    found = decode_image(encode(pixels), "x")
    assert found[:, :3].min() == 255 and found[:, 3:].max() == 4000 >> 8
    upright = ramp(12, 3)
    for orientation, turned in {
        3: upright[::-1, ::-1],
        6: np.rot90(upright, -1),
        8: np.rot90(upright),
    }.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(upright)
        chunk = io.BytesIO()
        Image.new("RGB", (1, 1)).save(chunk, "PNG", exif=exif)
        start = chunk.getvalue().index(b"eXIf") - 4
        length = 12 + int.from_bytes(chunk.getvalue()[start : start + 4], "big")
        oriented = data[:33] + chunk.getvalue()[start : start + length] + data[33:]  # after IHDR
        np.testing.assert_array_equal(decode_image(oriented, "x")[:, :, ::-1], turned >> 4)


def test_what_is_cut_short_or_negative_is_refused() -> None:
    with pytest.raises(DataError, match="cut short or damaged"):
        decode_image(encode(ramp(12, 3))[:-40], "x")
    buffer = io.BytesIO()
    Image.fromarray(np.array([[-5, 3]], np.int32)).save(buffer, "TIFF")
    with pytest.raises(DataError, match="expected 8 or 16 bits a channel, got values -5 to 3"):
        decode_image(buffer.getvalue(), "x")
    buffer = io.BytesIO()
    Image.fromarray(np.ones((2, 2), np.float32)).save(buffer, "TIFF")
    with pytest.raises(DataError, match=r"got floating-point pixels; scale them to 0\.\.255"):
        decode_image(buffer.getvalue(), "x")


def deep_coco(coco: Any, bits: dict[str, int]) -> None:
    """Make the images 16-bit PNG, each of its own brightness."""
    for split in ("train", "val"):
        for image in coco.trees[split]["images"]:
            name = f"{split}/{Path(image['file_name']).stem}"
            (coco.root / f"{name}.png").write_bytes(encode(ramp(bits[name])))
            image["file_name"] = f"{Path(name).name}.png"
        coco.write(split)


def test_a_data_set_is_stretched_as_one(coco: Any, tmp_path: Path) -> None:
    deep_coco(coco, {"train/1": 12, "train/2": 10, "val/1": 11, "val/2": 8})
    data = CocoSource(coco.root, FolderOptions({"train": "train", "val": "val"}))
    assert any("4 images of 16 bits a channel: 12 are in use" in note for note in data.notes())
    made = execute(
        dataset.STAGE, DataConfig(format="coco", root=coco.root), {}, Store(tmp_path / "s")
    ).artefact
    records = made.records(DATASET)
    highest = {i: decode_image(records[i]["encoded"].tobytes(), i).max() for i in records.ids}
    assert highest == {"train/1": 255, "train/2": 1023 >> 4, "val/1": 2047 >> 4, "val/2": 255 >> 4}
    before = data.digest()
    deep_coco(coco, {"train/1": 10, "train/2": 10, "val/1": 10, "val/2": 8})
    assert CocoSource(coco.root, FolderOptions({"train": "train", "val": "val"})).digest() != before


def test_a_folder_of_photographs_is_stretched_as_one(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name, bits in (("a", 12), ("b", 10)):
        (tmp_path / f"p/{name}.png").write_bytes(encode(ramp(bits)))
    (tmp_path / "p/broken.png").write_bytes(encode(ramp(12))[:60])
    (tmp_path / "p/c.jpg").write_bytes(encode(np.full((4, 4, 3), 9, np.uint8), ".jpg"))
    config = photographs.Config(root=tmp_path / "p")
    made = execute(
        photographs.STAGE, config, {}, Store(tmp_path / "s"), progress=Progress(quiet=True)
    ).artefact
    records = made.records(DATASET)
    assert decode_image(records["a"]["encoded"].tobytes(), "a").max() == 255
    assert decode_image(records["b"]["encoded"].tobytes(), "b").max() == 1023 >> 4
    assert records["c"]["encoded"].tobytes() == (tmp_path / "p/c.jpg").read_bytes()


def turned_tiff(pixels: np.ndarray, orientation: int) -> bytes:
    """An uncompressed RGB TIFF with a tag of orientation, which Pillow writes of 8 bits alone."""
    height, width = pixels.shape[:2]
    data, bits = pixels.tobytes(), 8 * pixels.dtype.itemsize
    where = 8 + len(data)
    longs = ((256, width), (257, height), (273, 8), (278, height), (279, len(data)))
    shorts = ((259, 1), (262, 2), (274, orientation), (277, 3))
    tags = [(tag, 4, 1, v) for tag, v in longs] + [(tag, 3, 1, v) for tag, v in shorts] + [(258, 3, 3, where)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    table = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", where + 8) + data + struct.pack("<4H", bits, bits, bits, 0) + table


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(orientation: int) -> None:
    eight = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    eight[0, 0] = 255  # all 16 bits are in use
    small, deep = (turned_tiff(one, orientation) for one in (eight, eight.astype(np.uint16) * 257))
    found = decode_image(small, "a.tif")
    np.testing.assert_array_equal(decode_image(deep, "a.tif"), found)
    assert found.shape[:2] == image_size(small, "a.tif") == image_size(deep, "a.tif")
    assert found.shape[0] == (12 if orientation > 4 else 8)
