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
