"""docs/howto/cluster: what the page tells users to start is valid, and fits the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from wsis.runs.config import load_config

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER = REPOSITORY / "docs" / "howto" / "cluster"
SLURM, KUBERNETES = CLUSTER / "slurm.sbatch", CLUSTER / "kubernetes.yaml"


def commands():
    """Every command of the manifests, by the name of its container."""
    found = {}
    for document in yaml.safe_load_all(KUBERNETES.read_text()):
        if "template" in document["spec"]:
            for container in document["spec"]["template"]["spec"]["containers"]:
                found[container["name"]] = container.get("command") or ["wsis", *container["args"]]
    return found


def test_the_manifests_are_valid():
    program = Path(sys.executable).with_name("kubernetes-validate")
    if not program.exists():
        pytest.skip("kubernetes-validate is not installed")
    done = subprocess.run([str(program), "--strict", str(KUBERNETES)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.count("passed") + done.stdout.count("passed") == 4, (
        done.stdout + done.stderr
    )


def test_the_parts_of_the_manifests_find_one_another():
    service, *deployments, job = yaml.safe_load_all(KUBERNETES.read_text())
    for document in deployments:
        assert (
            document["spec"]["selector"]["matchLabels"] == document["spec"]["template"]["metadata"]["labels"]
        )
    assert service["spec"]["selector"] == deployments[0]["spec"]["selector"]["matchLabels"]
    assert service["metadata"]["name"] == "wsis-scheduler" and service["spec"]["ports"] == [{"port": 8786}]
    address = "tcp://wsis-scheduler:8786"
    run = commands()["run"]
    assert address in commands()["worker"] and run[:3] == ["wsis", "run", "voc_lite"]
    changes = [run[i + 1] for i, part in enumerate(run) if part == "--set"]
    assert load_config(run[2], changes).execution.cluster == address
    assert job["kind"] == "Job"


def test_the_job_of_slurm_is_a_script():
    done = subprocess.run(["bash", "-n", str(SLURM)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = SLURM.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert lines[0] == "#!/bin/bash" and options and max(options) < first  # sbatch reads none after a command


@pytest.mark.parametrize("kind", ["scheduler", "worker"])
def test_dask_knows_the_options_of_both_files(kind):
    slurm = SLURM.read_text().replace("\\\n", " ")
    used = [" ".join(commands()[kind]), *re.findall(rf"dask {kind} .*", slurm)]
    help_of = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--help"]
    known = re.findall(r"--[a-z-]+", subprocess.run(help_of, capture_output=True, text=True).stdout)
    options = [set(re.findall(r"(?<= )--[a-z-]+", line)) for line in used]
    assert len(used) == 2 and all(options) and not set().union(*options) - set(known)
