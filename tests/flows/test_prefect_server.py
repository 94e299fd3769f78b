"""A real Prefect server and process worker: deployments, artifacts, and a worker killed midway."""

import base64
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from data_contracts.runs import RunRecord
from tests.boundary_folder import write_boundaries
from tests.flows.prefect_services import REPOSITORY, Prefect
from tests.runs.tiny_run import RUN, TINY, computed, fingerprints, record_of, wsis
from wsis.method.proposals.contours.weights import load_network
from wsis.runs.config import stored_config
from wsis.runs.plan import plan
from wsis.views.run import Run

pytestmark = [pytest.mark.prefect, pytest.mark.timeout(600)]
DEPLOYMENTS = [d["name"] for d in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]]


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server with the work pool and all deployments of prefect.yaml."""
    running = Prefect(tmp_path_factory.mktemp("prefect"), OMP_NUM_THREADS="1")
    try:
        running.start()
        yield running
    finally:
        running.close()


# Worker processes as a run has them by default: the file of the tiny run does without, which is quicker.
WORKERS = ("prediction.data_workers=1", "execution.workers=2", "execution.cores=2")


def parameters(store: Path, *overrides: str, run_name: str = RUN) -> dict[str, object]:
    """Flat parameters of a flow run."""
    settings = [*WORKERS, "execution.checkpoint_seconds=0.002", *overrides]
    return {"config": TINY, "run_name": run_name, "store": store, "overrides": json.dumps(settings)}


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
    reused = {key for key in nodes if record.entries[key].reused}
    # An evaluation may still have been at work beside it: only what the killed node waits for is sure to be there.
    assert ancestors(record, "conditional@1") <= reused <= {*nodes[: nodes.index("conditional@1")]}
    assert any(re.search(r"conditional@1: resumes at step \d+", m) for m in prefect.messages(second))
    assert fingerprints(store) == fingerprints(tiny_store)
    prefect.all_completed(second, nodes, reused=[key for key in nodes if key in reused])


def ancestors(record: RunRecord, key: str) -> set[str]:
    """The nodes that this one waits for."""
    inputs = {node.key: {*node.inputs.values()} for node in plan(stored_config(record))}
    found = set(inputs[key])
    while more := {above for one in found for above in inputs[one]} - found:
        found |= more
    return found


def test_the_tasks_are_the_graph_of_the_plan(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    """Edges from the inputs of each node, stages as names of tasks, tags that limits of concurrency can name."""
    runs = {run["name"]: run for run in prefect.task_runs(killed[2])}
    key_of = {run["id"]: name for name, run in runs.items()}
    nodes = {node.key: node for node in plan(stored_config(record_of(killed[0])))}
    assert runs.keys() == nodes.keys()
    for key, node in nodes.items():
        edges = {key_of[one["id"]] for one in runs[key]["task_inputs"].get("wait_for", [])}
        assert edges == {*node.inputs.values()}, key
        assert node.stage.name in runs[key]["tags"]
        assert ("gpu" in runs[key]["tags"]) == node.stage.on_device


def test_stages_run_side_by_side(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    at_work = [(run["name"], run["start_time"], run["end_time"]) for run in prefect.task_runs(killed[2])]
    beside = {
        frozenset((one, other))
        for one, begun, ended in at_work
        for other, begun_too, _ in at_work
        if one != other and begun <= begun_too < ended
    }
    assert any("evaluation" in name for pair in beside for name in pair), beside


def test_the_results_are_a_table_artifact(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    from data_contracts.store import Store
    from wsis.reporting.tables.results import results_of

    (data,) = [v for k, v in prefect.artifacts("table").items() if k == "wsis-tiny-results"]
    rows = json.loads(data)
    expected = results_of(Run(Store(killed[0]), record_of(killed[0])))
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


def test_how_far_the_run_is_is_one_artifact(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    progress = prefect.artifacts("progress")
    assert [key for key in progress if "tiny" in key] == ["wsis-tiny-progress"]
    assert float(progress["wsis-tiny-progress"]) == 100.0


def test_pictures_of_the_samples_are_there_before_training_goes_on(
    prefect: Prefect, killed: tuple[Path, str, str]
) -> None:
    body = {"artifacts": {"key": {"any_": ["wsis-tiny-samples"]}}, "sort": "CREATED_DESC"}
    second, first = prefect.post("/artifacts/filter", body)
    starts = {run["name"]: run["start_time"] for run in prefect.task_runs(killed[2])}
    for t, found in ((1, first), (2, second)):
        assert f"pseudo_labels@{t}" in found["data"]
        assert found["created"] < starts[f"prediction@{t}"]
        assert_shows_four_images(found["data"])


def test_pictures_of_what_was_predicted(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    shown = prefect.artifacts("markdown")
    for split, t in (("train", 1), ("val", 2)):
        found = shown[f"wsis-tiny-predictions-{split}"]
        assert f"predictions.{split}@{t}" in found
        assert_shows_four_images(found)


def assert_shows_four_images(markdown: str) -> None:
    pictures = re.findall(r"\(data:image/jpeg;base64,([^)]+)\)", markdown)
    assert len(pictures) == 4
    for one in pictures:
        assert cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), 1).shape[1] > 300


def test_the_report_is_written_and_linked(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    link = prefect.artifacts("markdown")["wsis-tiny-report"]
    page = killed[0] / "reports" / RUN / "report.html"
    assert page.as_uri() in link and "mAP" in page.read_text()


@pytest.mark.slow
def test_another_run_reuses_what_is_there_and_computes_the_rest(
    prefect: Prefect, killed: tuple[Path, str, str], own_store: Path
) -> None:
    """Prefect neither keeps nor decides any of it: the artefacts were made by `wsis run`."""
    expected = fingerprints(own_store)
    shutil.rmtree(own_store / expected["predictions.val@1"])
    short = parameters(own_store, "outer_iterations=1", run_name="short")
    run = prefect.start_flow_run("wsis/full-training", **short, seed=0)
    prefect.finished(run)
    got = fingerprints(own_store, "short")
    assert got == {k: expected[k] for k in got}
    assert computed(own_store, "short") == {"predictions.val@1"}
    prefect.all_completed(run, got, reused={*got} - {"predictions.val@1"})
    assert len(json.loads(prefect.artifacts("table")["wsis-short-results"])) == 3


def test_a_wrong_parameter_fails_the_flow_run_and_says_why(
    prefect: Prefect, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    wrong = parameters(tmp_path / "store", "conditional.kk=1")
    run = prefect.start_flow_run("wsis/full-training", **wrong)
    assert prefect.ended(run)["state_type"] == "FAILED"
    assert (
        "conditional.kk: unknown key; did you mean 'conditional.k'?"
        in prefect.flow_run(run)["state"]["message"]
    )
    assert not (tmp_path / "store").exists()
    assert "Traceback" not in "\n".join(prefect.messages(run))


def test_results_lie_where_the_worker_was_started(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    """Not where the deployments were made, which another machine does not have, nor in a temporary folder."""
    run = prefect.start_flow_run("wsis/full-training", config="no_such_configuration")
    prefect.ended(run)

    def stores() -> list[str]:
        return [line for line in prefect.messages(run) if line.startswith("store: ")]

    prefect.wait_for(stores, "the flow run's log", 60)  # it reaches the server some seconds later
    assert stores()[0].startswith(f"store: {prefect.home / 'runs'} ")


def test_who_watches_a_run_that_fails_is_told_why(
    prefect: Prefect, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    """Prefect's command prints events and the name of the last state, never its message."""
    wrong = parameters(tmp_path / "store", "conditional.kk=1")
    shown = prefect.watch_failing("wsis/full-training", **wrong).splitlines()
    why = [line for line in shown if "wsis-error" in line]
    assert len(why) == 1 and "--set conditional.kk: unknown key; did you mean 'conditional.k'?" in why[0]
    assert shown[-1] == "Flow run finished in state 'Failed'."


