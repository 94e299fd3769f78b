"""Every kind of image file decodes to known pixels; every kind of broken file is an error that says what is wrong."""

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from data_contracts.errors import DataError
from wsis.readers.files import images
from wsis.readers.files.images import decode_again, decode_image, decode_indices, image_size


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(height: int = 40, width: int = 60) -> np.ndarray:
    """A ramp that JPEG keeps well."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 5, columns * 4, 128 + 0 * rows], axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_unchanged(pixels: np.ndarray, kind: str) -> None:
    decoded = decode_image(saved(Image.fromarray(pixels), kind), "x")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


def test_jpeg_equals_opencv() -> None:
    data = saved(Image.fromarray(smooth()), "JPEG", quality=90)
    reference = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decode_image(data, "x"), reference)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "JPEG"])
def test_what_was_decoded_before_is_decoded_alike(kind: str) -> None:
    data = saved(Image.fromarray(smooth()), kind)
    np.testing.assert_array_equal(decode_again(data, "x"), decode_image(data, "x")[..., ::-1])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_jpegs_of_all_kinds_are_decoded_alike_again(
    subsampling: int, progressive: bool, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noisy = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    options = {"subsampling": subsampling, "progressive": progressive, "exif": exif.tobytes()}
    data = saved(Image.fromarray(noisy), "JPEG", quality=80, **options)
    np.testing.assert_array_equal(decode_again(data, "x"), decode_image(data, "x")[..., ::-1])


def test_grey_cmyk_and_photographs_are_decoded_alike_again(voc_root: Path) -> None:
    grey = saved(Image.fromarray(smooth()[..., 0]), "JPEG")
    cmyk = saved(Image.fromarray(smooth()).convert("CMYK"), "JPEG")
    files = sorted((voc_root / "JPEGImages").glob("*.jpg"))[::50]
    for data in (grey, cmyk, *(path.read_bytes() for path in files)):
        np.testing.assert_array_equal(decode_again(data, "x"), decode_image(data, "x")[..., ::-1])
    with pytest.raises(DataError, match="expected an image"):
        decode_again(b"no image", "x")


def test_grey_is_repeated(pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    decoded = decode_image(saved(Image.fromarray(grey), "PNG"), "x")
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3, axis=2))


def test_grey_jpeg_and_one_bit() -> None:
    decoded = decode_image(saved(Image.fromarray(np.full((8, 8), 77, np.uint8)), "JPEG"), "x")
    np.testing.assert_array_equal(decoded, np.full((8, 8, 3), 77))
    checks = np.indices((4, 6)).sum(axis=0) % 2 == 1
    np.testing.assert_array_equal(
        decode_image(saved(Image.fromarray(checks), "PNG"), "x")[..., 1], checks.astype(np.uint8) * 255
    )


def test_sixteen_bit_keeps_upper_byte(pixels: np.ndarray) -> None:
    deep = pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1]
    decoded = decode_image(saved(Image.fromarray(deep), "PNG"), "x")
    np.testing.assert_array_equal(decoded, np.stack([pixels[..., 0]] * 3, axis=2))
    decoded = decode_image(saved(Image.fromarray(deep), "TIFF"), "x")
    np.testing.assert_array_equal(decoded, np.stack([pixels[..., 0]] * 3, axis=2))


def test_sixteen_bit_colour_keeps_upper_byte(pixels: np.ndarray) -> None:
    deep = pixels.astype(np.uint16) * 256 + 255
    _, png = cv2.imencode(".png", deep[..., ::-1])
    np.testing.assert_array_equal(decode_image(png.tobytes(), "x"), pixels)


def test_values_beyond_sixteen_bit_are_refused() -> None:
    deep = Image.fromarray(np.full((4, 4), 70_000, np.int32))
    with pytest.raises(DataError, match=r"deep\.tif: expected 8 or 16 bits a channel, got values 70000"):
        decode_image(saved(deep, "TIFF"), "deep.tif")


def test_float_is_refused() -> None:
    with pytest.raises(DataError, match=r"float\.tif: .*got floating-point pixels"):
        decode_image(saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "float.tif")


def test_cmyk_jpeg() -> None:
    reds = Image.new("RGB", (16, 16), (200, 30, 40))
    data = saved(reds.convert("CMYK"), "JPEG", quality=100)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    np.testing.assert_allclose(
        decode_image(data, "x").astype(int), np.broadcast_to([200, 30, 40], (16, 16, 3)), atol=2
    )


def test_palette_and_its_transparency(pixels: np.ndarray) -> None:
    indices = (pixels[..., 0] % 3).astype(np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    colours = np.array([[255, 0, 0], [0, 99, 0], [7, 8, 9]], np.uint8)
    image.putpalette(colours.ravel().tolist())
    np.testing.assert_array_equal(decode_image(saved(image, "PNG"), "x"), colours[indices])
    transparent = decode_image(saved(image, "PNG", transparency=1), "x")
    shown = np.array([[255, 0, 0], [255, 255, 255], [7, 8, 9]], np.uint8)
    np.testing.assert_array_equal(transparent, shown[indices])


def test_alpha_is_blended_over_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]
    decoded = decode_image(saved(Image.fromarray(rgba), "PNG"), "x")
    np.testing.assert_array_equal(decoded[0], [[10, 20, 30], [255, 255, 255], [204, 204, 204]])
    grey = Image.merge("LA", [Image.new("L", (2, 1), 40), Image.new("L", (2, 1), 0)])
    np.testing.assert_array_equal(decode_image(saved(grey, "PNG"), "x"), np.full((1, 2, 3), 255))


# what a viewer must do with the stored pixels, EXIF 2.3 table of tag 0x0112
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_applied(pixels: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(pixels), "PNG", exif=exif)
    expected = TURNS[orientation](pixels)
    np.testing.assert_array_equal(decode_image(data, "x"), expected)
    assert image_size(data, "x") == expected.shape[:2]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_file(kind: str, share: float) -> None:
    whole = saved(
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)), kind
    )
    with pytest.raises(DataError, match=r"cut\.img: .*(cut short|damaged)"):
        decode_image(whole[: int(len(whole) * share)], "cut.img")


def test_truncated_jpeg_without_its_last_bytes() -> None:
    whole = saved(Image.fromarray(smooth()), "JPEG")
    assert decode_image(whole, "x").shape == (40, 60, 3)
    with pytest.raises(DataError, match="cut short"):
        decode_image(whole[:-2], "x")


def test_damaged_png_chunk(pixels: np.ndarray) -> None:
    data = bytearray(saved(Image.fromarray(pixels), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DataError, match="damaged"):
        decode_image(bytes(data), "flipped.png")


def test_lenient_pillow_is_refused(monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match="LOAD_TRUNCATED_IMAGES is on"):
        decode_image(saved(Image.fromarray(pixels), "PNG"), "x")


def test_empty_and_foreign_files() -> None:
    with pytest.raises(DataError, match=r"a\.jpg: expected an image, got an empty file \(0 bytes\)"):
        decode_image(b"", "a.jpg")
    with pytest.raises(
        DataError, match=r"a\.jpg: expected an image .*got \d+ bytes of text that begin with '%PDF-1"
    ):
        decode_image(b"%PDF-1.7\n", "a.jpg")
    with pytest.raises(DataError, match=r"got 9 bytes that are none of them; replace or remove it$"):
        decode_image(b"\0\xff\xd8abcdef", "a.jpg")
    with pytest.raises(
        DataError, match=r"got \d+ bytes of text that begin with 'I am not an imag'; replace or remove it$"
    ):
        decode_image(b"I am not an image, nor was I\n", "a.jpg")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"  # Pillow would start Ghostscript
    with pytest.raises(DataError, match="expected an image"):
        decode_image(postscript, "a.eps")


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(DataError, match=r"big\.png: expected at most 100 pixels, got 14 x 9"):
        decode_image(saved(Image.fromarray(pixels), "PNG"), "big.png")


def test_decompression_bomb_is_refused_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(saved(Image.new("L", (1, 1)), "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # the header claims 3.6 gigapixels
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"bomb\.png: expected at most 64000000 pixels"):
        decode_image(bytes(data), "bomb.png")


def test_indices_are_read_as_they_are() -> None:
    indices = np.array([[0, 1, 2], [255, 12, 0]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([0] * 768)  # a palette that would hide them
    np.testing.assert_array_equal(decode_indices(saved(image, "PNG"), "x"), indices)


def test_indices_must_be_a_palette_png(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"m\.png: expected a palette PNG .*got mode RGB"):
        decode_indices(saved(Image.fromarray(pixels), "PNG"), "m.png")
    with pytest.raises(DataError, match="expected an image \\(PNG\\)"):
        decode_indices(saved(Image.fromarray(pixels), "JPEG"), "m.png")
