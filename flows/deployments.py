"""prefect.yaml, one deployment a stage of the plan: `python -m flows.deployments > prefect.yaml` writes it."""

import json
import sys

from wsis.engine.stage import Stage
from wsis.runs.plan import every_stage

_HEAD = """\
# Written by `python -m flows.deployments > prefect.yaml`, from the plan: edit flows/deployments.py.
# `prefect deploy --all` registers these on the work pool `wsis` (prefect work-pool create wsis --type process).
# Entrypoints are module paths: a worker needs the installed package, not this folder.
name: wsis
prefect-version: 3.8.8

# A run works in the folder where its worker was started (`working_dir` is "." there). Without the step, Prefect names
# the folder of `prefect deploy`, which other machines do not have; without `working_dir`, it is a temporary one.
pull:
  - prefect.deployments.steps.set_working_directory: { directory: . }

definitions:
  pool: &pool
    name: wsis
    work_queue_name: null
    job_variables: { working_dir: . }
  stage: &stage
    entrypoint: flows.run_stage.run_stage
    work_pool: *pool
  model: &model
    entrypoint: flows.train_model.train_model
    work_pool: *pool

deployments:
  - name: full-training
    description: All stages through the outer iterations; what is intact in the store is reused.
    entrypoint: flows.full_training.full_training
    work_pool: *pool
    parameters: { config: demo, run_name: demo }
  - name: ablations
    description: Every row of a results table, a run each; shared stages are computed once.
    entrypoint: flows.run_ablations.run_ablations
    work_pool: *pool
    parameters: { suite: voc_lite }
  - name: train-contours
    description: Train the contour network of the proposals on boundaries that people drew (BSDS500).
    <<: *model
    parameters: { data: bsds500 }
"""


def prefect_yaml() -> str:
    """The text of prefect.yaml."""
    return _HEAD + "".join(_deployment(stage) for stage in every_stage())


def _deployment(stage: Stage) -> str:
    return (
        f"  - name: {stage.name.replace('_', '-')}\n"
        f"    description: {json.dumps(_meaning(stage))}\n"
        "    <<: *stage\n"
        f"    parameters: {{ stage: {stage.name}, run_name: demo }}\n"
    )


def _meaning(stage: Stage) -> str:
    """The first paragraph of the stage's module, without the stage's name."""
    text = " ".join((sys.modules[stage.run.__module__].__doc__ or "").split("\n\n")[0].split())
    text = text.removeprefix(f"Stage `{stage.name}`: ")
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    print(prefect_yaml(), end="")
