"""Generated scenes in the style of VOC: textured objects on textured ground, with exact instance masks.

For the demo and for tests. A scene is a function of its random generator and settings alone.
Suffixes: H W image, h w raster of one object (twice the image's resolution), N instances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from wsis.errors import InputError
from wsis.method.scenes.ground import background, fractal_noise, hsv, shading
from wsis.method.scenes.objects import OBJECTS, Colour, Part
from wsis.method.settings import Settings

SCENES_VERSION = 1  # raised when the same settings give other pictures
_MAX_CLASSES = 2  # of an image
_MIN_VISIBLE = 0.4  # least share of an object that is neither hidden nor outside the image
_MIN_SHARE = 0.01  # least share of the image that an object covers
_CLUTTER = 4  # stones and twigs at most, which belong to no class
_NOISE = 4.0  # standard deviation of the sensor noise in grey levels
_SCALE = 2  # drawn twice as large, then averaged down: smooth edges
_TRIES = 30


class SceneConfig(Settings):
    """What a scene looks like."""

    height: int = Field(128, ge=32, le=4096, description="pixels")
    width: int = Field(160, ge=32, le=4096, description="pixels")
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("cup", "fish", "kite", "mushroom"), description="what is drawn; class j + 1 is the j-th"
    )
    max_instances: int = Field(4, ge=1, le=16, description="objects of an image at most")
    size: tuple[float, float] = Field(
        (0.4, 0.85),
        description="least and largest length of an object, as a share of the image's shorter side",
    )

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if not 0.1 <= self.size[0] <= self.size[1] <= 1.5:
            raise ValueError(f"scenes.size: expected 0.1 <= least <= most <= 1.5, got {self.size}")
        if not self.classes or len(set(self.classes)) < len(self.classes) or set(self.classes) - set(OBJECTS):
            raise ValueError(
                f"scenes.classes: expected some of {', '.join(OBJECTS)}, each once, got {self.classes}"
            )
        return self


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and its instances.

    | field        | type              | meaning                                                     |
    | ------------ | ----------------- | ----------------------------------------------------------- |
    | image        | uint8 [H, W, 3]   | RGB                                                         |
    | instance_map | int32 [H, W]      | 0 background, i + 1 where instance i is seen                |
    | labels       | int32 [N]         | class of each instance, 1..C                                |
    | full_areas   | float64 [N]       | pixels of the whole object, hidden and outside parts too    |
    """

    image: NDArray[np.uint8]
    instance_map: NDArray[np.int32]
    labels: NDArray[np.int32]
    full_areas: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Raster:
    """A drawn object: colours float32 [h, w, 3] in 0..1, mask bool [h, w], full area in image pixels."""

    colours: NDArray[np.float32]
    mask: NDArray[np.bool_]
    full_area: float


def generate_scene(rng: np.random.Generator, config: SceneConfig, first_class: int | None = None) -> Scene:
    """Draw a scene.

    Args:
        rng: the only source of chance.
        first_class: class (1..C) of the first instance; None: any. A data set uses it to balance classes.

    Raises:
        InputError: `first_class` is no class.
    """
    if first_class is not None and not 1 <= first_class <= len(config.classes):
        raise InputError(f"first_class: expected 1..{len(config.classes)}, got {first_class}")
    canvas, ground_colours = background(rng, (config.height * _SCALE, config.width * _SCALE), _CLUTTER)
    owner = np.zeros(canvas.shape[:2], dtype=np.int32)
    labels: list[int] = []
    full_areas: list[float] = []
    for number, label in enumerate(_choose_classes(rng, config, first_class)):
        for _ in range(_TRIES):
            # the first object has the whole picture to itself, so it finds a place within a few tries
            raster = _draw_object(rng, config, label, ground_colours, number)
            corner = _place(rng, raster, canvas.shape[:2])
            attempt = _paste_owner(owner, raster, corner, len(labels) + 1)
            if _visible(attempt, [*full_areas, raster.full_area], config):
                _paste(rng, canvas, raster, corner)
                owner = attempt
                labels.append(label)
                full_areas.append(raster.full_area)
                break
    if not labels:
        return generate_scene(rng, config, first_class)
    return Scene(
        image=_photograph(rng, canvas, config),
        instance_map=_reduce(owner, len(labels)),
        labels=np.array(labels, dtype=np.int32),
        full_areas=np.array(full_areas),
    )


def _choose_classes(rng: np.random.Generator, config: SceneConfig, first: int | None) -> list[int]:
    count = int(rng.integers(1, config.max_instances + 1))
    order = rng.permutation(len(config.classes)) + 1
    if first is not None:
        order = np.concatenate([[first], order[order != first]])
    pool = order[: int(rng.integers(1, min(_MAX_CLASSES, len(order)) + 1))]
    return [int(pool[0]), *(int(rng.choice(pool)) for _ in range(count - 1))]


# -- objects ------------------------------------------------------------------------------------------------
def _draw_object(
    rng: np.random.Generator, config: SceneConfig, label: int, ground: Sequence[Colour], crowd: int
) -> _Raster:
    parts = OBJECTS[config.classes[label - 1]](rng, lambda: _object_colour(rng, ground))
    length = rng.uniform(*config.size) * min(config.height, config.width) * _SCALE * 0.9**crowd
    points = np.concatenate([part.outline for part in parts])
    unit = length / np.ptp(points, axis=0).max()
    angle = np.radians(rng.normal(0, 22))
    flip = rng.choice([-1.0, 1.0])
    squeeze = rng.uniform(0.85, 1.15)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    transform = rotation @ np.diag([flip * unit * squeeze, unit / squeeze])
    return _rasterise(rng, parts, transform)


