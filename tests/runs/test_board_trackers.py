"""What MLflow and W&B show of a run: losses, scores and pictures, once each, whoever goes on with it."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_contracts.errors import ConfigError
from data_contracts.runs import load_run
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, TINY, Result, computed, done, fingerprints, wsis
from wsis.engine.stage import Outcome
from wsis.engine.training import CURVE_NAME
from wsis.reporting.tables.results import results_of
from wsis.runs import board_trackers
from wsis.runs.board import Board
from wsis.runs.board_backends import Shown
from wsis.runs.config import load_config
from wsis.runs.plan import plan
from wsis.views.run import Run

pytestmark = [
    pytest.mark.timeout(300),
    # SQLAlchemy on MLflow's tables; on W&B's schemas pydantic says nothing
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]
PICTURES = {("predictions.train", 1)} | {
    (name, t) for name in ("pseudo_labels", "predictions.val") for t in (1, 2)
}


def shown(store: Path, setting: str) -> Result:
    """The finished run once more: it reuses everything."""
    return done(wsis("run", TINY, "--store", store, "--set", setting))


def begun(store: Path, setting: str) -> None:
    """As a run that ended after half of its nodes."""
    run, said = Run.load(Store(store), RUN), []
    config = load_config(str(TINY), [setting])
    nodes = plan(config, run.record.data)
    assert nodes[-1].key in run.record.entries
    with Board(run, config, said.append, said.append) as board:
        for node in nodes[: len(nodes) // 2]:
            board(node, Outcome(run.artefact(node.key), True, 0.0, 0.0))
    assert len(said) == 1 and f"run '{RUN}'" in said[0]


def expected(store: Path) -> set[tuple[str, int, float]]:
    """(name, step, value) of every loss and score."""
    run = Run.load(Store(store), RUN)
    found = {
        (f"{row['kind']}/mAP {threshold}", row["outer_iteration"] or 0, score)
        for row in results_of(run)
        for threshold, score in row["mAP"].items()
    }
    curves = {
        key: json.loads(run.artefact(key).file(CURVE_NAME).read_text())
        for key in run.record.entries
        if CURVE_NAME in run.artefact(key).manifest.files
    }
    assert {"prm_classifier", "conditional@2", "prediction@1"} <= set(curves)
    losses = {
        (f"{key.replace('@', '-')}/{name}", entry["step"], value)
        for key, curve in curves.items()
        for entry in curve
        for name, value in entry.items()
        if name != "step"
    }
    assert len({name for name, _, _ in losses if name.endswith("/loss")}) == 5
    return found | losses


# -- MLflow --------------------------------------------------------------------------------------------------
def test_an_mlflow_run_has_it_all_once(own_store: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs MLflow's client: pip install 'wsis[mlflow]'")
    folder, before = tmp_path / "mlflow", fingerprints(own_store)
    begun(own_store, f"execution.mlflow={folder}")
    for _ in range(2):
        said = shown(own_store, f"execution.mlflow={folder}").err
        assert said.count("execution.mlflow: run 'tiny' of experiment 'wsis' at ") == 1
        assert "warning" not in said
    assert fingerprints(own_store) == before and not computed(own_store)

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("wsis").experiment_id])
    assert run.info.run_name == RUN and run.info.status == "FINISHED"
    assert run.data.params["conditional.k"] == str(load_config(str(TINY)).conditional.k)
    assert not [key for key in run.data.params if key.startswith("execution.") or key == "data.root"]
    assert run.data.tags["wsis.prediction-2"] == before["prediction@2"].split("/")[1]
    points = [
        (name, one.step, one.value)
        for name in run.data.metrics
        for one in client.get_metric_history(run.info.run_id, name)
    ]
    assert len(points) == len(set(points)) and expected(own_store) <= set(points)

    files = [Path(file.path) for file in client.list_artifacts(run.info.run_id, "images")]
    pictures = [file for file in files if file.suffix == ".png"]
    steps = [(name, int(step)) for name, _, step, *_ in (file.name.split("+") for file in pictures)]
    assert sorted(steps) == sorted(PICTURES)
    for file in pictures:
        with Image.open(client.download_artifacts(run.info.run_id, str(file), tmp_path)) as picture:
            assert picture.height > 4 * 200 and len(picture.getcolors(1 << 24) or ()) > 1000


def test_a_server_that_is_not_there_is_one_warning_of_mlflow(own_store: Path) -> None:
    pytest.importorskip("mlflow", reason="needs MLflow's client: pip install 'wsis[mlflow]'")
    said = shown(own_store, "execution.mlflow=http://127.0.0.1:9").err
    assert said.count("warning: execution.mlflow: ") == 1 and "Traceback" not in said
    assert "prm_classifier and what comes after it is not shown: " in said and "port=9" in said
    assert load_run(Store(own_store), RUN).status == "completed"


# -- W&B -----------------------------------------------------------------------------------------------------
def records(file: Path) -> Iterator[Any]:
    """W&B's records of a run that is offline: a log of LevelDB, blocks of 32 KiB, after seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    raw, at, part = file.read_bytes(), 7, b""
    while at + 7 <= len(raw):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", raw, at)
        part, at = part + raw[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(part)
            yield record
            part = b""


def history(file: Path) -> Iterator[dict[str, Any]]:
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            rows = {(one.key or one.nested_key[0]): one.value_json for one in record.history.item}
            yield {name: json.loads(value) for name, value in rows.items() if not name.startswith("_")}


@pytest.fixture
def wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of W&B, which sends nothing; what it knows of the environment is forgotten before and after."""
    wandb = pytest.importorskip("wandb", reason="needs W&B: pip install 'wsis[wandb]'")
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield tmp_path / "wandb"
    wandb.teardown()


def test_a_wandb_run_has_it_all_once(own_store: Path, wandb_offline: Path) -> None:
    before = fingerprints(own_store)
    begun(own_store, "execution.wandb=birds")
    said = shown(own_store, "execution.wandb=birds").err
    assert said.count("execution.wandb: run 'tiny' of project 'birds' at ") == 1
    again = shown(own_store, "execution.wandb=birds").err  # there is nothing new: no run of W&B is begun
    assert "execution.wandb" not in again and "warning" not in said + again
    assert fingerprints(own_store) == before and not computed(own_store)

    files = sorted(wandb_offline.glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and len({file.name for file in files}) == 1, "one id"
    rows = [row for file in files for row in history(file)]
    points = [
        (
            name,
            row["outer_iteration"] if "outer_iteration" in row else row[f"{name.split('/')[0]}/step"],
            value,
        )
        for row in rows
        for name, value in row.items()
        if name != "outer_iteration" and not name.endswith("/step") and not isinstance(value, dict)
    ]
    assert len(points) == len(set(points)) and expected(own_store) <= set(points)
    pictures = [
        (name, row["outer_iteration"])
        for row in rows
        for name in row
        if name in {name for name, _ in PICTURES}
    ]
    assert sorted(pictures) == sorted(PICTURES)
    images = list(wandb_offline.glob("offline-run-*/files/media/images/*.jpg"))
    assert len(images) == len(PICTURES)
    by = {
        record.metric.name or record.metric.glob_name: record.metric.step_metric
        for file in files
        for record in records(file)
        if record.WhichOneof("record_type") == "metric"
    }
    assert by["prediction-1/*"] == "prediction-1/step" and by[r"predictions\.val"] == "outer_iteration"


def test_a_server_that_is_not_there_is_one_warning_of_wandb(
    own_store: Path, wandb_offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_trackers, "_START_SECONDS", 1.0)
    server = {"MODE": "online", "API_KEY": "a" * 40, "BASE_URL": "http://127.0.0.1:9"}
    for name, value in server.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    said = shown(own_store, "execution.wandb=birds").err
    assert said.count("warning: execution.wandb: ") == 1 and "Traceback" not in said
    assert "prm_classifier and what comes after it is not shown: " in said and "127.0.0.1:9" in said
    assert load_run(Store(own_store), RUN).status == "completed"


def test_without_a_key_of_wandb_nobody_is_asked_for_one(
    wandb_offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name in ("HOME", "NETRC", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(wandb_offline.parent / "nothing"))
    said: list[str] = []
    place = board_trackers.Wandb("birds", Shown.of("tiny", {}, {}), said.append)
    with pytest.raises(ConfigError, match="a key of W&B, got none: use `wandb login`"):
        place.lacks("prediction@1", "0" * 12)
    assert not said
