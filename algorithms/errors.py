"""The one error type of this package."""


class AlgorithmError(Exception):
    """An algorithm or setting that cannot be used; the message says what, where and the cure."""
