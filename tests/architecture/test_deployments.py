"""prefect.yaml: made from the plan; every entrypoint is importable and takes its parameters."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
DEPLOYMENTS = {d["name"]: d for d in PROJECT["deployments"]}
FLAT = (str, int, float, bool, type(None))


def flow_of(deployment):
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_names_are_unique_and_the_pool_is_one():
    assert len(DEPLOYMENTS) == len(PROJECT["deployments"])
    assert {d["work_pool"]["name"] for d in DEPLOYMENTS.values()} == {"wsis"}
    assert "full-training" in DEPLOYMENTS


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_entrypoint_is_a_module_path_of_the_flow(name):
    from prefect import Flow

    deployment = DEPLOYMENTS[name]
    assert re.fullmatch(r"flows(\.\w+)+", deployment["entrypoint"])
    flow = flow_of(deployment)
    assert isinstance(flow, Flow)
    assert flow.name == "wsis"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_parameters_are_flat_and_fit(name):
    deployment = DEPLOYMENTS[name]
    flow = flow_of(deployment)
    inspect.signature(flow.fn).bind(**deployment["parameters"])  # TypeError: unknown or missing parameter
    flow.validate_parameters(deployment["parameters"])
    assert all(isinstance(v, FLAT) for v in deployment["parameters"].values())


def test_the_committed_file_is_what_the_plan_gives():
    """One deployment a stage, so that a stage of the plan needs no word in prefect.yaml."""
    from flows.deployments import prefect_yaml
    from wsis.runs.plan import every_stage

    assert (REPOSITORY / "prefect.yaml").read_text() == prefect_yaml(), (
        "python -m flows.deployments > prefect.yaml"
    )
    assert {s.name.replace("_", "-"): s.name for s in every_stage()} == {
        n: d["parameters"]["stage"] for n, d in DEPLOYMENTS.items() if "stage" in d["parameters"]
    }


def test_no_folder_of_the_machine_that_deploys_is_needed():
    """Prefect names that folder where a project says nothing, and other machines do not have it."""
    assert PROJECT["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
    pools = [(deployment["work_pool"], "pull" in deployment) for deployment in DEPLOYMENTS.values()]
    assert all(pool["job_variables"] == {"working_dir": "."} and not own for pool, own in pools)


def test_config_of_the_default_run_ships():
    from wsis.runs.shipped import shipped_configs

    assert DEPLOYMENTS["full-training"]["parameters"]["config"] in shipped_configs()
