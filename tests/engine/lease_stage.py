"""A training of a few seconds, and a command that makes its artefact in a URL store with a short lease."""

import sys
import time

import torch

from data_contracts import leases
from data_contracts.store import Store
from wsis.engine.optimisation import descend
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, Stage, StageConfig, execute, execution_only
from wsis.engine.training import WEIGHTS_NAME, finish, run_steps

LEASE_SECONDS = 3.0


class Config(StageConfig):
    """Length."""

    steps: int = 60
    pause: float = execution_only(0.05)


def run(inputs, config, context):
    """Weights that every step changes."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(index):
        time.sleep(config.pause)
        loss = (model(torch.randn(4, 4)) ** 2).mean()
        descend(loss, optimizer)
        return {"loss": loss.item()}

    run_steps(context, {"model": model, "optimizer": optimizer}, config.steps, step)
    finish(context, model.state_dict())


STAGE = Stage("toy_training", 1, Config, run, (), "weights", threaded=True, seeded=False)


def main() -> None:
    """Arguments: the store's URL, seconds a step takes here."""
    leases.LEASE_SECONDS = LEASE_SECONDS
    execution = Execution(device="cpu", threads=1, checkpoint_seconds=0.1)
    done = execute(
        STAGE, Config(pause=float(sys.argv[2])), {}, Store(sys.argv[1]), 0, None, execution, Progress()
    )
    print(done.reused, done.artefact.manifest.files[WEIGHTS_NAME].sha256, flush=True)


if __name__ == "__main__":
    main()
