"""A process that does one piece of work after another: what it gives, says and how it ends."""

import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest

from data_contracts.errors import CorruptArtefactError
from wsis.engine.progress import Progress
from wsis.engine.stage_process import StageProcess, StageProcesses
from wsis.errors import RunEndsError, StageTimeoutError, WorkerDiedError


@dataclass
class Heard(Progress):
    """Progress that keeps what it is told."""

    lines: list[str] = field(default_factory=list)
    bars: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(quiet=True)

    def log(self, message: str) -> None:
        self.lines.append(message)

    @contextmanager
    def bar(self, total: int, description: str, unit: str = "it", initial: int = 0) -> Iterator:
        with super().bar(total, description, unit, initial) as bar:
            yield bar
        self.bars.append((description, bar.done, total))


def pid(progress: Progress) -> int:
    return os.getpid()


def talk(progress: Progress) -> str:
    progress.log("begins")
    logging.getLogger("wsis.test").warning("%d photographs are dark", 3)
    with progress.bar(7, "photographs", initial=2) as bar:
        for _ in range(5):
            time.sleep(0.01)
            bar.update()
    return "said"


def fail(progress: Progress) -> None:
    raise CorruptArtefactError("a/b is damaged", ("a/b",))


def a_bug(progress: Progress) -> None:
    raise KeyError("no such thing")


class Unsendable(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} {other}")


def unsendable(progress: Progress) -> None:
    raise Unsendable(1, 2)


def imported(progress: Progress) -> bool:
    return "xml.dom.minidom" in sys.modules


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(progress: Progress) -> None:
    try:
        progress.log("sleeps")
        time.sleep(600)
    except KeyboardInterrupt:
        progress.log("was interrupted")
        raise


@pytest.fixture(scope="module")
def processes() -> Iterator[StageProcesses]:
    with StageProcesses() as made:
        yield made


def test_one_process_does_all_that_comes_one_after_the_other(processes: StageProcesses) -> None:
    ids = {processes.do(pid, "a", Heard()) for _ in range(3)}
    assert len(ids) == 1 and os.getpid() not in ids


def test_one_that_was_begun_ahead_is_given_the_work_and_has_imported_what_it_needs() -> None:
    with StageProcesses(importlib.import_module("xml.dom.minidom").parse) as processes:
        processes.begin(2)
        begun = {process.pid for process in processes._all}
        assert processes.do(pid, "a", Heard()) in begun and len(processes._all) == 2
        assert processes.do(imported, "a", Heard())
    with StageProcesses() as processes:
        assert not processes.do(imported, "a", Heard())


def test_ctrl_c_while_it_starts_is_its_parents(capfd: pytest.CaptureFixture[str]) -> None:
    with StageProcesses() as processes:
        processes.begin(1)
        started = processes._all[0].pid
        assert started
        for _ in range(100):
            os.kill(started, signal.SIGINT)
            time.sleep(0.01)
        assert processes.do(pid, "a", Heard()) == started
    assert not capfd.readouterr().err


def test_what_it_says_is_heard(processes: StageProcesses, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    assert processes.do(talk, "a", heard) == "said"
    assert heard.lines == ["begins"]
    assert heard.bars == [("photographs", 7, 7)]
    assert "3 photographs are dark" in caplog.text


def test_errors_come_back_as_they_are(processes: StageProcesses) -> None:
    with pytest.raises(CorruptArtefactError, match="a/b is damaged") as raised:
        processes.do(fail, "a", Heard())
    assert raised.value.files == ("a/b",) and not getattr(raised.value, "__notes__", [])
    with pytest.raises(KeyError) as bug:
        processes.do(a_bug, "a", Heard())
    assert "in a_bug" in bug.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r"(?s)in the process of a:.*Unsendable: 1 2"):
        processes.do(unsendable, "a", Heard())


def test_a_lost_process_is_named_and_another_takes_its_place(processes: StageProcesses) -> None:
    with pytest.raises(WorkerDiedError, match=r"proposals: .* was ended by signal 9"):
        processes.do(die, "proposals", Heard())
    assert processes.do(pid, "a", Heard()) != os.getpid()


def test_a_time_limit_ends_it(processes: StageProcesses) -> None:
    began = time.monotonic()
    with pytest.raises(StageTimeoutError, match="proposals: expected it to end within 1 s"):
        processes.do(sleep, "proposals", Heard(), 1.0)
    assert time.monotonic() - began < 40


def finish_first(progress: Progress) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a training in a long step
    progress.log("sleeps")
    time.sleep(600)


def ended_while_asleep(process: StageProcess, end: Callable[[], None]) -> float:
    """Seconds until it is gone, once `end` is called while it is in a step that takes long."""
    heard, began = Heard(), []

    def ends() -> None:
        while "sleeps" not in heard.lines:
            time.sleep(0.01)
        began.append(time.monotonic())
        end()

    threading.Thread(target=ends).start()
    with pytest.raises(RunEndsError, match="a: ended with the run"):
        process.do(finish_first, "a", heard)
    return time.monotonic() - began[0]


def test_what_goes_on_after_it_was_asked_to_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsis.engine.stage_process._GRACE_SECONDS", 2.0)
    process = StageProcess("a")
    assert 1.9 < ended_while_asleep(process, process.ask_to_end) < 20


def test_the_second_ctrl_c_kills() -> None:
    with StageProcesses() as processes:
        process = processes._take("a")

        def twice() -> None:
            processes.stop()
            processes.kill()

        assert ended_while_asleep(process, twice) < 10


def test_it_is_interrupted_as_ctrl_c_does(tmp_path: object) -> None:
    process, heard = StageProcess("a"), Heard()

    def end() -> None:
        while "sleeps" not in heard.lines:
            time.sleep(0.01)
        process.ask_to_end()

    threading.Thread(target=end).start()
    with pytest.raises(RunEndsError, match="a: ended with the run"):
        process.do(sleep, "a", heard)
    process.end()
    assert heard.lines == ["sleeps", "was interrupted"]
    assert process.pid is not None and not psutil.pid_exists(process.pid)
