"""How photographs are looked at: what is chosen, said, and that tiles cover all."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from tests.method.prediction.synthetic_source import SyntheticSource, rectangle
from wsis.method.masks.boxes import box_of_mask
from wsis.method.prediction.data.training_images import ImageInstances, SuperpixelMasks
from wsis.method.prediction.settings import PredictSettings
from wsis.method.prediction.tiles import Tiling, choose_tiling
from wsis.method.prediction.training_objects import TrainingObjects, fit_factor

FITS = (288, 288)
AUTO = PredictSettings(tiles="auto")
OBJECTS = TrainingObjects(
    smallest=50, quarter=80, longest=160, shorter_side=216, pixel_scale=0.75, keeps_pixels=False
)


def chosen(
    width: int, height: int, settings: PredictSettings = AUTO, objects: TrainingObjects | None = OBJECTS
) -> Tiling:
    return choose_tiling((height, width), FITS, settings, objects)


def check_covered(tiling: Tiling) -> None:
    """Every pixel lies in a tile, all tiles are of one size, and neighbours overlap."""
    seen = np.zeros(tiling.size, int)
    for top, left, bottom, right in tiling.windows:
        assert 0 <= top < bottom <= tiling.size[0] and 0 <= left < right <= tiling.size[1]
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    assert len({(b - t, r - x) for t, x, b, r in tiling.windows}) == 1
    for axis in (0, 1):
        starts = sorted({window[axis] for window in tiling.windows})
        side = tiling.windows[0][axis + 2] - tiling.windows[0][axis]
        assert all(a + side - b >= tiling.overlap - 2 for a, b in pairwise(starts))


@pytest.mark.parametrize(
    ("width", "height"), [(384, 288), (4000, 3000), (1500, 1000), (2000, 1000), (100, 80)]
)
def test_photographs_of_the_training_frame_are_looked_at_whole(width: int, height: int) -> None:
    for size in ((width, height), (height, width)):
        tiling = chosen(*size)
        assert tiling.windows == () and tiling.scale == pytest.approx(288 / max(size))
    assert bool(chosen(width, height).why) == (width > 384)  # of many more pixels than training: said


@pytest.mark.parametrize("size", [(4000, 800), (800, 4000), (3000, 900)])
def test_a_panorama_is_cut_to_the_training_frame(size: tuple[int, int]) -> None:
    tiling = chosen(*size)
    check_covered(tiling)
    top, left, bottom, right = tiling.windows[0]
    short, long = sorted((bottom - top, right - left))
    assert short == min(size) and long == pytest.approx(min(size) * 288 / 216, abs=1)
    assert (right - left > bottom - top) == (size[0] > size[1])
    assert fit_factor((bottom - top, right - left), FITS) == pytest.approx(tiling.scale, rel=0.01)


def test_it_is_said_in_one_line() -> None:
    assert chosen(4000, 800).said() == (
        "4000 x 800: 7 tiles of 1067 x 800 and the whole, because shrunk to 288 x 58 a quarter of its objects would "
        "be under 21 pixels large, and nine in ten of training were 50 or more"
    )
    assert chosen(4000, 800).said(3).startswith("3 photographs of 4000 x 800: 7 tiles")
    assert chosen(4000, 3000).said() == (
        "4000 x 3000: whole, as its objects are taken to fill as much of it as those of training did; if they are "
        "smaller beside it, --tiles PIXELS looks closer"
    )
    unknown = chosen(4000, 800, objects=None)
    assert (
        not unknown.windows
        and "the sizes of training objects are not known; --tiles PIXELS" in unknown.said()
    )
    assert not chosen(384, 288, objects=None).why


def test_objects_that_keep_their_pixels_are_looked_at_with_those() -> None:
    micrographs = OBJECTS.model_copy(update={"keeps_pixels": True, "pixel_scale": 0.75})
    tiling = chosen(2000, 1500, objects=micrographs)
    check_covered(tiling)
    assert tiling.scale == 0.75 and tiling.windows[0] == (0, 0, 384, 384)
    assert not chosen(400, 300, objects=micrographs).windows


@pytest.mark.parametrize(
    ("settings", "tile", "scale"),
    [
        ({"tiles": 500}, (500, 500), 288 / 500),
        ({"tiles": "auto", "size": 1000}, (600, 864), 1 / 3),
        ({"tiles": 500, "size": None}, (500, 500), 288 / 500),
    ],
)
def test_what_is_asked_for_decides(settings: dict, tile: tuple[int, int], scale: float) -> None:
    for objects in (OBJECTS, None):
        tiling = chosen(3000, 600, PredictSettings(**settings), objects)
        check_covered(tiling)
        assert tiling.windows[0][2:] == tile and tiling.scale == pytest.approx(scale)
        assert "asked for" in tiling.said()


def test_one_pass_and_tiles_that_hold_everything() -> None:
    assert chosen(3000, 600, PredictSettings()) == Tiling((600, 3000), 288 / 3000)
    at = chosen(3000, 600, PredictSettings(size=1000))
    assert not at.windows and at.scale == pytest.approx(1 / 3)
    held = chosen(300, 200, PredictSettings(tiles=500))
    assert not held.windows and held.scale == pytest.approx(288 / 300) and "one tile holds it" in held.why
    with pytest.raises(ValidationError, match="size: expected null beside a number of tiles"):
        PredictSettings(tiles=500, size=1000)


def test_networks_with_another_frame() -> None:
    wide = choose_tiling((800, 8000), (1333, 800), PredictSettings(tiles=1000), None)
    check_covered(wide)
    assert wide.windows[0] == (0, 0, 600, 1000)


# -- sizes of objects -------------------------------------------------------------------------------------
def test_sizes_are_those_of_the_labels_at_the_network() -> None:
    source = SyntheticSource()
    found = TrainingObjects.of(source, (48, 48))  # images of 96 x 64 shrink by half
    assert found is not None and found.pixel_scale == 0.5 and found.shorter_side == 32
    assert found.smallest == pytest.approx(10, abs=0.01)  # the corner, which one set of four has
    assert found.quarter == pytest.approx(
        np.sqrt(30 * 28) / 2, abs=0.01
    )  # of the objects one in five is smaller
    assert found.longest == 15 and not found.keeps_pixels
    assert TrainingObjects(**found.model_dump()) == found
    assert TrainingObjects.of(SyntheticSource(_nothing), (48, 48)) is None


def _nothing(index: int) -> ImageInstances:
    return ImageInstances(np.zeros((0, 64, 96), bool), np.zeros(0, int), np.zeros((0, 1)))


def test_superpixels_and_dense_masks_measure_alike() -> None:
    def dense(index: int) -> ImageInstances:
        mask = rectangle(index, (64, 96))
        return ImageInstances(mask[None], np.ones(1, int), np.ones((1, 1)))

    def superpixels(index: int) -> ImageInstances:
        mask = rectangle(index, (64, 96))
        cells = mask[::2, ::2].astype(np.int32)
        boxes = box_of_mask(mask)[None]
        return ImageInstances(
            SuperpixelMasks(cells, np.array([[False, True]]), boxes, (64, 96)),
            np.ones(1, int),
            np.ones((1, 1)),
        )

    one, other = (TrainingObjects.of(SyntheticSource(make), (96, 96)) for make in (dense, superpixels))
    assert one is not None and other is not None
    assert other.quarter == pytest.approx(one.quarter, rel=0.06) and other.longest == one.longest


@pytest.mark.parametrize("magnification", [True, False])
def test_whether_objects_grow_with_their_images_is_seen(magnification: bool) -> None:
    class Sized(SyntheticSource):
        def image_size(self, index: int) -> tuple[int, int]:
            return (40 * (1 + index % 4), 60 * (1 + index % 4))

        def instances(self, index: int) -> ImageInstances:
            side = 20 if magnification else self.image_size(index)[0] // 2
            mask = np.zeros((1, *self.image_size(index)), bool)
            mask[0, :side, :side] = True
            return ImageInstances(mask, np.ones(1, int), np.ones((1, 1)))

    found, few = TrainingObjects.of(Sized(count=20), (96, 96)), TrainingObjects.of(Sized(count=8), (96, 96))
    assert found is not None and few is not None
    assert found.keeps_pixels == magnification and not few.keeps_pixels
