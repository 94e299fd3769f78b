import pytest
import torch

from tests.method.conditional.conditional_cases import random_case
from wsis.errors import InputError
from wsis.method.conditional.energy import (
    TERMS,
    EnergyConfig,
    add_contours,
    labelling_score,
    refine_scores,
)


def plain_update(scores, graph, delta, kind):
    """Eq. (1)-(2) by loops over samples, proposals, classes and neighbours."""
    result = scores.clone()
    samples, proposals, columns = scores.shape
    for k in range(samples):
        for u in range(proposals):
            listed = [
                (int(graph.neighbours[u, i]), float(torch.exp(-graph.separations[u, i].double())))
                for i in range(graph.neighbours.shape[1])
                if graph.neighbour_mask[u, i]
            ]
            for j in range(columns):
                own = scores[k, u, j]
                if kind == "literal":
                    spread = sum((own - scores[k, v, j]) ** 2 for v, _ in listed)
                    result[k, u, j] = own + sum(weight / (spread + delta) for _, weight in listed)
                elif listed:
                    step = sum(
                        w * (scores[k, v, j] - own) / ((scores[k, v, j] - own) ** 2 + delta)
                        for v, w in listed
                    )
                    result[k, u, j] = own + step / len(listed) * delta
    return result


@pytest.mark.parametrize("kind", ["literal", "diffuse"])
@pytest.mark.parametrize("seed", range(3))
def test_three_iterations_equal_the_equations(kind, seed):
    *_, graph = random_case(seed, proposals=7, max_neighbours=3)
    scores = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = scores
    for _ in range(3):
        expected = plain_update(expected, graph, 0.1, kind)
    refined = refine_scores(scores, graph, EnergyConfig(terms="U+P", pairwise=kind))
    torch.testing.assert_close(refined, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["literal", "diffuse"])
def test_gradcheck(kind):
    *_, graph = random_case(4, proposals=6, max_neighbours=3)
    scores = torch.randn(2, 6, 2, dtype=torch.float64, requires_grad=True)
    config = EnergyConfig(pairwise=kind)
    assert torch.autograd.gradcheck(lambda g: refine_scores(g, graph, config), (scores,))


def test_terms_switch_the_pairwise_part():
    *_, graph = random_case(0)
    scores = torch.randn(2, 12, 2)
    assert torch.equal(refine_scores(scores, graph, EnergyConfig(terms="U")), scores)
    with_pairs = refine_scores(scores, graph, EnergyConfig(terms="U+P"))
    assert not torch.allclose(with_pairs, scores)
    assert torch.equal(with_pairs, refine_scores(scores, graph, EnergyConfig(terms="U+P+H")))


def test_a_term_is_a_function_and_a_row(monkeypatch):
    def sizes(scores, graph, config):
        share = (graph.areas / graph.areas.max()).to(scores.dtype)
        return torch.cat([scores[..., :1], scores[..., 1:] * share[:, None]], -1)

    monkeypatch.setitem(TERMS, "U+A", (sizes,))
    config = EnergyConfig().model_copy(update={"terms": "U+A"})
    assert not config.higher_order and not config.uses_neighbours
    *_, graph = random_case(4, proposals=6, max_neighbours=3)
    scores = torch.randn(2, 6, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(refine_scores(scores, graph, config), sizes(scores, graph, config))
    assert torch.autograd.gradcheck(lambda g: refine_scores(g, graph, config), (scores,))


def test_diffusion_stays_inside_the_range_of_the_scores():
    *_, graph = random_case(1)
    scores = torch.randn(4, 12, 2)
    refined = scores
    for _ in range(7):  # of three iterations each
        refined = refine_scores(refined, graph, EnergyConfig(pairwise="diffuse"))
    assert (refined.amax(1) <= scores.amax(1) + 1e-6).all()
    assert (refined.amin(1) >= scores.amin(1) - 1e-6).all()


def test_a_strong_contour_stops_the_neighbours():
    *_, graph = random_case(1)
    walls = type(graph)(**{**vars(graph), "separations": torch.full_like(graph.separations, 50.0)})
    scores = torch.randn(2, 12, 2)
    for kind in ("literal", "diffuse"):
        torch.testing.assert_close(refine_scores(scores, walls, EnergyConfig(pairwise=kind)), scores)


def test_contours_along_the_outline_count_for_every_class_and_not_for_the_background():
    _, membership, (edges, contours, lengths), graph = random_case(3)
    strengths = []
    for row in membership:
        cut = [e for e, (a, b) in enumerate(edges) if row[a] != row[b]]
        strengths.append(sum(contours[cut]) / sum(lengths[cut]) if cut else 0.0)
    scores = torch.randn(2, 12, 3, dtype=torch.float64)
    found = add_contours(scores, graph, 2.0)
    for u in range(12):
        gain = 2.0 * (strengths[u] - sum(strengths) / 12)
        torch.testing.assert_close(found[:, u, 1:], scores[:, u, 1:] + gain, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[..., 0], scores[..., 0])
    assert torch.equal(add_contours(scores, graph, 0.0), scores)


def test_labelling_score_sums_the_chosen_columns():
    scores = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    labels = torch.tensor([[0, 1, 0], [1, 1, 1]])
    assert labelling_score(scores, labels).tolist() == [24.0, 60.0]


def test_bad_inputs():
    *_, graph = random_case(0)
    with pytest.raises(InputError, match=r"unary: expected \[K, 12, J\]"):
        refine_scores(torch.zeros(2, 11, 2), graph, EnergyConfig())
