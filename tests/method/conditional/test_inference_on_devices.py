"""What a device is given to do, whose answers are looked at seldom, gives what the CPU finds step by step."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.method.conditional.conditional_cases import random_case
from wsis.method import transfers
from wsis.method.conditional import exclusion, greedy
from wsis.method.conditional.box_choice import box_candidates
from wsis.method.conditional.exclusion import SeedSlots
from wsis.method.conditional.inference import Slots, infer


def found_on_a_device(*arguments, **options):
    with (
        mock.patch.object(transfers, "host_waits", lambda t: True),
        mock.patch.object(exclusion, "host_waits", lambda t: True),
        mock.patch.object(greedy, "host_waits", lambda t: True),
    ):
        return infer(*arguments, **options)


def an_image(seed, kind):
    """Scores of 5 problems and slots of a kind; sizes differ from image to image."""
    generator = torch.Generator().manual_seed(seed)
    proposals, slots = 8 + seed % 7, 1 + seed % 5
    _, _, _, graph = random_case(seed, proposals=proposals)
    columns = torch.randint(1, 4, (slots,), generator=generator)
    scores = torch.randn(5, proposals, 4, generator=generator).mul(2).round() / 2  # with ties
    suppress = graph.contains(0.5)
    if kind == "classes":
        return scores, Slots(torch.arange(1, 4), suppress)
    if kind == "marks":
        holds = torch.rand(proposals, slots, generator=generator) < 0.6
        same, other = (torch.rand(2, proposals, proposals, generator=generator) < 0.2).unbind()
        same, other = (t | t.T | torch.eye(proposals, dtype=torch.bool) for t in (same, other))
        return scores, Slots(columns, suppress, seeds=SeedSlots(holds, same, other))
    overlap = torch.rand(proposals, slots, generator=generator)
    candidates = box_candidates(graph, overlap, 0.5)
    return scores, Slots(columns, suppress, overlap, 0.5, 0.3 * overlap, candidates)


@pytest.mark.parametrize("kinds", [["classes"], ["marks"], ["boxes"], ["boxes", "marks", "classes"]])
@pytest.mark.parametrize("higher_order", [True, False])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_device_finds_what_the_cpu_finds(kinds, higher_order, seed):
    images = [an_image(seed + i, kinds[i % len(kinds)]) for i in range(3)]
    scores, slots = ([image[part] for image in images] for part in (0, 1))
    before = [s.clone() for s in scores]
    expected = infer(scores, slots, higher_order=higher_order)
    found = found_on_a_device(scores, slots, higher_order=higher_order)
    assert [f.tolist() for f in found] == [e.tolist() for e in expected]
    assert all(torch.equal(s, b) for s, b in zip(scores, before, strict=True))


def test_more_picks_than_rounds_without_a_look():
    scores, suppress = torch.rand(2, 50, 2), torch.eye(50, dtype=torch.bool)
    scores[..., 0] = torch.tensor([[-1.0], [0.5]])
    by_marks = SeedSlots(torch.ones(50, 1, dtype=torch.bool), suppress, suppress)
    for seeds in (None, by_marks):
        slots = [Slots(torch.tensor([1]), suppress, seeds=seeds)]
        expected = infer([scores], slots)[0]
        assert (expected > 0).sum(1).tolist()[0] == 50
        assert torch.equal(found_on_a_device([scores], slots)[0], expected)
