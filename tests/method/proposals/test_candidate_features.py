"""Pools and the features of their candidates, against plain figures on dense masks."""

import numpy as np
import pytest
from scipy import ndimage

from tests.method.proposals.mcg_cases import scene
from wsis.method.proposals import MCGConfig
from wsis.method.proposals.contours.detectors import LabGradient, contour_scales, rgb_to_lab
from wsis.method.proposals.generator.candidate_features import FEATURES, candidate_features, describe
from wsis.method.proposals.generator.generation import candidate_pool
from wsis.method.proposals.generator.grouping import candidate_membership
from wsis.method.proposals.generator.pool import distinct_sets

CONFIG = MCGConfig(contour="lab_gradient", max_side=96, max_regions=60)
_SIDES = ("left", "top", "right", "bottom")


@pytest.fixture(scope="module")
def pool():
    return candidate_pool(scene(seed=2)[0], CONFIG, LabGradient())


def test_distinct_sets_are_those_of_the_lists(pool):
    sets = distinct_sets(pool)
    superpixels, expected, row = pool.graph.superpixels, {}, 0
    for (tree, candidates), delay in zip(pool.lists, pool.delays, strict=True):
        for one, strength in zip(
            candidate_membership(tree, candidates.nodes), candidates.strength, strict=True
        ):
            filled = ndimage.binary_fill_holes(one[superpixels], np.ones((3, 3)))
            key = frozenset(np.unique(superpixels[filled]).tolist())
            assert frozenset(np.flatnonzero(sets.membership[sets.index[row]]).tolist()) == key
            seen = expected.setdefault(key, [0, 0, 9, 0.0])
            seen[delay > 0] += 1
            seen[2] = min(seen[2], candidates.nodes.shape[1])
            seen[3] = max(seen[3], 0.0 if delay else strength)
            row += 1
    assert len(expected) == len(sets.membership) and row == len(sets.index)
    for number, one in enumerate(sets.membership):
        found = [
            sets.contour_lists[number],
            sets.appearance_lists[number],
            sets.regions[number],
            sets.strength[number],
        ]
        assert found == expected[frozenset(np.flatnonzero(one).tolist())]
    assert (sets.appearance_lists > 0).any() and (sets.regions > 1).any()


def pixel_pairs(shape):
    """Indices of all 4-neighbouring pairs of pixels, [n] and [n]."""
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    return (
        np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()]),
        np.concatenate([index[:, 1:].ravel(), index[1:].ravel()]),
    )


