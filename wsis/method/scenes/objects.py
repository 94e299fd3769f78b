"""Objects of the generated scenes: outlines made of parts, each part with its own material.

An object lives in its own frame: x to the right, y down, about 2 units long, centred near 0. What tells one class
from another sits on one part (stripes, dots, squares, zigzag, spiral); the other parts are plain and differ in
colour, so that the discriminative part is less than the object. Colours come from one distribution for all classes.

Suffixes: V vertices, h w a raster of the object.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Colour = NDArray[np.float64]  # RGB in 0..1
Texture = Callable[[Array, Array], Array]  # object coordinates x, y -> weight of the second colour, 0..1


@dataclass(frozen=True)
class Part:
    """A filled outline. outline: float [V, 2] xy in the object's frame; later parts lie over earlier ones."""

    outline: Array
    texture: Texture
    colours: tuple[Colour, Colour]


# -- outlines -----------------------------------------------------------------------------------------------
def _ellipse(cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0) -> Array:
    t = np.radians(np.linspace(start, stop, 48))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def _wobble(outline: Array, rng: np.random.Generator, amount: float) -> Array:
    """The outline with a smooth random change of its radius: no two objects of a class are equal."""
    centre = outline.mean(axis=0)
    t = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
    change = sum(rng.normal(0, amount / k) * np.cos(k * t + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    return centre + (outline - centre) * (1 + np.asarray(change))[:, None]


def _turn(outline: Array, degrees: float, about: tuple[float, float]) -> Array:
    a = np.radians(degrees)
    rotation = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return (outline - about) @ rotation + about


def _band(points: Array, widths: Array) -> Array:
    """A ribbon of given half widths along a line of points [V, 2]."""
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    offset = normal * widths[:, None]
    return np.concatenate([points + offset, (points - offset)[::-1]])


# -- textures -----------------------------------------------------------------------------------------------
def _plain(x: Array, y: Array) -> Array:
    return np.zeros_like(x)


def _sharp(wave: Array) -> Array:
    return np.clip(0.5 + 2.5 * wave, 0, 1)


def _stripes(rng: np.random.Generator) -> Texture:
    frequency, phase, bend = rng.uniform(7, 10), rng.uniform(0, 6), rng.uniform(0.1, 0.35)
    return lambda x, y: _sharp(np.sin(frequency * 2 * (x + bend * y * y) + phase))


def _dots(rng: np.random.Generator) -> Texture:
    step, radius = rng.uniform(0.26, 0.36), rng.uniform(0.3, 0.38)

    def weight(x: Array, y: Array) -> Array:
        row = np.floor(y / step)
        u, v = x / step + 0.5 * (row % 2), y / step
        distance = np.hypot(u - np.floor(u) - 0.5, v - row - 0.5)
        return np.clip((radius - distance) * 8 + 0.5, 0, 1)

    return weight


def _squares(rng: np.random.Generator) -> Texture:
    step = rng.uniform(0.26, 0.36)
    return lambda x, y: _sharp(2 * np.sin(np.pi * x / step) * np.sin(np.pi * y / step))


def _zigzag(rng: np.random.Generator) -> Texture:
    frequency, height = rng.uniform(2.2, 3.0), rng.uniform(0.12, 0.2)

    def weight(x: Array, y: Array) -> Array:
        tooth = 2 * np.abs(frequency * x - np.floor(frequency * x + 0.5))
        return _sharp(np.sin(2 * np.pi * (y + height * 2 * tooth) / 0.42))

    return weight


def _spiral(rng: np.random.Generator, cx: float, cy: float) -> Texture:
    turns, phase = rng.uniform(2.2, 3.0), rng.uniform(0, 2 * np.pi)

    def weight(x: Array, y: Array) -> Array:
        radius, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
        return _sharp(np.sin(2 * np.pi * turns * 2 * radius + angle + phase))

    return weight


# -- classes ------------------------------------------------------------------------------------------------
ColourPicker = Callable[[], Colour]


def _pair(pick: ColourPicker) -> tuple[Colour, Colour]:
    """Two colours that differ clearly in lightness."""
    first = pick()
    towards = np.ones(3) if first.mean() < 0.5 else np.zeros(3)
    return first, 0.3 * first + 0.7 * towards


def _one(pick: ColourPicker) -> tuple[Colour, Colour]:
    colour = pick()
    return colour, colour


def fish(rng: np.random.Generator, pick: ColourPicker) -> list[Part]:
    """Striped body; plain tail and fins."""
    ry = rng.uniform(0.32, 0.46)
    fins = _one(pick)
    reach, spread = rng.uniform(1.0, 1.15), rng.uniform(0.32, 0.5)
    tail = np.array([[0.45, 0.0], [reach, -spread], [reach - 0.16, 0.0], [reach, spread]])
    fin = np.array(
        [[-0.25, -0.7 * ry], [0.05, -ry - rng.uniform(0.15, 0.3)], [0.4, -ry - 0.1], [0.35, -0.5 * ry]]
    )
    belly = np.array([[-0.1, 0.6 * ry], [0.15, ry + rng.uniform(0.15, 0.28)], [0.25, 0.6 * ry]])
    body = _wobble(_ellipse(-0.15, 0, 0.75, ry), rng, 0.02)
    eye = _ellipse(-0.62, -0.12 * ry, 0.07, 0.07)
    dark = (np.full(3, 0.06), np.full(3, 0.06))
    return [
        Part(_turn(tail, rng.uniform(-22, 22), (0.45, 0.0)), _plain, fins),
        Part(fin, _plain, fins),
        Part(belly, _plain, fins),
        Part(body, _stripes(rng), _pair(pick)),
        Part(eye, _plain, dark),
    ]


def mushroom(rng: np.random.Generator, pick: ColourPicker) -> list[Part]:
    """Dotted cap on a plain stem."""
    half, foot, lean = rng.uniform(0.14, 0.2), rng.uniform(0.2, 0.3), rng.uniform(-0.2, 0.2)
    t = np.linspace(0, 1, 12)
    line = np.stack([lean * t * t, -0.15 + 1.05 * t], axis=1)
    stem = _band(line, half + (foot - half) * t**2)
    cap = np.concatenate(
        [
            _ellipse(0, 0, rng.uniform(0.72, 0.9), rng.uniform(0.7, 0.95), 180, 360),
            _ellipse(0, 0, 0.75, 0.16, 0, 180),
        ]
    )
    ring = _ellipse(lean * 0.1, 0.28, half + 0.1, 0.07)
    stem_colours = _one(pick)
    return [
        Part(stem, _plain, stem_colours),
        Part(ring, _plain, (stem_colours[0] * 0.75, stem_colours[0] * 0.75)),
        Part(_turn(_wobble(cap, rng, 0.02), rng.uniform(-12, 12), (0.0, 0.0)), _dots(rng), _pair(pick)),
    ]


def kite(rng: np.random.Generator, pick: ColourPicker) -> list[Part]:
    """Rhombus of squares with a plain waving tail."""
    side, top, bottom = rng.uniform(0.45, 0.6), rng.uniform(0.5, 0.62), rng.uniform(0.62, 0.8)
    rhombus = np.array([[0, -top - 0.3], [side, -0.3], [0, bottom - 0.3], [-side, -0.3]])
    t = np.linspace(0, 1, 24)
    swing, phase = rng.uniform(0.1, 0.2), rng.uniform(0, 6)
    wave = swing * t * np.sin(7 * t + phase)
    line = np.stack([wave, bottom - 0.38 + 0.85 * t], axis=1)
    end = line[-1]
    bow = np.array([[-0.22, -0.13], [0, 0], [0.22, -0.13], [0.22, 0.13], [0, 0], [-0.22, 0.13]]) + end
    tail_colours = _one(pick)
    return [
        Part(_band(line, np.full(24, rng.uniform(0.07, 0.1))), _plain, tail_colours),
        Part(_turn(bow, rng.uniform(-30, 30), (float(end[0]), float(end[1]))), _plain, tail_colours),
        Part(rhombus, _squares(rng), _pair(pick)),
    ]


def cup(rng: np.random.Generator, pick: ColourPicker) -> list[Part]:
    """Plain cup with a zigzag band, a handle and an opening."""
    top, bottom = rng.uniform(0.5, 0.62), rng.uniform(0.34, 0.5)
    height = rng.uniform(0.62, 0.78)
    outline = np.concatenate(
        [_ellipse(0, -height, top, 0.14, 180, 360), _ellipse(0, height, bottom, 0.14, 0, 180)]
    )
    t = np.radians(np.linspace(-95, 95, 24))
    reach = rng.uniform(0.36, 0.5)
    arc = np.stack([0.9 * bottom + reach * np.cos(t), rng.uniform(0.38, 0.5) * np.sin(t)], axis=1)
    level = rng.uniform(-0.42, -0.2)
    wide = [top + (bottom - top) * (y + height) / (2 * height) for y in (level, level + 0.72)]
    band = np.array([[-wide[0], level], [wide[0], level], [wide[1], level + 0.72], [-wide[1], level + 0.72]])
    plain = _one(pick)
    return [
        Part(_band(arc, np.full(24, rng.uniform(0.08, 0.12))), _plain, plain),
        Part(outline, _plain, plain),
        Part(band, _zigzag(rng), _pair(pick)),
        Part(_ellipse(0, -height, top * 0.92, 0.11), _plain, (plain[0] * 0.4, plain[0] * 0.4)),
    ]


def snail(rng: np.random.Generator, pick: ColourPicker) -> list[Part]:
    """Spiral shell on a plain body with two feelers."""
    skin = _one(pick)
    t = np.linspace(0, 1, 24)
    raised = rng.uniform(0.35, 0.6)
    line = np.stack([1.0 - 2.0 * t, 0.5 - raised * np.clip((t - 0.7) / 0.3, 0, 1) ** 1.5], axis=1)
    body = _band(line, 0.05 + 0.13 * np.sin(np.pi * np.clip(t + 0.1, 0, 1)) + 0.05 * t)
    head = line[-1]
    feelers = [
        Part(
            _band(head + np.stack([-r * np.sin(a), -r * np.cos(a)], axis=1) * 0.42, np.full(8, 0.035)),
            _plain,
            skin,
        )
        for a in np.radians([rng.uniform(0, 15), rng.uniform(30, 50)])
        for r in [np.linspace(0, 1, 8)]
    ]
    size = rng.uniform(0.5, 0.62)
    shell = _wobble(_ellipse(0.2, 0.5 - 0.9 * size, size, size), rng, 0.02)
    return [
        *feelers,
        Part(_ellipse(float(head[0]), float(head[1]), 0.15, 0.14), _plain, skin),
        Part(body, _plain, skin),
        Part(shell, _spiral(rng, 0.2, 0.5 - 0.9 * size), _pair(pick)),
    ]


OBJECTS: dict[str, Callable[[np.random.Generator, ColourPicker], list[Part]]] = {
    "cup": cup,
    "fish": fish,
    "kite": kite,
    "mushroom": mushroom,
    "snail": snail,
}
