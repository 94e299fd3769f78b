import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import dense_masks, noise_maps, random_case
from wsis.errors import InputError
from wsis.method.conditional.pooling import pool_matrix, pool_proposals, segment_sums


@pytest.mark.parametrize("size", [(16, 20), (8, 10), (5, 7), (32, 40), (1, 1)])
@pytest.mark.parametrize("pooling", ["image", "root"])
def test_pooling_equals_the_dense_product(size, pooling):
    superpixels, membership, _, graph = random_case(3)
    features = torch.randn(6, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dense = torch.nn.functional.interpolate(
        features[None], superpixels.shape, mode="bilinear", align_corners=False
    )
    masks = dense_masks(superpixels, membership).double()
    masked = (masks[:, None] * dense).sum((2, 3))
    pixels = superpixels.size
    divisor = {"image": pixels, "root": (masks.sum((1, 2)) * pixels).sqrt()[:, None]}
    matrix = pool_matrix(superpixels, size, membership.shape[1])
    pooled = pool_proposals(segment_sums(matrix, features), graph.membership, graph.areas, pixels, pooling)
    torch.testing.assert_close(pooled, masked / divisor[pooling], rtol=1e-5, atol=1e-6)


def test_rows_of_the_pool_matrix_sum_to_areas():
    superpixels, membership, _, graph = random_case(1)
    matrix = pool_matrix(superpixels, (3, 4), membership.shape[1]).to_dense()
    torch.testing.assert_close(matrix.sum(1), graph.superpixel_areas)


def test_the_pool_matrix_of_a_map_of_full_size_has_an_entry_a_pixel():
    superpixels, membership, _, _ = random_case(1)
    matrix = pool_matrix(superpixels, superpixels.shape, membership.shape[1])
    assert matrix._nnz() == superpixels.size
    torch.testing.assert_close(matrix.indices(), matrix.coalesce().indices(), rtol=0, atol=0)


def test_pooling_differentiates_as_the_dense_product():
    superpixels, membership, _, graph = random_case(2)
    matrix = pool_matrix(superpixels, (4, 5), membership.shape[1]).double()
    features = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)

    def score(x):
        return pool_proposals(segment_sums(matrix, x), graph.membership, graph.areas, 320)

    assert torch.autograd.gradcheck(score, (features,))


def test_a_wrong_size_is_named():
    superpixels, membership, _, _ = random_case(2)
    matrix = pool_matrix(superpixels, (4, 5), membership.shape[1])
    with pytest.raises(InputError, match="features: expected 20 cells"):
        segment_sums(matrix, torch.zeros(2, 4, 4))


def test_noise_is_uniform_smooth_and_reproducible():
    maps = noise_maps(200, (32, 48), grid=4, generator=torch.Generator().manual_seed(5))
    again = noise_maps(200, (32, 48), grid=4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(maps, again)
    assert maps.shape == (200, 32, 48) and 0 <= float(maps.min()) <= float(maps.max()) <= 1
    corner = maps[:, 0, 0]  # clamped at the border: the grid's own value
    assert float(corner.mean()) == pytest.approx(0.5, abs=0.06)
    assert float(corner.std()) == pytest.approx(np.sqrt(1 / 12), abs=0.03)
    assert float((maps[:, :, 1:] - maps[:, :, :-1]).abs().max()) < 0.1


def test_coarse_noise_survives_averaging_over_a_region_and_pixel_noise_does_not():
    generator = torch.Generator().manual_seed(0)
    coarse = noise_maps(300, (64, 64), grid=4, generator=generator)[:, 16:32, 16:32].mean((1, 2))
    pixels = noise_maps(300, (64, 64), grid=0, generator=generator)[:, 16:32, 16:32].mean((1, 2))
    assert float(coarse.std()) > 0.15
    assert float(pixels.std()) < 0.03


def test_zero_noise_and_bad_sizes():
    assert not noise_maps(3, (4, 4), zero=True).any()
    with pytest.raises(InputError, match="samples >= 1"):
        noise_maps(0, (4, 4))
