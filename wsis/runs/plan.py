"""The plan of a run: which stage reads which artefacts, in the order of the method (docs/method.md, outer loop)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from data_contracts.errors import ArtefactMissingError, ConfigError, did_you_mean
from data_contracts.runs import DataFacts
from stages.conditional import conditional, pseudo_labels
from stages.data import boxes, corrections, dataset, ground_truth
from stages.evaluation import evaluation
from stages.prediction import ceiling, prediction, predictions
from stages.prm import prm_baseline, prm_classifier, prm_seeds
from stages.proposals import corrected_proposals, proposals
from wsis.engine.stage import Stage, StageConfig
from wsis.readers.shared.records import Role
from wsis.runs.config import RunConfig, load_config

LABEL_FORMS: dict[str, Stage | None] = {"image": None, "box": boxes.STAGE}
"""`data.supervision` -> the stage that reads what the seeds take beside image-level labels."""


CORRECTED = "corrected_proposals"
"""Key of the proposals with the masks that a person has given (`data.masks`)."""


@dataclass(frozen=True)
class Node:
    """One execution of a stage within a run.

    Attributes:
        name: `prm_seeds`, `predictions.val`, `evaluation.prediction`.
        inputs: the stage's input name -> key of the node that makes it.
        masks_of: parts of the data, of which one must have masks to compare with; else the node is left out.
        images_of: parts of the data that must have images; else the node is left out.
    """

    name: str
    stage: Stage
    config: StageConfig
    inputs: Mapping[str, str] = field(default_factory=dict)
    outer_iteration: int | None = None
    masks_of: tuple[Role, ...] = ()
    images_of: tuple[Role, ...] = ()

    @property
    def key(self) -> str:
        """Name in the run record, `prediction@2`."""
        return self.name if self.outer_iteration is None else f"{self.name}@{self.outer_iteration}"


def plan(config: RunConfig, data: DataFacts | None = None) -> list[Node]:
    """All nodes of a run in an order in which every input comes before its reader.

    Args:
        data: what is known of the data: a part without masks is not evaluated. None: masks on every part.
    """
    if data is not None and data.format is not None:  # found before: the data may not be at hand now
        found = config.data.model_copy(update={"format": data.format})
        config = config.model_copy(update={"data": found})
    nodes = list(_before_the_loop(config))
    for t in range(1, config.outer_iterations + 1):
        nodes += _iteration(config, t)
    if config.ceiling:
        nodes += _ceiling(config)
    scored = {*scored_parts(config, data)}
    there = {role for role in config.data.splits() if data is None or data.images.get(role, 0)}
    return [n for n in nodes if (not n.masks_of or scored & {*n.masks_of}) and {*n.images_of} <= there]


def every_stage() -> list[Stage]:
    """The stages that a plan can have, in the order of the method: those of every label form and of the ceiling too."""
    forms = reversed(LABEL_FORMS)
    every = ["ceiling=true", "data.masks=corrected.json"]
    fullest = [plan(load_config("demo", [f"data.supervision={form}", *every])) for form in forms]
    return list({node.stage.name: node.stage for nodes in fullest for node in nodes}.values())


def scored_parts(config: RunConfig, data: DataFacts | None) -> tuple[Role, ...]:
    """The parts of the data whose masks are compared with: none with `evaluate=false`."""
    if not config.evaluate:
        return ()
    return tuple(role for role in config.data.splits() if data is None or data.masks.get(role, 0))


def masks_line(config: RunConfig, data: DataFacts) -> str | None:
    """What is not evaluated for want of masks, in one line; None where all is, or nothing shall be."""
    parts = [(role, data.images.get(role, 0), data.masks.get(role, 0)) for role in config.data.splits()]
    if not config.evaluate or all(masks == images for _, images, masks in parts):
        return None
    counted = ", ".join(f"{role} {masks} of {images}" for role, images, masks in parts)
    scored = scored_parts(config, data)
    if not scored:
        return f"true masks to measure with: none ({counted}); nothing is scored, training is the same"
    what = {"train": "pseudo labels", "val": "val predictions"}
    said = [f"{what[role]} are{'' if role in scored else ' not'} scored" for role, _, _ in parts]
    some = ", on the images that have masks" if any(0 < masks < images for _, images, masks in parts) else ""
    return f"true masks to measure with: {counted}; {', '.join(said)}{some}"


def check_ceiling(config: RunConfig, data: DataFacts) -> None:
    """The ceiling trains on true masks, and is measured by them.

    Raises:
        ConfigError: it is asked for and a part has no masks.
    """
    bare = [role for role in ("train", "val") if not data.masks.get(role, 0)]
    if config.ceiling and bare:
        raise ConfigError(
            f"ceiling: expected masks on train and val because the ceiling is trained on true masks, got none on "
            f"{' and '.join(bare)}; use --set ceiling=false"
        )


def _before_the_loop(config: RunConfig) -> Iterator[Node]:
    data = {"dataset": "dataset"}
    yield Node("dataset", dataset.STAGE, config.data)
    form = LABEL_FORMS[config.data.supervision]
    if form is not None:
        yield Node(form.name, form, config.data)
    yield Node("ground_truth", ground_truth.STAGE, config.data, masks_of=("train", "val"))
    yield Node("prm_classifier", prm_classifier.STAGE, config.prm_classifier, data)
    labels = {} if form is None else {form.name: form.name}
    yield Node("proposals", proposals.STAGE, proposals.Config(**dict(config.proposals)), {**data, **labels})
    if config.data.masks:
        yield Node("corrections", corrections.STAGE, corrections.Config(files=config.data.masks), data)
        yield Node(
            CORRECTED,
            corrected_proposals.STAGE,
            corrected_proposals.Config(),
            {"proposals": "proposals", "corrections": "corrections"},
        )
    trained = {**data, "prm_classifier": "prm_classifier"}
    yield Node("prm_seeds", prm_seeds.STAGE, config.prm_seeds, {**trained, **labels})
    proposed = {"proposals": "proposals"}
    yield Node(
        "prm_baseline",
        prm_baseline.STAGE,
        prm_baseline.Config(**dict(config.prm_baseline), **dict(config.prm_seeds)),
        {**trained, **proposed},
        masks_of=("val",),
    )
    yield Node(
        "evaluation.prm_baseline",
        evaluation.STAGE,
        config.evaluation,
        {"ground_truth": "ground_truth", "prm_baseline": "prm_baseline", **proposed},
        masks_of=("val",),
    )


def _iteration(config: RunConfig, t: int) -> Iterator[Node]:
    given = {"corrections": "corrections"} if config.data.masks and t > config.data.masks_after else {}
    proposed = {"proposals": CORRECTED if given else "proposals"}
    data = {"dataset": "dataset", **proposed}
    seeds = {**data, "prm_seeds": "prm_seeds", **given}
    detected = {"train_predictions": f"predictions.train@{t - 1}"} if t > 1 else {}
    if t > 1:
        yield Node(
            "predictions.train",
            predictions.STAGE,
            predictions.Config(**dict(config.predictions), split="train"),
            {"dataset": "dataset", "prediction": f"prediction@{t - 1}"},
            t - 1,
        )
    learned = {"previous": f"conditional@{t - 1}"} if t > 1 else {}
    yield Node("conditional", conditional.STAGE, config.conditional, {**seeds, **detected, **learned}, t)
    yield Node(
        "pseudo_labels",
        pseudo_labels.STAGE,
        config.pseudo_labels,
        {**seeds, **detected, "conditional": f"conditional@{t}"},
        t,
    )
    yield Node(
        "evaluation.pseudo_labels",
        evaluation.STAGE,
        config.evaluation,
        {"ground_truth": "ground_truth", "pseudo_labels": f"pseudo_labels@{t}", **proposed, **given},
        t,
        masks_of=("train",),
    )
    before = {"previous": f"prediction@{t - 1}"} if t > 1 else {}
    yield Node(
        "prediction",
        prediction.STAGE,
        config.prediction_by_gamma(),
        {**data, "pseudo_labels": f"pseudo_labels@{t}", **before},
        t,
    )
    yield Node(
        "predictions.val",
        predictions.STAGE,
        predictions.Config(**dict(config.predictions)),
        {"dataset": "dataset", "prediction": f"prediction@{t}"},
        t,
        images_of=("val",),
    )
    yield Node(
        "evaluation.prediction",
        evaluation.STAGE,
        config.evaluation,
        {"ground_truth": "ground_truth", "predictions": f"predictions.val@{t}"},
        t,
        masks_of=("val",),
    )


def _ceiling(config: RunConfig) -> Iterator[Node]:
    """Full supervision, beside the method: nothing else of a run reads these nodes."""
    yield Node(
        "ceiling",
        ceiling.STAGE,
        ceiling.Config.like(config.prediction, config.outer_iterations),
        {"dataset": "dataset", "ground_truth": "ground_truth"},
    )
    yield Node(
        "predictions.ceiling",
        predictions.STAGE,
        predictions.Config(**dict(config.predictions)),
        {"dataset": "dataset", "prediction": "ceiling"},
    )
    yield Node(
        "evaluation.ceiling",
        evaluation.STAGE,
        config.evaluation,
        {"ground_truth": "ground_truth", "predictions": "predictions.ceiling"},
    )


def select(nodes: list[Node], name: str, iteration: int | None) -> list[Node]:
    """The nodes meant by `wsis stage NAME --iteration T`: by node or stage name, of one or every iteration.

    Raises:
        ConfigError: no such stage (names those there are) or iteration.
    """
    wanted = name.replace("-", "_")
    named = [n for n in nodes if wanted in (n.name, n.stage.name)]
    if not named:
        known = sorted({n.name for n in nodes} | {n.stage.name for n in nodes})
        raise ConfigError(f"stage {name!r}: expected one of {', '.join(known)}{did_you_mean(wanted, known)}")
    if iteration is None:
        return named
    found = [n for n in named if n.outer_iteration == iteration]
    if not found:
        there = sorted({n.outer_iteration for n in named if n.outer_iteration is not None})
        expected = f"--iteration in {there}" if there else "no --iteration (no outer loop)"
        raise ConfigError(f"stage {name}: expected {expected}, got {iteration}")
    return found


def needed_for(nodes: list[Node], key: str) -> list[Node]:
    """The nodes that one of them is made from, with itself, and evaluations that need nothing more, in order.

    Raises:
        ConfigError: no such key in the plan; names the nearest.
    """
    made = {node.key: node for node in nodes}
    if key not in made:
        raise ConfigError(
            f"until: expected a stage of the plan as prm_seeds or pseudo_labels@1, got {key!r}{did_you_mean(key, made)}"
        )
    wanted, open_keys = {"ground_truth"} & made.keys(), [key]
    while open_keys:
        one = open_keys.pop()
        if one not in wanted:
            wanted.add(one)
            open_keys += made[one].inputs.values()
    scored = {n.key for n in nodes if n.stage is evaluation.STAGE and wanted.issuperset(n.inputs.values())}
    return [node for node in nodes if node.key in wanted | scored]


def missing_inputs(node: Node, has: Callable[[str], bool], run_name: str) -> None:
    """Check that every input of a node is there in the run of this name.

    Raises:
        ArtefactMissingError: names the first missing input and the command that makes it.
    """
    for key in node.inputs.values():
        if not has(key):
            stage, _, t = key.partition("@")
            command = f"wsis stage {stage} --run {run_name}" + (f" --iteration {t}" if t else "")
            raise ArtefactMissingError(f"{node.key} needs {key}, which this run has not computed: {command}")
