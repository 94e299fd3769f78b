"""Which errors are worth another try."""

from data_contracts.errors import CorruptArtefactError, StoreError, StoreFullError
from wsis.errors import WorkerDiedError, WorkerStuckError


def may_pass(error: BaseException) -> bool:
    """Whether another try may end better: a process that was lost, a network that did not answer. Bad data, a full disk
    and damage stay what they are."""
    if isinstance(error, CorruptArtefactError | StoreFullError):
        return False
    return isinstance(error, WorkerDiedError | WorkerStuckError | StoreError | ConnectionError)