def plain_features(mask, pool, contours):
    """Every feature but those of the lists, pixel by pixel."""
    superpixels, (height, width) = pool.graph.superpixels, mask.shape
    lab = rgb_to_lab(pool.image).reshape(-1, 3) / 100
    labels = superpixels.ravel()
    mean = np.stack([lab[labels == k].mean(axis=0) for k in range(labels.max() + 1)])[labels]
    ucm_of = {tuple(edge): value for edge, value in zip(pool.graph.edges.tolist(), pool.ucm, strict=True)}
    one, other = pixel_pairs(mask.shape)
    between = labels[one] != labels[other]
    one, other = one[between], other[between]
    low, high = np.minimum(labels[one], labels[other]), np.maximum(labels[one], labels[other])
    ucm = np.array([ucm_of[pair] for pair in zip(low.tolist(), high.tolist(), strict=True)])
    flat = contours.reshape(len(contours), -1)
    raw = (flat[:, one] + flat[:, other]) / 2
    step = np.linalg.norm(mean[one] - mean[other], axis=1)
    values = [ucm, raw[0], raw.mean(axis=0), raw[-1], step, *(ucm < t for t in (0.03, 0.08, 0.15, 0.3, 0.5))]
    names = (
        "ucm",
        "finest",
        "mean",
        "coarsest",
        "colour_step",
        *(f"weak_{t}" for t in (0.03, 0.08, 0.15, 0.3, 0.5)),
    )
    flat_mask = mask.ravel()
    cut, inner = flat_mask[one] != flat_mask[other], flat_mask[one] & flat_mask[other]
    found = {}
    for name, value in zip(names, values, strict=True):
        found[f"boundary_{name}"] = value[cut].sum() / max(cut.sum(), 1)
        found[f"inside_{name}"] = value[inner].sum() / max(inner.sum(), 1)
    rows, columns = np.nonzero(mask)
    area, share = mask.sum(), mask.mean()
    border = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    perimeter = cut.sum() + border
    x, y = (columns + 0.5) / width, (rows + 0.5) / height
    across, down = np.ptp(columns) + 1, np.ptp(rows) + 1
    touched = [columns.min() == 0, rows.min() == 0, columns.max() == width - 1, rows.max() == height - 1]
    colour = lab[flat_mask].mean(axis=0)
    rest = lab[~flat_mask].mean(axis=0) if not mask.all() else np.zeros(3)
    sides = (mean[one] + mean[other])[cut].sum(axis=0) / max(cut.sum(), 1) / 2
    found |= {
        "log_area": np.log(share),
        "area": share,
        "root_area": np.sqrt(share),
        "log_boundary": np.log(max(cut.sum(), 1)),
        "log_inside": np.log(max(inner.sum(), 1)),
        "objectness": np.sqrt(share) * (1 - share) * found["boundary_ucm"] * (1 - border / max(perimeter, 1)),
        "ucm_difference": found["boundary_ucm"] - found["inside_ucm"],
        "ucm_relative": found["boundary_ucm"] / max(np.quantile(pool.ucm, 0.9), 1e-3),
        "image_ucm": ucm.mean(),
        "image_strong_ucm": np.quantile(pool.ucm, 0.9),
        "compactness": np.sqrt(area) / (perimeter + 1),
        "border_share": border / (perimeter + 1),
        "border_of_image": border / (2 * (height + width)),
        **dict(zip(_SIDES, touched, strict=True)),
        "sides": sum(touched),
        "box_filled": area / (across * down),
        "box_aspect": np.log(across / down),
        "box_width": across / width,
        "box_height": down / height,
        "x": x.mean(),
        "y": y.mean(),
        "x_off_centre": abs(x.mean() - 0.5),
        "y_off_centre": abs(y.mean() - 0.5),
        "x_spread": x.std(),
        "y_spread": y.std(),
        "colour_from_rest": np.linalg.norm(colour - rest),
        "colour_from_boundary": np.linalg.norm(colour - sides),
        "colour_spread": np.sqrt(mean[flat_mask].var(axis=0).sum()),
    }
    return found


def test_features_equal_plain_figures_of_the_masks(pool):
    sets = distinct_sets(pool)
    features = candidate_features(sets, describe(pool))
    assert features.dtype == np.float32 and features.shape == (len(sets.membership), len(FEATURES))
    contours = contour_scales(pool.image, LabGradient())
    lists = ("contour_lists", "appearance_lists", "regions", "strength")
    for number in [*range(0, len(features), 40), int(sets.membership.sum(axis=1).argmax())]:
        plain = plain_features(sets.membership[number][pool.graph.superpixels], pool, contours)
        plain |= {name: getattr(sets, name)[number] for name in lists}
        assert set(plain) == set(FEATURES)
        for name, value in zip(FEATURES, features[number].tolist(), strict=True):
            # the spread is the root of a difference of float32 sums
            tolerance = 2e-3 if name == "colour_spread" else 2e-4
            assert value == pytest.approx(float(plain[name]), rel=tolerance, abs=tolerance), (number, name)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 500), (40, 50)], ids=str)
@pytest.mark.parametrize("noise", [False, True])
def test_degenerate_images_have_finite_features(size, noise):
    image = np.full((*size, 3), 90, np.uint8)
    if noise:
        image = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    pool = candidate_pool(image, CONFIG.model_copy(update={"max_regions": 30}), LabGradient())
    features = candidate_features(distinct_sets(pool), describe(pool))
    assert len(features) >= 1 and np.isfinite(features).all()
