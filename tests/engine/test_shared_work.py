"""A stage's work in two processes: what rank 0 says, counts and logs is the stage's."""

from pathlib import Path

from tests.engine.group_work import report
from wsis.engine.progress import Progress
from wsis.engine.shared_work import run_shared
from wsis.engine.stage import Execution, StageContext


def test_rank_0_speaks_for_all(tmp_path: Path, capsys) -> None:
    heard: list[tuple[str, float]] = []
    progress = Progress([lambda text, share: heard.append((text, share))])
    events = Execution(threads=1, device="cpu", tensorboard=tmp_path / "events")
    context = StageContext(tmp_path, 3, 2, events, progress, "toy")
    run_shared(report, context, 2)
    assert context.counts == {"seed": 3, "sum": 3.0} and len(context.worker_memory) == 2
    assert heard[-1] == ("toy@2", 1.0)
    text = capsys.readouterr().err
    assert "toy@2: rank 0 writes scalars: True" in text and "rank 1" not in text
    assert "toy@2: 2/2 step (100%)" in text and "loss 0.5" in text


def test_one_process_is_this_one(tmp_path: Path) -> None:
    context = StageContext(tmp_path, 3, 2, Execution(), Progress(quiet=True), "toy")
    run_shared(lambda given: given.counts.update(same=given is context), context, 1)
    assert context.counts == {"same": True}
