"""Errors of the method. Each also subclasses the built-in a caller would expect."""


class WsisError(Exception):
    """Base of every error the method raises on purpose."""


class InputError(WsisError, ValueError):
    """An argument breaks its documented shape, dtype or range."""


class NonFiniteError(WsisError, ArithmeticError):
    """A loss, score or feature became NaN or infinite."""


class MissingWeightsError(WsisError, FileNotFoundError):
    """Pretrained weights were asked for and are absent, unreadable or of another network."""


class UnsupportedOpError(WsisError, NotImplementedError):
    """A compiled operator was called that no installed backend provides."""


class WorkerDiedError(WsisError, RuntimeError):
    """A worker process ended without a word, most often killed for want of memory. What is committed is kept."""


class WorkerStuckError(WsisError, TimeoutError):
    """A worker process lives and gives nothing."""


class WorkerStartError(WsisError, OSError):
    """The system has no room for worker processes."""


class GpuMemoryError(WsisError, MemoryError):
    """A GPU has too little memory for the work of a stage."""


class StageTimeoutError(WsisError, TimeoutError):
    """A stage took longer than the configuration allows."""


class RunEndsError(WsisError, RuntimeError):
    """A stage that was not begun, or was ended, because another one failed or the run was ended."""


class ClusterError(WsisError, ConnectionError):
    """A cluster cannot be reached, does not answer, or has no workers."""