def _object_colour(rng: np.random.Generator, ground: Sequence[Colour]) -> Colour:
    """A colour that stands off from the ground's; the same distribution for every class."""
    best, best_distance = np.zeros(3), -1.0
    for _ in range(8):
        colour = hsv(rng.uniform(), rng.uniform(0.35, 0.95), rng.uniform(0.35, 1.0))
        distance = min(float(np.linalg.norm(colour - other)) for other in ground)
        if distance > 0.45:
            return colour
        if distance > best_distance:
            best, best_distance = colour, distance
    return best


def _rasterise(rng: np.random.Generator, parts: Sequence[Part], transform: NDArray[np.float64]) -> _Raster:
    outlines = [part.outline @ transform.T for part in parts]
    low = np.floor(np.concatenate(outlines).min(axis=0)) - 2
    size = np.ceil(np.concatenate(outlines).max(axis=0) - low).astype(int) + 3
    grid_x, grid_y = np.meshgrid(np.arange(size[0]) + low[0], np.arange(size[1]) + low[1])
    x, y = np.linalg.inv(transform) @ np.stack([grid_x.ravel(), grid_y.ravel()])
    x, y = x.reshape(grid_x.shape), y.reshape(grid_x.shape)
    colours = np.zeros((size[1], size[0], 3), dtype=np.float32)
    whole = np.zeros(colours.shape[:2], dtype=np.uint8)
    for part, outline in zip(parts, outlines, strict=True):
        mask = np.zeros_like(whole)
        cv2.fillPoly(mask, [np.round((outline - low) * 16).astype(np.int32)], 1, lineType=cv2.LINE_8, shift=4)
        inside = mask > 0
        weight = part.texture(x[inside], y[inside])[:, None]
        colours[inside] = part.colours[0] * (1 - weight) + part.colours[1] * weight
        whole |= mask
    grain = fractal_noise(rng, colours.shape[:2], cell=10, octaves=3) - 0.5
    colours *= (shading(rng, whole) * (1 + 0.35 * grain))[..., None]
    return _Raster(np.clip(colours, 0, 1), whole > 0, float(whole.sum()) / _SCALE**2)


# -- placing ------------------------------------------------------------------------------------------------
def _place(rng: np.random.Generator, raster: _Raster, canvas: tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the raster's upper left corner; its centre lies in the middle 80 % of the picture."""
    centre = rng.uniform(0.1, 0.9, size=2) * canvas
    row, column = centre - np.array(raster.mask.shape) / 2
    return round(row), round(column)


def _windows(
    canvas: tuple[int, ...], raster: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where raster and canvas overlap: the window of the canvas and the window of the raster."""
    starts = [max(0, c) for c in corner]
    stops = [max(s, min(n, c + r)) for s, n, c, r in zip(starts, canvas, corner, raster, strict=True)]
    on_canvas = slice(starts[0], stops[0]), slice(starts[1], stops[1])
    on_raster = (
        slice(starts[0] - corner[0], stops[0] - corner[0]),
        slice(starts[1] - corner[1], stops[1] - corner[1]),
    )
    return on_canvas, on_raster


def _paste_owner(
    owner: NDArray[np.int32], raster: _Raster, corner: tuple[int, int], number: int
) -> NDArray[np.int32]:
    on_canvas, on_raster = _windows(owner.shape, raster.mask.shape, corner)
    result = owner.copy()
    result[on_canvas][raster.mask[on_raster]] = number
    return result


def _visible(owner: NDArray[np.int32], full_areas: Sequence[float], config: SceneConfig) -> bool:
    seen = np.bincount(_reduce(owner, len(full_areas)).ravel(), minlength=len(full_areas) + 1)[1:]
    least = np.maximum(_MIN_VISIBLE * np.array(full_areas), _MIN_SHARE * config.height * config.width)
    return bool((seen >= np.maximum(least, 1)).all())


def _reduce(owner: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Instance map at image resolution: the owner of most of each pixel."""
    height, width = owner.shape[0] // _SCALE, owner.shape[1] // _SCALE
    blocks = owner.reshape(height, _SCALE, width, _SCALE)
    votes = np.stack([(blocks == number).sum(axis=(1, 3)) for number in range(count + 1)])
    return votes.argmax(axis=0).astype(np.int32)


def _paste(
    rng: np.random.Generator, canvas: NDArray[np.float32], raster: _Raster, corner: tuple[int, int]
) -> None:
    """Darken the ground by a soft shadow, then put the object over it (in place)."""
    on_canvas, on_raster = _windows(canvas.shape[:2], raster.mask.shape, corner)
    silhouette = np.zeros(canvas.shape[:2], dtype=np.float32)
    silhouette[on_canvas] = raster.mask[on_raster]
    reach = 0.05 * max(raster.mask.shape)
    moved = np.array([[1, 0, rng.uniform(-1, 1) * reach], [0, 1, reach]], dtype=np.float32)
    shadow = cv2.GaussianBlur(
        cv2.warpAffine(silhouette, moved, silhouette.shape[::-1]), (0, 0), 0.5 * reach + 1
    )
    canvas *= (1 - rng.uniform(0.2, 0.5) * shadow)[..., None]
    mask = raster.mask[on_raster]
    canvas[on_canvas][mask] = raster.colours[on_raster][mask]


# -- camera -------------------------------------------------------------------------------------------------
def _photograph(
    rng: np.random.Generator, canvas: NDArray[np.float32], config: SceneConfig
) -> NDArray[np.uint8]:
    """Average down, blur a little, vary exposure, add noise."""
    image = cv2.resize(canvas, (config.width, config.height), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    image = 0.5 + (image - 0.5) * rng.uniform(0.8, 1.1) + rng.uniform(-0.06, 0.06)
    image = image * 255 + rng.normal(0, _NOISE, size=image.shape)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
