"""Every case of the corpus: accepted with its facts or refused in a line, never a traceback, signal, time-out.

`python -m tests.hard.run_cases FAMILY CASE` runs the cases of a family from one on by hand.
"""

from functools import cache
from typing import Any

import pytest

from tests.hard.case import wrong
from tests.hard.datasets import BUILDERS, FORMATS
from tests.hard.run_cases import FAMILIES, cases_of, run_family

CASES = [(family, case) for family in FAMILIES for case in cases_of(family)]
pytestmark = pytest.mark.timeout(900)


@cache
def outcomes(family: str) -> dict[str, dict[str, Any]]:
    return run_family(family)


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [case.name for _, case in CASES]
    assert len(names) == len(set(names)) and len(names) >= 300


@pytest.mark.parametrize(("family", "case"), CASES, ids=[case.name for _, case in CASES])
def test_case(family: str, case: Any) -> None:
    assert wrong(case, outcomes(family)[case.name]) is None


def test_every_format_has_a_smallest_data_set() -> None:
    assert set(FORMATS) == set(BUILDERS)
