"""A plan looked at as a whole before its first stage: everything that one of its nodes would stumble over later."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import ConfigError, ContractError
from data_contracts.runs import DataFacts
from wsis.engine.machine import available_memory
from wsis.errors import WsisError
from wsis.readers.config import open_source
from wsis.readers.given_masks import read_given
from wsis.readers.learnability import images_of_class, rarely_lacking, spelt_alike
from wsis.readers.mask_targets import Target
from wsis.readers.shared.records import DatasetSource, Role
from wsis.runs.config import RunConfig
from wsis.runs.data_at_hand import is_at_hand
from wsis.runs.plan import Node, check_ceiling

_LEAST_MEMORY = 400e6  # bytes: torch and MMDetection alone, once imported
_USUAL_MEMORY = 3.5e9  # bytes: the largest peak of a stage, see `wsis.runs.costs`
_SPARE_DISK = 1e9  # bytes beside the images: weights, checkpoints, records


class Problems:
    """What is wrong with a plan, errors on purpose alone."""

    def __init__(self) -> None:
        self.found: list[ContractError | WsisError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Remember an error inside the block."""
        try:
            yield
        except (ContractError, WsisError) as error:
            if str(error) not in map(str, self.found):
                self.found.append(error)

    def raise_if_any(self) -> None:
        """Raise the only one as it is, or one error with a line for each."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            lines = "".join(f"\n  - {error}" for error in self.found)
            raise ConfigError(f"the run cannot start: {len(self.found)} problems{lines}")


def check_plan(
    nodes: Sequence[Node],
    config: RunConfig,
    data: DataFacts,
    data_is_here: bool,
    store: Path,
    warn: Callable[[str], None],
) -> DatasetSource | None:
    """Refuse what would fail in a later stage; warn of what may.

    Args:
        nodes: the whole plan.
        data_is_here: false where the run goes on from what the store has of its data; then that is not looked at.
        store: its folder on this machine.
        warn: is given each line.

    Returns:
        The reader of the data, whose files it has read; None where the data is not looked at.

    Raises:
        ConfigError: several problems, a line each; one alone as its own class.
    """
    problems = Problems()
    with problems.collect():
        config.execution.check()
    with problems.collect():
        check_ceiling(config, data)
    for node in _distinct(nodes):
        if node.stage.check is not None and (data_is_here or node.stage.config is not type(config.data)):
            with problems.collect():
                node.stage.check(node.config, config.execution)
    source = None
    if data_is_here:
        with problems.collect():
            source = open_source(config.data)
            _check_trained_on(config, source)
    if source is not None and not problems.found:
        with problems.collect():
            check_proposals(config, source)
    with problems.collect():
        _check_memory(warn)
    problems.raise_if_any()
    _warn_of_labels(config, source, warn)
    _warn_of_disk(store, source, warn)
    return source


def check_planned(asked: Sequence[Node], nodes: Sequence[Node], config: RunConfig) -> None:
    """That a run has one of the nodes that are asked for; its settings or its data leave some out.

    Args:
        asked: nodes that a run has whose data has masks and images on every part.
        nodes: those of this run.

    Raises:
        ConfigError: none of them, with the reason.
    """
    if not asked or {node.key for node in asked} & {node.key for node in nodes}:
        return
    first = asked[0]
    if first.masks_of and not config.evaluate:
        why = "evaluate=false; where the data has true masks, --set evaluate=true compares with them"
    elif first.masks_of:
        why = f"the data has no true masks on {' or '.join(first.masks_of)} to compare with"
    else:
        why = f"the data has no images of {' or '.join(first.images_of)}"
    raise ConfigError(f"stage {first.name}: this run has none: {why}")


def _distinct(nodes: Sequence[Node]) -> list[Node]:
    """One node of each stage and configuration: outer iterations need the same."""
    return list({(n.stage.name, n.config.model_dump_json()): n for n in nodes}.values())


def _check_trained_on(config: RunConfig, source: DatasetSource) -> None:
    if not source.image_ids("train"):
        raise ConfigError(
            f"data.train_split: expected a split with images to learn from, got {config.data.train_split!r} with none"
        )


def check_proposals(config: RunConfig, source: DatasetSource) -> None:
    """Fit the files of imported proposals to the images that need some; nothing where proposals are generated.

    Raises:
        DataError: a file is missing, malformed or of other images.
    """
    imported = config.proposals.imported()
    if imported is None:
        return
    files, place = imported
    files.place.fit(place, _targets(source, ("train", "val")))


def given_line(config: RunConfig, source: DatasetSource) -> str | None:
    """How many training images have given masks, the files read and checked as stage `corrections` will; None without
    `data.masks`, or where a file is not at hand (the store has what it held).

    Raises:
        DataError: a file cannot be used, with all that is wrong.
    """
    files = config.data.masks
    if not files or not all(map(is_at_hand, files)):
        return None
    trained = _targets(source, ("train",))
    found = read_given(files, trained, source.classes)
    after = config.data.masks_after
    since = f", from iteration {after + 1} on" if after else ""
    return (
        f"data.masks: {len(found.masks)} of {len(trained)} training images that show a class have given masks; "
        f"training learns from them as certain{since}"
    )


def _targets(source: DatasetSource, roles: Sequence[Role]) -> list[Target]:
    """What entries of a file can name: images in which something is segmented, so no training image without class."""
    numbers = source.source_ids()
    return [
        Target(one.image_id, one.file_name, one.size, numbers.get(one.image_id))
        for one in source.outlines()
        if one.role in roles and (one.role == "val" or len(source.labels_of(one.image_id)))
    ]


def _check_memory(warn: Callable[[str], None]) -> None:
    free = available_memory()
    if free >= _USUAL_MEMORY:
        return
    if free < _LEAST_MEMORY:
        raise ConfigError(
            f"memory: expected {_LEAST_MEMORY / 1e9:.1f} GB free, which the libraries alone take, "
            f"got {free / 1e9:.2f} GB"
        )
    warn(
        f"memory: {free / 1e9:.1f} GB are free and a stage may take {_USUAL_MEMORY / 1e9:.1f}; less is needed with "
        "--set execution.workers=1 and smaller images (image_size, max_side)"
    )


def _warn_of_labels(config: RunConfig, source: DatasetSource | None, warn: Callable[[str], None]) -> None:
    if source is None:
        return
    for alike in spelt_alike(source.classes):
        warn(alike)
    if config.data.supervision == "box":
        return
    if line := rarely_lacking(len(source.image_ids("train")), images_of_class(source)):
        warn(line)


def _warn_of_disk(store: Path, source: DatasetSource | None, warn: Callable[[str], None]) -> None:
    there = next(folder for folder in (store, *store.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    images = 0 if source is None else sum(one.file_bytes for one in source.outlines())
    if free < images + _SPARE_DISK:
        warn(
            f"store {store}: {free / 1e9:.1f} GB are free and a run may take {(images + _SPARE_DISK) / 1e9:.1f}, "
            "what is there already included"
        )
