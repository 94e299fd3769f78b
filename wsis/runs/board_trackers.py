"""A run in the trackers of experiments: a run of MLflow, a run of W&B.

MMEngine has backends for both, of which neither could be used: `MLflowVisBackend.add_image` and all of
`WandbVisBackend` drop the step, so that pictures of all outer iterations are one, and neither goes on with a run that
was begun. What they would add is one call of the package's own client, so that is what is called here.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from data_contracts.atomic import write_atomic
from data_contracts.errors import ConfigError
from wsis.runs.board_backends import Shown

if TYPE_CHECKING:  # optional extras
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from wandb import Run as WandbRun

_EXPERIMENT = "wsis"
_START_SECONDS = 30.0
_FINISH_SECONDS = 30.0
_FLUSH_SECONDS = 0.1  # W&B's own 15 s would be lost with a process that is killed
_MLFLOW_MANNERS = {  # its own way to be told; what the user has set stays. A request and its repetition end in 25 s
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # of one request to MLflow


class Mlflow:
    """A run of the experiment `wsis` (or MLFLOW_EXPERIMENT_NAME), found again by a tag of its identity.

    Args:
        place: address of a server or database, or a folder: the database mlflow.db and the pictures lie there.
        say: gets a line once it is open.
    """

    setting = "execution.mlflow"

    def __init__(self, place: str, run: Shown, say: Callable[[str], None]) -> None:
        self._place, self._shown, self._say = place, run, say
        self._metrics: list[tuple[str, float, int]] = []

    def lacks(self, key: str, fingerprint: str) -> bool:
        return self._run.data.tags.get(_tag(key)) != fingerprint

    def losses(self, key: str, curve: Sequence[Mapping[str, float]]) -> None:
        self._metrics += [
            (f"{_dashed(key)}/{name}", value, int(entry["step"]))
            for entry in curve
            for name, value in entry.items()
            if name != "step"
        ]

    def scores(self, values: Mapping[str, float], iteration: int) -> None:
        self._metrics += [(name, score, iteration) for name, score in values.items()]

    def picture(self, name: str, picture: NDArray[np.uint8], iteration: int) -> None:
        self._client.log_image(self._id, picture, key=name, step=iteration, synchronous=True)

    def done(self, key: str, fingerprint: str) -> None:
        """The last points and the tag that marks them as sent go in one request: a process that is killed between two
        requests would send the points again."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        points = [Metric(name, value, now, step) for name, value, step in self._metrics]
        self._metrics = []
        *before, last = _parts(points, _MOST_METRICS) or [[]]
        for some in before:
            self._client.log_batch(self._id, metrics=some, synchronous=True)
        tags = [RunTag(_tag(key), fingerprint)]
        self._client.log_batch(self._id, metrics=last, tags=tags, synchronous=True)

    def close(self, failed: bool) -> None:
        if "_run" in vars(self):
            self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    @property
    def _id(self) -> str:
        return self._run.info.run_id

    @cached_property
    def _client(self) -> "MlflowClient":
        for name, value in _MLFLOW_MANNERS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        if is_address(self._place):
            return MlflowClient(tracking_uri=self._place)
        folder = Path(self._place).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")

    @cached_property
    def _run(self) -> "MlflowRun":
        experiment = self._experiment()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        self._say(f"{self.setting}: run {self._shown.name!r} of experiment {name!r} at {self._place}")
        wanted = f"tags.`{_tag('run')}` = '{self._shown.identity}'"
        if found := self._client.search_runs([experiment], wanted, max_results=1):
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0]
        tags = {_tag("run"): self._shown.identity}
        made = self._client.create_run(experiment, run_name=self._shown.name, tags=tags)
        from mlflow.entities import Param

        settings = [Param(key, str(value)) for key, value in self._shown.settings.items()]
        for some in _parts(settings, _MOST_PARAMS):
            self._client.log_batch(made.info.run_id, params=some, synchronous=True)
        return made

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        if (there := self._client.get_experiment_by_name(name)) is not None:
            return cast(str, there.experiment_id)
        pictures = None if is_address(self._place) else str(Path(self._place).resolve() / "pictures")
        return cast(str, self._client.create_experiment(name, artifact_location=pictures))


