"""Progress: plain lines in a log, a bar in a terminal, listeners for an orchestrator."""

import fcntl
import mmap
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

import wsis.engine.progress
from wsis.engine.machine import resident_memory
from wsis.engine.progress import Progress

PROGRAM = """
import sys, time
from wsis.engine.progress import Progress
import wsis.engine.progress
wsis.engine.progress.LOG_INTERVAL_SECONDS = 0.2
progress = Progress()
progress.log("begins")
with progress.bar(40, "proposals", "img", initial=8) as bar:
    for i in range(32):
        time.sleep(0.02)
        bar.update(1, {"loss": 1 / (i + 1)})
        if i == 15:
            progress.log("half way")
"""


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told, in a process that never grows."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(wsis.engine.progress, "resident_memory", lambda: 1_340_000_000)
    return clock


def test_lines_with_rate_and_time_left(clock, capsys):
    with Progress().bar(40, "proposals", "img") as bar:
        for _ in range(10):
            clock.now += 2.0
            bar.update(1)
    lines = capsys.readouterr().err.splitlines()
    # a line every 15 seconds, not every image; 10 of 40 in 20 s leave 60 s
    assert lines == [
        "proposals: 8/40 img (20%) in 00:16, 01:04 left, 2.00s/img, 1.3 GB",
        "proposals: 10/40 img (25%) in 00:20, 01:00 left, 2.00s/img, 1.3 GB",
    ]


def test_rate_after_a_resume_counts_only_what_was_done_now(clock, capsys):
    with Progress().bar(100, "train", "step", initial=80) as bar:
        for _ in range(10):
            clock.now += 1.0
            bar.update(1, {"loss": 0.123456, "diversity": 2.0})
    # 10 steps in 10 s, 10 are left: not 90 steps in 10 s
    assert (
        capsys.readouterr().err
        == "train: 90/100 step (90%) in 00:10, 00:10 left, 1.00step/s, 1.3 GB | loss 0.1235 diversity 2\n"
    )


