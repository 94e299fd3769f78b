"""The conditional network of one outer iteration, trained by Algorithm 2 (eq. 22-26).

Outer iteration 1 pretrains on the seeds; later ones start from the previous weights and use the prediction network's
detections on the training images as y_p. One trainer serves both. A few images are held back to choose the weights
that are kept: other ones in every outer iteration, so that none is never learned from, and all get pseudo labels.
"""

from collections.abc import Mapping
from functools import partial

from stages.conditional.examples import Examples
from stages.conditional.training import Config, Trainer
from wsis.engine.batches import Batches, processes_ahead
from wsis.engine.group import rank, size
from wsis.engine.shared_work import check_processes, run_shared
from wsis.engine.stage import Artefact, Execution, Stage, StageContext
from wsis.engine.training import WEIGHTS_NAME, finish, load_weights, run_steps, seed_everything
from wsis.engine.worker_processes import Patience
from wsis.errors import InputError
from wsis.method.conditional.architectures import build_network, save_activations
from wsis.method.conditional.network import ConditionalNetwork
from wsis.method.placement import placed
from wsis.views.dataset import class_names

NAME = "conditional"
ALGORITHM_VERSION = 10
# four problems take well under a second, the first ones some more: a process starts
_PATIENCE = Patience("problems of training images", 600.0, "--set execution.workers=1")


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train the conditional network of one outer iteration.

    Raises:
        InputError: there is no training image.
        NonFiniteError: features, scores or the surrogate became NaN or infinite; names stage, step and image.
        WorkerDiedError: one of several processes was killed.
    """
    run_shared(partial(_train, inputs, config), context, config.processes)


def _train(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train in this process, alone or as one of a group."""
    seed_everything(context.seed, context.outer_iteration or 0)
    previous = inputs.get("previous")
    classes = len(class_names(inputs["dataset"]))
    network = placed(_build(config, classes, load_pretrained=previous is None), context.device)
    if previous is not None:
        network.load_state_dict(load_weights(previous.file(WEIGHTS_NAME)))
    examples = Examples(inputs, config, network.extractor.stride)
    if not examples.ids:
        raise InputError(f"{NAME}: expected at least one training image, got none")
    trainer = Trainer(network, examples, config, context)
    problems = min(len(trainer.train_ids), trainer.steps * config.batch_size)
    workers = processes_ahead(context.execution, problems, context.device.type == "cpu", size())
    with Batches(trainer.make, trainer.steps, workers, _PATIENCE) as trainer.batches:
        curve = run_steps(context, trainer.state(), trainer.steps, trainer.step, best=trainer.best_weights())
        waited = trainer.batches.wait_counts()
    if rank() > 0:
        return
    context.counts.update(
        waited,
        images=len(trainer.train_ids),
        held_back_images=len(trainer.held_back_ids),
        targets="seeds" if examples.detections is None else "detections",
        first=curve[0],
        last=curve[-1],
    )
    finish(context, network.state_dict())


def _build(config: Config, num_classes: int, load_pretrained: bool = True) -> ConditionalNetwork:
    network = build_network(config, num_classes, load_pretrained=load_pretrained)
    if config.checkpointing:
        save_activations(network)
    return network


def _check(config: Config, execution: Execution) -> None:
    """Fail before hours are spent: a wrong stride, absent weights, settings that exclude each other, too few GPUs."""
    check_processes(config, execution, NAME)
    _build(config, 1)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "proposals", "prm_seeds"),
    optional=("train_predictions", "previous", "corrections"),
    contract="weights",
    check=_check,
    threaded=True,
    prepared_ahead=True,
    on_device=True,
    less_gpu_memory="--set conditional.checkpointing=true (equal results) or, with --replace, a smaller "
    "conditional.batch_size",
)
