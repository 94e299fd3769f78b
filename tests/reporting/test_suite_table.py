"""The table of a suite: means and spread over seeds, shares of the ceiling, order of rows, by hand."""

from typing import Any

import pytest

from wsis.reporting.tables.suite_table import SuiteRun, order_lines, pseudo_label_table, scores, suite_table


def result(kind: str, iteration: int | None, half: float, three_quarters: float | None) -> dict[str, Any]:
    values = {"0.25": 0.9, "0.50": half, "0.70": 0.3, "0.75": three_quarters}
    return {"kind": kind, "outer_iteration": iteration, "mAP": values}


def run(row: str, seed: int, *results: dict[str, Any], finished: bool = True) -> SuiteRun:
    return SuiteRun(row, f"title of {row}", seed, results, 600.0 + 120 * seed, finished)


@pytest.fixture
def runs() -> list[SuiteRun]:
    first, last = result("prediction", 1, 0.4, 0.1), result("prediction", 2, 0.6, 0.3)
    before = [result("prm_baseline", None, 0.2, None), result("pseudo_labels", 1, 0.35, 0.1)]
    return [
        run("image", 0, result("ceiling", None, 0.8, 0.5), first, last),
        run("image", 1, result("prediction", 1, 0.5, 0.2), result("prediction", 2, 0.7, 0.4)),
        run("u", 0, *before, {**result("prediction", 1, 0.64, 0.1), "coco": {"AP": 0.2}}),
    ]


def cells(table: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines() if line[0] == "|"][
        2:
    ]


def test_every_line_with_means_spread_and_shares(runs: list[SuiteRun]) -> None:
    assert cells(suite_table(runs)) == [
        ["ceiling (true masks)", "–", "1", "90.0", "80.0", "30.0", "50.0", "–", "–", "–", "–"],
        ["title of image", "1", "2", "90.0 ±0.0", "45.0 ±5.0", "30.0 ±0.0", "15.0 ±5.0", "–", "0.56", "0.30", "–"],
        ["title of image", "2", "2", "90.0 ±0.0", "65.0 ±5.0", "30.0 ±0.0", "35.0 ±5.0", "–", "0.81", "0.70", "11"],
        ["title of u: PRM baseline", "–", "1", "90.0", "20.0", "30.0", "–", "–", "0.25", "–", "–"],
        ["title of u", "1", "1", "90.0", "64.0", "30.0", "10.0", "20.0", "0.80", "0.20", "10"],
    ]  # fmt: skip


def test_in_the_terminal_a_title_heads_its_lines(runs: list[SuiteRun]) -> None:
    assert suite_table(runs, "text").splitlines() == [
        "                             VOC mAP                  COCO    ratio    CPU",
        "iter  seeds        .25       .50       .70       .75    AP   .50  .75  min",
        "----  -----  --------- --------- --------- ---------  ----  ---- ----  ---",
        "ceiling (true masks)",
        "–         1       90.0      80.0      30.0      50.0     –     –    –    –",
        "title of image",
        "1         2  90.0 ±0.0 45.0 ±5.0 30.0 ±0.0 15.0 ±5.0     –  0.56 0.30    –",
        "2         2  90.0 ±0.0 65.0 ±5.0 30.0 ±0.0 35.0 ±5.0     –  0.81 0.70   11",
        "title of u: PRM baseline",
        "–         1       90.0      20.0      30.0         –     –  0.25    –    –",
        "title of u",
        "1         1       90.0      64.0      30.0      10.0  20.0  0.80 0.20   10",
    ]


def test_the_share_is_of_the_same_seeds_ceiling(runs: list[SuiteRun]) -> None:
    runs[1] = run("image", 1, result("ceiling", None, 0.7, 0.8), *runs[1].results)
    line = cells(suite_table(runs))[2]
    assert line[8] == f"{(0.6 / 0.8 + 0.7 / 0.7) / 2:.2f}"
    assert line[9] == f"{(0.3 / 0.5 + 0.4 / 0.8) / 2:.2f}"


def test_no_ceiling_no_share(runs: list[SuiteRun]) -> None:
    assert [line[8:10] for line in cells(suite_table(runs[1:]))] == [["–", "–"]] * 4


def test_an_unfinished_run_has_no_cost(runs: list[SuiteRun]) -> None:
    runs[2] = run("u", 0, *runs[2].results, finished=False)
    assert cells(suite_table(runs))[-1][-1] == "–"


def test_pseudo_labels_have_a_table_of_their_own(runs: list[SuiteRun]) -> None:
    assert cells(pseudo_label_table(runs)) == [["title of u", "1", "1", "90.0", "35.0", "30.0", "10.0", "–"]]


def test_half_range_of_several_seeds_alone(runs: list[SuiteRun]) -> None:
    first, second, _ = scores(runs, ["prediction"])
    assert first.half_range("0.50") == pytest.approx(0.05)
    assert second.outer_iteration == 2
    assert scores(runs[2:], ["prediction"])[0].half_range("0.50") is None


def test_orders_are_of_the_last_iteration_and_the_seeds_that_all_have(runs: list[SuiteRun]) -> None:
    orders = [("u", "image"), ("image", "u"), ("u", "absent")]
    assert list(order_lines(runs, orders)) == [
        "u < image at 0.50, iteration 1: 64.0, 40.0: does not hold",
        "u < image at 0.75, iteration 1: 10.0, 10.0: does not hold",
        "image < u at 0.50, iteration 1: 40.0, 64.0: holds by 24.0, beyond the seeds' ± 5.0",
        "image < u at 0.75, iteration 1: 10.0, 10.0: does not hold",
        "u < absent: not known yet, no results of absent",
    ]
    runs[2] = run("u", 0, *runs[2].results, result("prediction", 2, 0.57, 0.2))
    assert list(order_lines(runs, orders))[:2] == [
        "u < image at 0.50, iteration 2: 57.0, 60.0: holds by 3.0, within the seeds' ± 5.0",
        "u < image at 0.75, iteration 2: 20.0, 30.0: holds by 10.0, beyond the seeds' ± 5.0",
    ]


def test_rows_without_a_common_seed_or_iteration_are_not_compared(runs: list[SuiteRun]) -> None:
    (line,) = order_lines(runs[1:], [("u", "image")])
    assert line == "u < image: not known yet, no seed that all have"
    runs[2] = run("u", 0, result("prediction", 3, 0.5, 0.1))
    (line,) = order_lines(runs, [("u", "image")])
    assert line == "u < image: not known yet, no outer iteration that all have reached"


def test_one_seed_says_so(runs: list[SuiteRun]) -> None:
    (line, _) = order_lines([runs[0], run("u", 0, result("prediction", 1, 0.3, 0.1))], [("u", "image")])
    assert line.endswith("holds by 10.0, of one seed")