def test_no_forecast_before_a_few_steps_are_timed_without_the_first(clock, capsys):
    with Progress().bar(100, "train", "step", initial=40) as bar:
        for seconds in (18.0, 0.5, 15.0, 0.5, 0.5, 0.5, 15.0):  # the first loads and warms up
            clock.now += seconds
            bar.update(1, {"loss": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [
        "train: 41/100 step (41%) in 00:18, 1.3 GB | loss 1",
        "train: 43/100 step (43%) in 00:33, 07:21 left, 7.75s/step, 1.3 GB | loss 1",  # 15.5 s for two
        "train: 47/100 step (47%) in 00:50, 04:42 left, 5.33s/step, 1.3 GB | loss 1",  # 32 s for six
    ]


def test_a_bar_that_ends_early_makes_no_forecast_of_its_first_steps(clock, capsys):
    with Progress().bar(100, "train", "step") as bar:
        for seconds in (18.0, 0.5, 0.5):
            clock.now += seconds
            bar.update(1)
    assert capsys.readouterr().err.splitlines() == [
        "train: 1/100 step (1%) in 00:18, 1.3 GB",
        "train: 3/100 step (3%) in 00:19, 1.3 GB",
    ]


def test_a_line_has_the_loss_and_four_more_and_fits(clock, capsys):
    losses = {"loss": 3.0, **{f"head_{i}": i / 7 for i in range(14)}}
    long_names = {"loss": 3.0, **{f"{'very_' * 5}long_loss_{i}": i / 7 for i in range(14)}}
    for notes in (losses, long_names):
        with Progress().bar(1, "prediction@2", "step") as bar:
            clock.now += 1.0
            bar.update(1, notes)
    five, fewer = capsys.readouterr().err.splitlines()
    assert five.endswith("| loss 3 head_0 0 head_1 0.1429 head_2 0.2857 head_3 0.4286")
    assert len(five) < 160 and len(fewer) < 160 and "| loss 3 very_" in fewer


def test_resident_memory_grows_by_what_is_used_and_counts_children():
    before = resident_memory()
    # Not from the heap, which may have room that is resident already.
    with mmap.mmap(-1, 40_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(b"x" * 40_000_000)
        assert 35e6 < resident_memory() - before < 120e6
    child = "import sys; block = bytearray(b'x') * 60_000_000; print(flush=True); sys.stdin.read()"
    before = resident_memory()
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert 55e6 < resident_memory() - before < 120e6
        process.stdin.close()


def test_track_counts_an_item_when_it_is_done(clock, capsys):
    heard = []
    items = Progress([lambda text, share: heard.append((text, share))]).track("abcd", 4, "images", "img")
    assert next(items) == "a"
    assert heard == []
    clock.now += 1.0
    assert next(items) == "b"
    assert heard == [("images", 0.25)]
    clock.now += 0.5
    assert next(items) == "c"
    assert heard == [("images", 0.25)]  # at most once a second
    assert list(items) == ["d"]
    assert heard == [("images", 0.25), ("images", 1.0)]
    assert capsys.readouterr().err.count("images: 4/4 img (100%)") == 1


def test_bar_is_closed_by_an_error(clock, capsys):
    heard = []
    with pytest.raises(ZeroDivisionError), Progress([lambda *a: heard.append(a)]).bar(4, "x") as bar:
        bar.update(1)
        1 / 0  # noqa: B018
    assert heard[-1] == ("x", 0.25)
    assert "x: 1/4 it (25%)" in capsys.readouterr().err


@pytest.mark.parametrize("total", [0, 3])
def test_nothing_to_do(total, clock, capsys):
    with Progress().bar(total, "nothing", initial=total):
        pass
    assert capsys.readouterr().err == ""


def test_log_and_quiet(capsys):
    Progress().log("hello")
    Progress(quiet=True).log("nobody hears")
    assert re.fullmatch(r"\d\d:\d\d:\d\d hello\n", capsys.readouterr().err)


def test_in_a_pipe():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    meters = [x for x in lines if x.startswith("proposals: ")]
    assert len(meters) >= 2
    pattern = r"proposals: \d+/40 img \(\d+%\) in \d\d:\d\d, \d\d:\d\d left, +[\d.]+img/s, [\d.]+ [MG]B \| loss 0\.\d+"
    assert all(re.fullmatch(pattern, x) for x in meters), meters
    assert meters[-1].startswith("proposals: 40/40 img (100%)")
    assert any(x.endswith("half way") for x in lines)


def shown_on_a_terminal(columns, title="proposals"):
    """All that PROGRAM writes to a pseudo-terminal of some width, its bar with this title."""
    program = PROGRAM.replace("proposals", title)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    with subprocess.Popen([sys.executable, "-c", program], stderr=follower, stdout=follower) as process:
        os.close(follower)
        while select.select([leader], [], [], 30)[0]:
            try:
                block = os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
        assert process.wait(30) == 0
    os.close(leader)
    return shown.decode()


def test_in_a_terminal():
    text = shown_on_a_terminal(100)
    assert text.count("\rproposals ") > 2  # the line is drawn again and again
    assert "40/40" in text
    assert re.search(
        r"proposals +\d+%\|.{8}\| \d+/40 \d\d:\d\d<\d\d:\d\d +[\d.]+img/s, +[\d.]+ [MG]B loss 0\.\d+", text
    )
    assert re.search(r"\d\d:\d\d:\d\d half way", text)


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_a_bar_keeps_its_width_and_its_fields_their_places(columns):
    drawn = [
        line for line in re.split(r"[\r\n]", shown_on_a_terminal(columns)) if line.startswith("proposals ")
    ]
    assert len(drawn) > 3 and max(map(len, drawn)) <= columns
    places = {(line.index("%|"), line.index("| "), line.index("/40"), line.index("<")) for line in drawn}
    assert len(places) == 1


def test_the_longest_name_of_a_run_is_shown_whole():
    name = "evaluation.pseudo_labels@12"
    drawn = [line for line in re.split(r"[\r\n]", shown_on_a_terminal(80, name)) if line.startswith("eval")]
    assert len(drawn) > 3 and max(map(len, drawn)) <= 80
    assert all(line.startswith(f"{name} ") and "img/s" in line for line in drawn[1:])


def test_in_a_terminal_without_width():
    text = shown_on_a_terminal(0)
    assert "proposals: 40/40 img (100%)" in text
    assert "\rproposals " not in text
