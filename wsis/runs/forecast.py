"""Which artefact each node of a plan will give, before anything is computed: fingerprints follow from settings."""

from collections.abc import Sequence

from data_contracts.runs import DataFacts
from wsis.engine.stage import identify
from wsis.runs.config import RunConfig
from wsis.runs.plan import Node


def forecast(nodes: Sequence[Node], config: RunConfig, data: DataFacts) -> dict[str, str]:
    """Key of each node -> fingerprint of the artefact that the run will use, whether the store has it or not.

    Args:
        nodes: the whole plan, in its order.

    Raises:
        DataError, MissingWeightsError, ...: a file that a stage reads from outside of the store is not there.
    """
    found: dict[str, str] = {}
    contents: dict[tuple[str, str], str] = {}  # large files are read once, not for each outer iteration
    for node in nodes:
        content = content_of_data(node, data)
        if content is None and node.stage.content_digest is not None:
            key = node.stage.name, node.config.model_dump_json()
            if key not in contents:
                contents[key] = node.stage.content_digest(node.config)
            content = contents[key]
        parents = {name: found[key] for name, key in node.inputs.items()}
        found[node.key] = identify(
            node.stage,
            node.config,
            parents,
            config.seed,
            node.outer_iteration,
            content,
            config.execution,
        )
    return found


def content_of_data(node: Node, data: DataFacts) -> str | None:
    """The digest of what a node reads of the user's data; None of a node that reads none of it."""
    digests = {**data.digests, "boxes": data.content}
    return digests.get(node.stage.name)