def test_an_error_on_purpose_is_one_line_of_task_and_flow_run(
    prefect: Prefect, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    """The worker's own log included: a traceback is for bugs."""
    before = len((prefect.home / "worker.log").read_text())
    diverging = parameters(tmp_path / "store", "prm_classifier.learning_rate=1e30")
    run = prefect.start_flow_run("wsis/full-training", **diverging)
    state = prefect.ended(run)["state"]
    assert state["type"] == "FAILED"
    assert re.fullmatch(r"prm_classifier: 'loss' became (nan|inf) at step \d+", state["message"])
    record = record_of(tmp_path / "store")
    assert (record.status, record.error) == ("failed", f"NonFiniteError: {state['message']}")
    prefect.wait_for(
        lambda: prefect.task_names(run).get("prm_classifier") == "Failed", "the task's state", 60
    )
    log = (prefect.home / "worker.log").read_text()[before:]
    assert state["message"] in log
    assert "Traceback" not in log + "\n".join(prefect.messages(run))


@pytest.mark.slow
def test_a_cancelled_run_is_recorded_so_and_goes_on(
    prefect: Prefect, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    quick = ["outer_iterations=1", *(f"{x}=1" for x in ("conditional.pretrain_epochs", "conditional.epochs"))]
    endless = parameters(store, *quick, "prediction.steps=100000", "prediction.max_epochs=1e6")
    run = prefect.start_flow_run("wsis/full-training", **endless)
    prefect.wait_for(
        lambda: any("prediction@1: starts" in m for m in prefect.messages(run)), "the training", 300
    )
    prefect.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert prefect.ended(run)["state_type"] == "CANCELLED"
    assert record_of(store).status == "cancelled"
    not_begun = [line for line in prefect.log_lines(run) if "NotReady(" in line["message"]]
    assert not_begun and {line["level"] for line in not_begun} == {logging.INFO}
    assert re.search(rf"^{RUN} +cancelled ", wsis("runs", "--store", store).out, re.MULTILINE)
    shorter = parameters(store, *quick, "prediction.steps=2")
    again = prefect.start_flow_run("wsis/full-training", **shorter, replace="true")
    prefect.finished(again)
    record = record_of(store)
    nodes = list(record.entries)
    assert record.status == "completed"
    assert [key for key in nodes if record.entries[key].reused] == nodes[: nodes.index("prediction@1")]


def test_a_stage_runs_alone(prefect: Prefect, killed: tuple[Path, str, str]) -> None:
    store = killed[0]
    before = fingerprints(store)
    run = prefect.start_flow_run("wsis/prm-seeds", run_name=RUN, store=store, force="true")
    assert prefect.finished(run)["name"] == f"{RUN}-prm_seeds"
    prefect.all_completed(run, ["prm_seeds"])
    assert not record_of(store).entries["prm_seeds"].reused
    assert fingerprints(store) == before


@pytest.mark.slow
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
    prefect.all_completed(run, [], reused=fingerprints(own_store, "small-all-s0"))
    table = prefect.artifacts("markdown")["wsis-small-ablations"]
    assert "| image labels" in table and "all < all at 0.50, iteration 2: " in table


@pytest.mark.slow
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
