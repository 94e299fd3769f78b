"""Identity of an artefact: a hash of everything that decides its content, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_contracts.errors import CorruptArtefactError

SCHEMA_VERSION = 1
FINGERPRINT_LENGTH = 12
_BLOCK = 1 << 20


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN, so that equal values have equal text.

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: a value is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def fingerprint(
    stage: str,
    algorithm_version: int,
    config: Mapping[str, Any],
    parents: Mapping[str, str],
    seed: int,
    outer_iteration: int | None = None,
    content: str | None = None,
    threads: int = 1,
) -> str:
    """12 hex digits of sha256 over the canonical JSON of what decides a stage's result.

    Args:
        stage: the stage's name.
        algorithm_version: raised whenever the stage's code changes its result.
        config: the stage's configuration without execution-only fields.
        parents: input name -> fingerprint of the artefact read.
        seed: the run's seed.
        outer_iteration: 1..T, or None for a stage outside the outer loop.
        content: digest of external content the stage reads (the user's images), if any.
        threads: of the arithmetic, where their number decides the result; one is left out of the hash.
    """
    identity = {
        "schema_version": SCHEMA_VERSION,
        "stage": stage,
        "algorithm_version": algorithm_version,
        "config": config,
        "parents": dict(parents),
        "seed": seed,
        "outer_iteration": outer_iteration,
        "content": content,
        **({"threads": threads} if threads != 1 else {}),
    }
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:FINGERPRINT_LENGTH]


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def seal(value: Mapping[str, Any]) -> bytes:
    """Readable JSON of `value` with a `checksum` over the rest, so that a flipped byte is found on read.

    Raises:
        ValueError: a float is NaN or infinite, or `value` has a key "checksum" of its own.
        TypeError: a value is not JSON.
    """
    if "checksum" in value:
        raise ValueError("the key 'checksum' is reserved for the seal")
    plain = json.loads(
        json.dumps(value, allow_nan=False)
    )  # keys become text, so that reading hashes the same
    checksum = hashlib.sha256(canonical_json(plain).encode()).hexdigest()
    return json.dumps({**plain, "checksum": checksum}, indent=1, allow_nan=False).encode()


def unseal(data: bytes, where: str) -> dict[str, Any]:
    """The value that `seal` wrote. Not one byte may differ from what `seal` writes, white space included.

    Raises:
        CorruptArtefactError: not JSON, no checksum, another one, or other bytes; names `where`.
    """
    try:
        value = json.loads(data)
        checksum = value.pop("checksum")
        got = hashlib.sha256(canonical_json(value).encode()).hexdigest()
        intact = seal(value) == data
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CorruptArtefactError(f"{where} is damaged: {type(error).__name__} {error}", (where,)) from error
    if got != checksum:
        raise CorruptArtefactError(f"{where} is damaged: expected checksum {checksum}, got {got}", (where,))
    if not intact:
        raise CorruptArtefactError(f"{where} is damaged: its bytes are not those that were written", (where,))
    return value
