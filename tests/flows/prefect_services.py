"""A Prefect server of its own, workers and commands: what a person starts by the README."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]


class Prefect:
    """A server of its own, with all its state under `home`, and the workers and commands that talk to it."""

    def __init__(self, home: Path, **environment: str) -> None:
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
            "NO_COLOR": "1",
            **environment,
        }
        self.port = port

    def start(self) -> None:
        """The server, the work pool and all deployments of prefect.yaml, as the README says."""
        self.background("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        self.wait_for(self.is_up, "the server", 300)
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

    def worker(self, **environment: str) -> subprocess.Popen:
        """A worker, with variables of its own."""
        self.environment.update(environment)
        return self.background("worker", "worker", "start", "--pool", "wsis", "--name", "tests")

    def command(self, *arguments: str) -> str:
        """A `prefect` command in the repository, as the README prints it; its output."""
        done = self._command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            capture_output=True,
            text=True,
            env={**self.environment, "COLUMNS": "400"},
            cwd=REPOSITORY,
            timeout=300,
        )

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def start_flow_run(self, deployment: str, **parameters: object) -> str:
        """Id of a new flow run."""
        text = self.command("deployment", "run", deployment, *_flat(parameters))
        found = re.search(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", text)
        assert found, text
        return found.group()

    def watch_failing(self, deployment: str, **parameters: object) -> str:
        """What `--watch` prints of a flow run that fails."""
        done = self._command("deployment", "run", deployment, *_flat(parameters), "--watch")
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        (run,) = self.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
        return run

    def ended(self, flow_run_id: str, seconds: float = 300) -> dict[str, Any]:
        """Wait for a flow run's last state."""
        terminal = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        self.wait_for(lambda: self.flow_run(flow_run_id)["state_type"] in terminal, "the flow run", seconds)
        return self.flow_run(flow_run_id)

    def finished(self, flow_run_id: str, seconds: float = 300) -> dict[str, Any]:
        """Wait for a flow run's last state, which must be COMPLETED."""
        run = self.ended(flow_run_id, seconds)
        assert run["state_type"] == "COMPLETED", self.logs()
        return run

    def task_names(self, flow_run_id: str) -> dict[str, str]:
        """Name of each task run of a flow run -> its state, as far as the server knows them."""
        return {t["name"]: t["state_name"] for t in self.task_runs(flow_run_id)}

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        """The task runs of a flow run, as far as the server knows them."""
        return self.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})

    def all_completed(self, flow_run_id: str, names: Iterable[str], reused: Iterable[str] = ()) -> None:
        """These are the task runs of a flow run. They reach the server as events, some of them after its end."""
        expected = {**dict.fromkeys(names, "Completed"), **dict.fromkeys(reused, "Cached")}
        end = time.monotonic() + 60
        while self.task_names(flow_run_id) != expected and time.monotonic() < end:
            time.sleep(0.1)
        assert self.task_names(flow_run_id) == expected

    def log_lines(self, flow_run_id: str) -> list[dict[str, Any]]:
        """With level and message, in order."""
        body = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_ASC"}
        return self.post("/logs/filter", body)

    def messages(self, flow_run_id: str) -> list[str]:
        return [line["message"] for line in self.log_lines(flow_run_id)]

    def artifacts(self, kind: str) -> dict[str, Any]:
        """Key -> data of the latest artifacts of a type."""
        found = self.post("/artifacts/latest/filter", {"artifacts": {"type": {"any_": [kind]}}})
        return {a["key"]: a["data"] for a in found}

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s for {what}\n{self.logs()}"
            time.sleep(0.1)

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


def _flat(parameters: Mapping[str, object]) -> list[str]:
    return [x for k, v in parameters.items() for x in ("--param", f"{k}={v}")]
