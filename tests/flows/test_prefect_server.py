"""A real Prefect server and process worker: deployments, artifacts, and a worker killed midway."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.boundary_folder import write_boundaries
from tests.flows.tiny_run import RUN, TINY, computed, fingerprints, record_of
from wsis.mcg.contour_weights import load_network

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(600)]
REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOYMENTS = [d["name"] for d in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]]


class Prefect:
    """A server of its own, with all its state under `home`, and the workers and commands that talk to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self.started: list[subprocess.Popen] = []
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "WSIS_"))},
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
        }
        self.port = port

    def start(self) -> None:
        """The server, the work pool and all deployments of prefect.yaml, as the README says."""
        self.background("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        self.wait_for(self.is_up, "the server", 120)
        self.command("work-pool", "create", "wsis", "--type", "process")
        self.command("deploy", "--all")

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def background(self, name: str, *arguments: str) -> subprocess.Popen:
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.home,
            )
        self.started.append(process)
        return process

    def worker(self) -> subprocess.Popen:
        return self.background("worker", "worker", "start", "--pool", "wsis", "--name", "tests")

    def command(self, *arguments: str) -> str:
        """A `prefect` command in the repository, as the README prints it; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=REPOSITORY,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def start_flow_run(self, deployment: str, **parameters: object) -> str:
        """Id of a new flow run."""
        flat = [x for k, v in parameters.items() for x in ("--param", f"{k}={v}")]
        text = self.command("deployment", "run", deployment, *flat)
        found = re.search(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", text)
        assert found, text
        return found.group()

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        (run,) = self.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
        return run

    def finished(self, flow_run_id: str) -> dict[str, Any]:
        """Wait for a flow run's last state, which must be COMPLETED."""
        terminal = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        self.wait_for(lambda: self.flow_run(flow_run_id)["state_type"] in terminal, "the flow run", 300)
        run = self.flow_run(flow_run_id)
        assert run["state_type"] == "COMPLETED", self.logs()
        return run

    def task_names(self, flow_run_id: str) -> dict[str, str]:
        """Name of each task run of a flow run -> its state, as far as the server knows them."""
        found = self.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
        return {t["name"]: t["state_name"] for t in found}

    def all_completed(self, flow_run_id: str, names: Iterable[str]) -> None:
        """These are the task runs of a flow run. They reach the server as events, some of them after its end."""
        expected = dict.fromkeys(names, "Completed")
        end = time.monotonic() + 60
        while self.task_names(flow_run_id) != expected and time.monotonic() < end:
            time.sleep(0.1)
        assert self.task_names(flow_run_id) == expected

    def messages(self, flow_run_id: str) -> list[str]:
        body = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_ASC"}
        return [x["message"] for x in self.post("/logs/filter", body)]

    def artifacts(self, kind: str) -> dict[str, Any]:
        """Key -> data of the latest artifacts of a type."""
        found = self.post("/artifacts/latest/filter", {"artifacts": {"type": {"any_": [kind]}}})
        return {a["key"]: a["data"] for a in found}

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s for {what}\n{self.logs()}"
            time.sleep(0.01)

    def logs(self) -> str:
        return "\n".join(f"--- {p.name}\n{p.read_text()[-4000:]}" for p in self.home.glob("*.log"))

    def kill(self, process: subprocess.Popen) -> None:
        """SIGKILL it and all that it started."""
        try:
            family = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait(30)
        psutil.wait_procs(family, timeout=30)

    def close(self) -> None:
        for process in reversed(self.started):
            self.kill(process)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server with the work pool and all deployments of prefect.yaml."""
    running = Prefect(tmp_path_factory.mktemp("prefect"))
    try:
        running.start()
        yield running
    finally:
        running.close()


def parameters(store: Path) -> dict[str, object]:
    """Flat parameters of a flow run."""
    return {
        "config": TINY,
        "run_name": RUN,
        "store": store,
        "overrides": '["execution.checkpoint_seconds=0.002"]',
    }


@pytest.fixture(scope="module")
def killed(
    prefect: Prefect, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, str]:
    """A flow run whose worker and process were killed in outer iteration 1, and the one that went on: store, ids."""
    store = tmp_path_factory.mktemp("store")
    checkpoint = store / fingerprints(tiny_store)["conditional@1"].replace("/", "/.work/") / "checkpoint.pt"
    worker = prefect.worker()
    first = prefect.start_flow_run("wsis/full-training", **parameters(store))
    prefect.wait_for(checkpoint.exists, "a checkpoint", 200)
    prefect.kill(worker)
    assert checkpoint.exists() and not (checkpoint.parents[2] / checkpoint.parent.name).exists()
    assert record_of(store).status == "running"
    prefect.worker()
    second = prefect.start_flow_run("wsis/full-training", **parameters(store))
    prefect.finished(second)
    return store, first, second


def test_there_is_a_deployment_for_the_whole_and_each_stage(prefect: Prefect) -> None:
    found = {d["name"]: d for d in prefect.post("/deployments/filter", {})}
    assert sorted(found) == sorted(DEPLOYMENTS)
    (flow,) = prefect.post("/flows/filter", {})
    assert flow["name"] == "wsis"
    for deployment in found.values():
        assert deployment["work_pool_name"] == "wsis"
        of_no_run = deployment["name"].startswith("train-") or deployment["name"] == "ablations"
        assert of_no_run or deployment["parameters"]["run_name"] == "demo"
        assert re.fullmatch(r"flows\.\w+\.\w+", deployment["entrypoint"])


def test_a_new_flow_run_goes_on_after_the_worker_was_killed(
    prefect: Prefect, killed: tuple[Path, str, str], tiny_store: Path
) -> None:
    store, first, second = killed
    assert prefect.flow_run(first)["state_type"] != "COMPLETED"
    assert prefect.flow_run(second)["name"] == RUN
    record = record_of(store)
    assert record.status == "completed"
    nodes = list(record.entries)
    assert [k for k in nodes if record.entries[k].reused] == nodes[: nodes.index("conditional@1")]
    assert any(re.search(r"conditional@1: resumes at step \d+", m) for m in prefect.messages(second))
    assert fingerprints(store) == fingerprints(tiny_store)
    prefect.all_completed(second, nodes)


def test_the_results_are_a_table_artifact(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    from data_contracts.store import Store
    from reporting.results import results_of

    (data,) = [v for k, v in prefect.artifacts("table").items() if k == "wsis-tiny-results"]
    rows = json.loads(data)
    expected = results_of(Store(killed[0]), record_of(killed[0]))
    assert [(r["kind"], r["outer iteration"]) for r in rows] == [
        *(
            ("prm_baseline", "-"),
            ("pseudo_labels", 1),
            ("prediction", 1),
            ("pseudo_labels", 2),
            ("prediction", 2),
        )
    ]
    for row, exact in zip(rows, expected, strict=True):
        assert row["mAP 0.50"] == round(100 * exact["mAP"]["0.50"], 2)


def test_the_table_is_published_after_every_evaluation(
    prefect: Prefect, killed: tuple[Path, str, str]
) -> None:
    body = {"artifacts": {"key": {"any_": ["wsis-tiny-results"]}}, "sort": "CREATED_DESC"}
    tables = prefect.post("/artifacts/filter", body)
    of_second = [len(json.loads(t["data"])) for t in tables if t["flow_run_id"] == killed[2]]
    assert of_second == [5, 5, 4, 3, 2, 1]


def test_long_stages_have_progress_artifacts(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    progress = prefect.artifacts("progress")
    for title in ("proposals", "conditional-1", "conditional-2", "prediction-1", "prediction-2"):
        assert float(progress[f"wsis-tiny-{title}"]) == 100.0, title


def test_another_run_reuses_what_is_there_and_computes_the_rest(
    prefect: Prefect, killed: tuple[Path, str, str], own_store: Path
) -> None:
    """Prefect neither keeps nor decides any of it: the artefacts were made by `wsis run`."""
    expected = fingerprints(own_store)
    shutil.rmtree(own_store / expected["predictions.val@1"])
    settings = {"overrides": '["outer_iterations=1"]', "run_name": "short", "seed": 0}
    run = prefect.start_flow_run("wsis/full-training", **{**parameters(own_store), **settings})
    prefect.finished(run)
    got = fingerprints(own_store, "short")
    assert got == {k: expected[k] for k in got}
    assert computed(own_store, "short") == {"predictions.val@1"}
    prefect.all_completed(run, got)
    assert len(json.loads(prefect.artifacts("table")["wsis-short-results"])) == 3


def test_a_wrong_parameter_fails_the_flow_run_and_says_why(
    prefect: Prefect, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    wrong = {**parameters(tmp_path / "store"), "overrides": '["conditional.kk=1"]'}
    run = prefect.start_flow_run("wsis/full-training", **wrong)
    prefect.wait_for(lambda: prefect.flow_run(run)["state_type"] == "FAILED", "the failure", 120)
    assert "conditional.kk: unknown key; did you mean 'k'?" in prefect.flow_run(run)["state"]["message"]
    assert not (tmp_path / "store").exists()


def test_a_stage_runs_alone(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    store = killed[0]
    before = fingerprints(store)
    run = prefect.start_flow_run("wsis/prm-seeds", run_name=RUN, store=store, force="true")
    assert prefect.finished(run)["name"] == f"{RUN}-prm_seeds"
    prefect.all_completed(run, ["prm_seeds"])
    assert not record_of(store).entries["prm_seeds"].reused
    assert fingerprints(store) == before


def test_a_suite_is_compared_in_an_artifact(
    prefect: Prefect, killed: tuple[Path, str, str], own_store: Path, tmp_path: Path
) -> None:
    """Its one row is the finished run, so that nothing is computed."""
    suite = tmp_path / "small.yaml"
    rows = {"all": {"title": "image labels", "set": {"execution.workers": 1}}}
    suite.write_text(yaml.safe_dump({"base": str(TINY), "rows": rows, "orders": [["all", "all"]]}))
    run = prefect.start_flow_run("wsis/ablations", suite=suite, store=own_store)
    prefect.finished(run)
    assert not computed(own_store, "small-all-s0")
    prefect.all_completed(run, fingerprints(own_store, "small-all-s0"))
    table = prefect.artifacts("markdown")["wsis-small-ablations"]
    assert "| image labels" in table and "all < all at 0.50, iteration 2: " in table


def test_the_contour_network_trains_on_a_worker(
    prefect: Prefect, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    write_boundaries(tmp_path / "data", "train", "a", 0)
    small = [
        f"train_contours.{x}"
        for x in ("steps=2", "batch_size=1", "crop=64", "pretrained=null", "splits=[train]")
    ]
    settings = {"data": tmp_path / "data", "store": tmp_path / "store", "overrides": json.dumps(small)}
    run = prefect.start_flow_run("wsis/train-contours", **settings)
    assert prefect.finished(run)["name"] == "train-contours"
    (model,) = (tmp_path / "store").rglob("contours.pt")
    load_network(model)
