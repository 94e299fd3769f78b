"""Plots are PNG images; equal data give equal bytes, other data others."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from wsis.reporting.page import plots
from wsis.reporting.page.plots import loss_plot, map_plot, time_plot, waterfall_plot


def result(kind: str, t: int | None, value: float | None) -> dict:
    return {
        "kind": kind,
        "split": "val",
        "outer_iteration": t,
        "mAP": dict.fromkeys(("0.25", "0.50", "0.70", "0.75"), value),
    }


def pixels(png: bytes) -> np.ndarray:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_map_plot_draws_its_lines():
    rows = [result("prm_baseline", None, 0.1), result("prediction", 1, 0.3), result("prediction", 2, 0.4)]
    drawn = pixels(map_plot(rows))
    assert (drawn == (0xCC, 0x79, 0xA7)).all(axis=2).sum() > 100  # the last threshold's colour, on top
    assert map_plot(rows) == map_plot(rows)
    assert map_plot(rows) != map_plot(rows[:2])


@pytest.mark.parametrize("rows", [[], [result("prediction", 1, None)], [result("prm_baseline", None, 0.2)]])
def test_map_plot_of_little(rows):
    assert pixels(map_plot(rows)).size


@pytest.mark.parametrize("length", [1, 5, 300])
def test_loss_plot(length):
    curve = [{"step": 10.0 * i, "loss": 1.0 / (i + 1), "lr": 1e-4} for i in range(length)]
    assert pixels(loss_plot(curve, "conditional@1")).shape[1] > 600


def test_curves_name_their_axes(monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "_png", drawn.append)
    loss_plot([{"step": 1.0, "loss": 1.0, "div_pc": 2.0}, {"step": 2.0, "loss": 0.5, "div_pc": 1.0}])
    assert [(one.get_xlabel(), one.get_title()) for one in drawn[0].axes] == [
        ("step", "loss"),
        ("step", "DIV(p,c)"),
    ]


def test_values_logged_from_some_step_on():
    curve = [{"step": 1.0, "loss": 1.0}, {"step": 2.0, "loss": 0.5, "self_diversity": 0.1}]
    assert pixels(loss_plot(curve)).size


def test_time_plot_grows_with_its_bars():
    few, many = time_plot({"a": 1.0}), time_plot({str(i): float(i) for i in range(12)})
    assert pixels(many).shape[0] > pixels(few).shape[0]


def test_waterfall_plot_shows_what_is_left_and_what_is_lost():
    """Bars of 100 and 60 %, then 40 % of red; what stands aside is an outline, a gain is green."""
    blue, red, green = (0x00, 0x72, 0xB2), (0xE0, 0x86, 0x40), (0x00, 0x9E, 0x73)

    def fall(*steps: tuple[str, float, float | None, bool]) -> list[dict]:
        named = [dict(zip(("step", "iou", "loss", "aside"), step, strict=True)) for step in steps]
        return [{"iteration": 1, "steps": named}]

    def counts(falls: list[dict]) -> list[int]:
        drawn = pixels(waterfall_plot(falls)).astype(int)
        return [int((np.abs(drawn - colour).max(axis=2) <= 3).sum()) for colour in (blue, red, green)]

    perfect = ("perfect", 1.0, None, False)
    left, lost, gained = counts(fall(perfect, ("best of K", 0.6, 0.4, False)))
    assert left / lost == pytest.approx(1.6 / 0.4, rel=0.2) and gained == 0
    left, lost, gained = counts(fall(perfect, ("mean over K", 0.6, -0.2, False)))
    assert gained > 0 == lost
    assert counts(fall(perfect, ("ceiling on val", 0.6, None, True)))[1:] == [0, 0]
