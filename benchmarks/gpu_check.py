"""All that one CUDA card can tell, in one table and in less than ten minutes: `make gpu-check`.

    python benchmarks/gpu_check.py                # on a machine with a GPU
    python benchmarks/gpu_check.py --pretend      # this script itself, on a pretended device: no figure means anything

1. Tests marked `gpu`.
2. The tiny run on the CPU; then each of its stages on the GPU, from the inputs that the CPU made, against what the CPU
   made of them (TF32 off; tolerances in tests/gpu/agreement.py).
3. The networks and sizes of `voc2012_image`, random weights, on generated scenes of 500 x 375, some steps each: time,
   host time and memory of a unit of work. Nothing is downloaded.

The exit code is 1 where a test fails, a stage is not equal within its tolerance, or a command does not end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

SECONDS = 300  # of one command
PAPER = (
    *("data.format=scenes", "data.train_split=train", "data.scenes.train=32", "data.scenes.val=8"),
    *("data.scenes.height=375", "data.scenes.width=500", "outer_iterations=1", "evaluate=false"),
    *("prm_classifier.pretrained=null", "prm_classifier.epochs=5", "prediction.pretrained=null"),
    *("conditional.pretrain_epochs=2", "prediction.steps=12", "prediction.learning_rate=1e-6"),
    "conditional.cached_images=0",  # as of more images than a cache holds
)
IMAGES = {"prm_classifier step": 16, "conditional step": 4, "prediction step": 16}  # a unit, of PAPER


@dataclass(frozen=True)
class Check:
    """Where things lie, and on what they run."""

    folder: Path
    pretend: bool

    def command(self, name: str, *arguments: object, device: str, **environment: str) -> bool:
        """Run a module; what it says goes to NAME.log. Whether it ended well."""
        began, log = time.monotonic(), self.folder / f"{name}.log"
        words = [str(a) for a in arguments]
        if self.pretend and device == "cuda":
            script = f"{words[0].replace('.', '/')}.py"
            words = ["tests.gpu.pretend", str(self.folder / f"{name}.json"), script, *words[1:]]
        with log.open("w") as stream:
            try:
                code = subprocess.run(
                    [sys.executable, "-m", *words],
                    cwd=ROOT,
                    env={**os.environ, **environment},
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    timeout=SECONDS if not self.pretend else 4 * SECONDS,
                ).returncode
            except subprocess.TimeoutExpired:
                code = -1
        ended = "ended" if code == 0 else f"FAILED (code {code})"
        print(f"{name}: {ended} after {time.monotonic() - began:.0f} s, {log}", flush=True)
        if code:
            print("\n".join(log.read_text().splitlines()[-15:]), flush=True)
        return code == 0


def overrides(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def equality(check: Check) -> tuple[dict[str, str], bool]:
    """Node -> how far the GPU's artefact agrees with the CPU's; and whether all do."""
    from tests.gpu.agreement import agreement
    from tests.gpu.pretended import SHORT, TINY
    from tests.runs.tiny_run import copy_of, manifest_of
    from wsis.runs.config import load_config
    from wsis.runs.plan import plan

    cpu, gpu = check.folder / "cpu", check.folder / "gpu"
    made = ("wsis", "run", TINY, "--name", "tiny", "--store", cpu, *overrides(SHORT))
    if not check.command("on-the-cpu", *made, device="cpu"):
        return {}, False
    copy_of(cpu, gpu)
    nodes = [node for node in plan(load_config(str(TINY))) if node.stage.on_device]
    # the last first, so that each reads what the CPU made
    todo = []
    for node in reversed(nodes):
        name, _, iteration = node.key.partition("@")
        words = ["stage", name, *(("--iteration", iteration) if iteration else ()), "--run", "tiny"]
        words += ["--force", "--store", str(gpu), *overrides(["execution.device=cuda"])]
        todo.append((node.key, None, words))
    (check.folder / "todo.json").write_text(json.dumps(todo))
    script = ("tests.gpu.stage_runs", check.folder / "todo.json", check.folder / "found.json")
    if not check.command("on-the-gpu", *script, device="cuda", NVIDIA_TF32_OVERRIDE="0"):
        return {}, False
    codes = json.loads((check.folder / "found.json").read_text())
    found, all_hold = {}, True
    for node in nodes:
        if codes[node.key][0]:
            found[node.key], all_hold = f"FAILED: {codes[node.key][1].splitlines()[-1]}", False
            continue
        manifest = manifest_of(cpu, node.key)
        where = Path(manifest.stage) / manifest.fingerprint
        agreed = agreement(node, gpu / where, cpu / where)
        found[node.key] = str(agreed) if agreed.holds else f"{agreed} NOT EQUAL"
        all_hold &= agreed.holds
    return found, all_hold


def speed(check: Check) -> tuple[dict[str, list[list[float]]], bool]:
    """Unit of work -> of each [seconds, CPU seconds, bytes of GPU memory]; and whether the run ended."""
    report = check.folder / "speed-report.json"
    workers = max(1, len(os.sched_getaffinity(0)) // 2)
    settings = ["execution.device=cuda", "execution.cores=1", f"execution.workers={workers}"]
    config: object = "voc2012_image"
    if check.pretend:
        from tests.gpu.pretended import SHORT, TINY

        config, settings = TINY, [*settings, *SHORT, "outer_iterations=1"]
    else:
        settings += PAPER
    words = ("tests.gpu.timed", report, "run", config, "--name", "speed")
    ended = check.command(
        "speed", *words, "--store", check.folder / "speed", *overrides(settings), device="cuda"
    )
    return json.loads(report.read_text()) if report.exists() else {}, ended


def speed_cells(taken: Sequence[Sequence[float]], images: int) -> list[str]:
    """Medians of the units after the first three, which load networks and choose kernels."""
    rest = taken[3:] or taken
    seconds, host = (median(row[i] for row in rest) for i in (0, 1))
    memory = max(row[2] for row in taken) / 2**30
    return [f"{1000 * seconds:.1f}", f"{images / seconds:.1f}", f"{1000 * host:.1f}", f"{memory:.2f}"]


def table(agreed: dict[str, str], taken: dict[str, list[list[float]]]) -> str:
    """One row a stage: its agreement in each outer iteration, and what a unit of work takes."""
    lines = [
        "| stage | on the GPU as on the CPU (tolerance) | a unit | ms | images/s | host ms | GPU memory, GiB |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    stages = list(dict.fromkeys(key.split("@")[0].split(".")[0] for key in agreed)) or [
        unit.split()[0] for unit in taken
    ]
    for stage in stages:
        equal = "; ".join(text for key, text in agreed.items() if key.split("@")[0].split(".")[0] == stage)
        unit = next((name for name in taken if name.split()[0] == stage), "")
        cells = speed_cells(taken[unit], IMAGES.get(unit, 1)) if unit else ["–"] * 4
        lines.append(f"| {stage} | {equal} | {unit.split()[-1] if unit else '–'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def facts() -> str:
    """The card, and what torch was built for."""
    import torch

    from wsis.engine.device import device_line

    if not torch.cuda.is_available():
        return f"no CUDA device for torch {torch.__version__}"
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return f"{device_line(torch.device('cuda'))}, {memory:.0f} GiB"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pretend", action="store_true", help="on a pretended device: does this script work?"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for logs, stores and the table (default: one of /tmp)"
    )
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(facts(), flush=True)
    import torch

    if not (arguments.pretend or torch.cuda.is_available()):
        print("nothing to check: give the command on a machine with a GPU, or --pretend", file=sys.stderr)
        return 1
    check = Check(arguments.out or Path(tempfile.mkdtemp(prefix="gpu-check-")), arguments.pretend)
    check.folder.mkdir(parents=True, exist_ok=True)
    tests = arguments.pretend or check.command("tests", "pytest", "-m", "gpu", "tests/gpu", device="cuda")
    agreed, equal = equality(check)
    taken, ended = speed(check)
    text = f"{facts()}\n\n{table(agreed, taken)}\n"
    (check.folder / "table.md").write_text(text)
    passed = "left out" if arguments.pretend else "passed" if tests else "FAILED"
    print(f"\n{text}\ntests {passed}; all in {check.folder}")
    return int(not (tests and equal and ended))


if __name__ == "__main__":
    sys.exit(main())
