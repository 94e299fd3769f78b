"""Ground of the generated scenes: noise, light, materials, and things on the ground that belong to no class.

Suffixes: H W canvas.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from wsis.method.scenes.objects import Colour


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in 0..1 of hue, saturation and value in 0..1."""
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, ...], cell: float, octaves: int, stretch: float = 1.0
) -> NDArray[np.float32]:
    """Multi-octave noise in about 0..1; cells of `cell` pixels at the coarsest octave, `stretch` times as wide."""
    total = np.zeros(shape, dtype=np.float32)
    weight = 0.0
    for octave in range(octaves):
        steps = max(1.0, cell / 2**octave), max(1.0, cell / 2**octave * stretch)
        cells = [int(np.ceil(n / step)) + 3 for n, step in zip(shape, steps, strict=True)]
        sizes = [round(n * step) for n, step in zip(cells, steps, strict=True)]
        coarse = rng.random(cells, dtype=np.float32)
        fine = cv2.resize(coarse, sizes[::-1], interpolation=cv2.INTER_CUBIC)
        row, column = (int(step) for step in steps)  # the outermost cell is extrapolated
        total += 0.6**octave * fine[row : row + shape[0], column : column + shape[1]]
        weight += 0.6**octave
    return total / np.float32(weight)


def shading(rng: np.random.Generator, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Light on a rounded body whose height grows with the distance from its outline; about 0.5 to 1.3."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    height = np.sqrt(distance / max(float(distance.max()), 1.0))
    height = cv2.GaussianBlur(height, (0, 0), max(1.0, 0.1 * float(distance.max())))
    angle = rng.uniform(-np.pi, 0)  # from above
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1)
    facing = slope_x * np.cos(angle) + slope_y * np.sin(angle)
    facing /= max(float(np.abs(facing).max()), 1e-6)
    return np.asarray(0.78 + 0.22 * height - 0.28 * facing, dtype=np.float32)


def background(
    rng: np.random.Generator, shape: tuple[int, int], clutter: int
) -> tuple[NDArray[np.float32], list[Colour]]:
    """Ground float32 [H, W, 3] in 0..1 and its main colours. It does not depend on the classes."""
    ground, colours = _material(rng, shape)
    if rng.random() < 0.6:  # a second ground behind an uneven horizon
        above, more = _material(rng, shape)
        edge = rng.uniform(0.2, 0.6) + 0.25 * (fractal_noise(rng, (1, shape[1]), shape[1] / 3, 4) - 0.5)
        rows = np.arange(shape[0], dtype=np.float32)[:, None] / shape[0]
        blend = np.clip((rows - edge) * shape[0] / rng.uniform(2, 12) + 0.5, 0, 1)[..., None]
        ground = (above * (1 - blend) + ground * blend).astype(np.float32)
        colours = colours + more
    for _ in range(int(rng.integers(0, clutter + 1))):
        (_stone if rng.random() < 0.5 else _twig)(rng, ground)
    return ground, colours


def _material(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[NDArray[np.float32], list[Colour]]:
    hue = rng.uniform()
    colours = [
        hsv((hue + rng.normal(0, 0.05)) % 1, rng.uniform(0.05, 0.6), value)
        for value in rng.uniform(0.2, 0.85) + np.array([-0.13, 0.13])
    ]
    coarse = fractal_noise(rng, shape, rng.uniform(20, 90), 5, stretch=float(np.exp(rng.normal(0, 0.7))))
    weight = np.clip(0.5 + rng.uniform(1.0, 2.5) * (coarse - 0.5), 0, 1)[..., None]
    fine = fractal_noise(rng, shape, rng.uniform(3, 8), 2, stretch=float(np.exp(rng.normal(0, 0.8)))) - 0.5
    field = colours[0] * (1 - weight) + colours[1] * weight
    slope = rng.normal(0, 0.12, size=2)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    light = 1 + slope[0] * rows + slope[1] * columns + rng.uniform(0.15, 0.6) * fine
    return np.clip(field * light[..., None], 0, 1).astype(np.float32), colours


def _stone(rng: np.random.Generator, ground: NDArray[np.float32]) -> None:
    """A smooth blob of some material: an object to the eye, of no class (in place)."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 1 + sum(rng.normal(0, 0.12 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in (1, 2, 3))
    size = rng.uniform(0.04, 0.14) * min(ground.shape[:2])
    x, y = rng.uniform(0, 1, size=2) * ground.shape[1::-1]
    outline = np.stack([x + 1.3 * size * radius * np.cos(angle), y + size * radius * np.sin(angle)], axis=1)
    mask = np.zeros(ground.shape[:2], dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
    if mask.any():
        material, _ = _material(rng, (ground.shape[0], ground.shape[1]))
        ground[mask > 0] = (material * shading(rng, mask)[..., None])[mask > 0]


def _twig(rng: np.random.Generator, ground: NDArray[np.float32]) -> None:
    """A thin curve (in place)."""
    t = np.linspace(0, 1, 20)[:, None]
    a, b, c = (rng.uniform(-0.1, 1.1, size=2) * ground.shape[1::-1] for _ in range(3))
    line = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    colour = [float(v) for v in hsv(rng.uniform(), rng.uniform(0, 0.6), rng.uniform(0.1, 0.8))]
    cv2.polylines(
        ground, [np.round(line).astype(np.int32)], False, colour, int(rng.integers(1, 5)), cv2.LINE_AA
    )
