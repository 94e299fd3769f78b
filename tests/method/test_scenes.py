"""Generated scenes: deterministic, within their promises, and neither trivial nor ambiguous."""

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.scenes.objects import OBJECTS
from wsis.method.scenes.scenes import Scene, SceneConfig, generate_scene

CONFIG = SceneConfig()
EVERY_CLASS = SceneConfig(classes=tuple(OBJECTS))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [
        generate_scene(np.random.default_rng([7, i]), EVERY_CLASS, i % len(OBJECTS) + 1) for i in range(40)
    ]


def visible_areas(scene: Scene) -> np.ndarray:
    return np.bincount(scene.instance_map.ravel(), minlength=len(scene.labels) + 1)[1:]


def test_at_least_four_classes() -> None:
    assert len(CONFIG.classes) >= 4
    assert set(CONFIG.classes) <= set(OBJECTS)


def test_same_seed_same_scene() -> None:
    one, two = (generate_scene(np.random.default_rng(3), CONFIG) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.instance_map, two.instance_map)
    np.testing.assert_array_equal(one.labels, two.labels)
    other = generate_scene(np.random.default_rng(4), CONFIG)
    assert (one.image != other.image).mean() > 0.5


def test_shapes_and_types(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert (scene.image.shape, scene.image.dtype) == ((128, 160, 3), np.uint8)
        assert (scene.instance_map.shape, scene.instance_map.dtype) == ((128, 160), np.int32)
        assert scene.labels.dtype == np.int32
        assert 1 <= len(scene.labels) <= 4
        assert len(set(scene.labels.tolist())) <= 2
        assert 1 <= scene.labels.min() <= scene.labels.max() <= len(OBJECTS)
        assert set(np.unique(scene.instance_map)) - {0} == set(range(1, len(scene.labels) + 1))


def test_every_instance_is_seen_enough(scenes: list[Scene]) -> None:
    for scene in scenes:
        areas = visible_areas(scene)
        assert (areas >= 0.4 * scene.full_areas).all()
        assert (areas >= 0.01 * scene.instance_map.size).all()
        assert (areas <= scene.full_areas * 1.05 + 5).all()


def test_scenes_vary(scenes: list[Scene]) -> None:
    assert {len(s.labels) for s in scenes} == {1, 2, 3, 4}
    assert {len(set(s.labels.tolist())) for s in scenes} == {1, 2}
    hidden = np.concatenate([visible_areas(s) / s.full_areas for s in scenes])
    assert 0.05 < (hidden < 0.8).mean() < 0.6  # some are partly hidden or outside, most are whole
    shares = np.concatenate([visible_areas(s) / s.instance_map.size for s in scenes])
    assert np.quantile(shares, 0.9) > 4 * np.quantile(shares, 0.1)


def test_first_class(scenes: list[Scene]) -> None:
    for i, scene in enumerate(scenes):
        assert scene.labels[0] == i % len(OBJECTS) + 1


def test_ground_does_not_tell_the_class() -> None:
    """Mean colour and roughness of the ground are spread alike for every class: the best of 4 class means explains
    no more of them than chance does."""
    small = SceneConfig(height=64, width=80, max_instances=1)
    features, labels = [], []
    for i in range(120):
        scene = generate_scene(np.random.default_rng([11, i]), small, i % 4 + 1)
        ground = scene.image[scene.instance_map == 0].astype(float)
        features.append([*ground.mean(axis=0), ground.std()])
        labels.append(scene.labels[0])
    x, y = np.array(features), np.array(labels)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    guesses = []
    for i in range(len(x)):  # leave-one-out nearest class mean
        keep = np.arange(len(x)) != i
        means = np.stack([x[keep & (y == c)].mean(axis=0) for c in range(1, 5)])
        guesses.append(np.linalg.norm(means - x[i], axis=1).argmin() + 1)
    assert np.mean(np.array(guesses) == y) < 0.45  # chance is 0.25, its standard error 0.04


def test_objects_stand_off_from_the_ground(scenes: list[Scene]) -> None:
    """Colour histograms inside and in a ring outside an instance overlap little for most instances."""
    distances = []
    for scene in scenes:
        ground = scene.image[scene.instance_map == 0].astype(float).mean(axis=0)
        for number in range(1, len(scene.labels) + 1):
            inside = scene.image[scene.instance_map == number].astype(float)
            distances.append(np.linalg.norm(inside - ground, axis=1).mean())
    assert np.median(distances) > 70
    assert np.min(distances) > 30


@pytest.mark.parametrize("name", OBJECTS)
def test_parts_differ(name: str) -> None:
    """An object has a textured part and plain parts: what tells the class is less than the object."""
    rng = np.random.default_rng(5)
    parts = OBJECTS[name](rng, lambda: rng.uniform(0.2, 0.8, 3))
    grid = np.meshgrid(np.linspace(-1, 1, 50), np.linspace(-1, 1, 50))
    textured = [part.texture(*grid).std() > 0.2 for part in parts]
    assert any(textured)
    assert not all(textured)
    assert all(part.outline.ndim == 2 and np.isfinite(part.outline).all() for part in parts)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"height": 8}, "height"),
        ({"classes": ("cup", "cup")}, r"scenes\.classes: expected some of .* each once"),
        ({"classes": ("dragon",)}, r"scenes\.classes: expected some of cup, fish"),
        ({"classes": ()}, r"scenes\.classes"),
        ({"size": (0.9, 0.5)}, r"scenes\.size"),
    ],
)
def test_bad_settings(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SceneConfig(**values)


def test_bad_first_class() -> None:
    with pytest.raises(InputError, match=r"first_class: expected 1\.\.4, got 5"):
        generate_scene(np.random.default_rng(0), CONFIG, 5)


def test_other_sizes() -> None:
    scene = generate_scene(np.random.default_rng(0), SceneConfig(height=33, width=71, max_instances=1))
    assert scene.image.shape == (33, 71, 3)
    assert len(scene.labels) == 1