class Wandb:
    """A run of a project, whose id is the run's identity. WANDB_MODE, WANDB_DIR and the like of W&B hold.

    What was shown is kept in the run's configuration at the server, and beside W&B's own files for runs that are
    offline: W&B itself adds to a run that goes on, whatever is there.
    """

    setting = "execution.wandb"

    def __init__(self, project: str, run: Shown, say: Callable[[str], None]) -> None:
        self._project, self._shown, self._say = project, run, say

    def lacks(self, key: str, fingerprint: str) -> bool:
        if self._sent.get(key) == fingerprint:  # without a run: nothing is new
            return False
        return self._run.config.get("artefacts", {}).get(key) != fingerprint

    def losses(self, key: str, curve: Sequence[Mapping[str, float]]) -> None:
        group = _dashed(key)
        self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")
        for entry in curve:
            self._run.log({f"{group}/{name}": value for name, value in entry.items()})

    def scores(self, values: Mapping[str, float], iteration: int) -> None:
        self._at(iteration, values)

    def picture(self, name: str, picture: NDArray[np.uint8], iteration: int) -> None:
        import wandb

        shown = wandb.Image(picture, file_type="jpg", caption=f"outer iteration {iteration}")
        self._at(iteration, {name: shown})

    def _at(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Plot values over the outer iteration. W&B's own step cannot be used: it only grows, and nodes of several
        iterations may end in any order."""
        for name in values:
            self._run.define_metric(name.replace(".", r"\."), step_metric="outer_iteration")
        self._run.log({"outer_iteration": iteration, **values})

    def done(self, key: str, fingerprint: str) -> None:
        self._sent[key] = fingerprint
        known = {**self._run.config.get("artefacts", {}), key: fingerprint}
        self._run.config.update({"artefacts": known}, allow_val_change=True)
        time.sleep(5 * _FLUSH_SECONDS)  # W&B must have written it before the list says so
        write_atomic(self._list, json.dumps(self._sent).encode())

    def close(self, failed: bool) -> None:
        if "_run" in vars(self):
            self._run.finish(exit_code=int(failed))

    @cached_property
    def _list(self) -> Path:
        # W&B reports errors to its makers, even from offline runs
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        return Path(wandb.setup().settings.wandb_dir) / f"wsis-{self._shown.identity}.json"

    @cached_property
    def _sent(self) -> dict[str, str]:
        """Key of a node -> fingerprint of what was sent from here."""
        return json.loads(self._list.read_text()) if self._list.exists() else {}

    @cached_property
    def _run(self) -> "WandbRun":
        import wandb

        offline = wandb.setup().settings.mode in ("offline", "dryrun", "disabled")
        if not offline and not wandb.login(prompt=False):  # `init` would ask at the terminal, and wait
            raise ConfigError("expected a key of W&B, got none: use `wandb login`, or WANDB_MODE=offline")
        entity, _, project = self._project.rpartition("/")
        run = wandb.init(
            entity=entity or None,
            project=project,
            id=self._shown.identity,
            name=self._shown.name,
            config={"settings": dict(self._shown.settings)},
            resume="allow",
            reinit="create_new",  # a run of the caller's own goes on beside it
            settings=wandb.Settings(
                console="off",  # what the program says stays here
                silent=True,
                init_timeout=_START_SECONDS,
                finish_timeout=_FINISH_SECONDS,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=_FLUSH_SECONDS,
            ),
        )
        where = Path(run.dir).parent if run.offline else run.url
        self._say(f"{self.setting}: run {self._shown.name!r} of project {self._project!r} at {where}")
        return run


def is_address(place: str) -> bool:
    """Whether a setting `execution.mlflow` is an address, `http://HOST:5000` or `databricks`, and no folder."""
    return place == "databricks" or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", place) is not None


def _parts(items: Sequence[Any], most: int) -> list[Sequence[Any]]:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _dashed(key: str) -> str:
    """`prediction-1`: MLflow's names have no @."""
    return key.replace("@", "-")


def _tag(name: str) -> str:
    return f"wsis.{_dashed(name)}"
