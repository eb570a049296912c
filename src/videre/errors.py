"""The errors that a user can meet: one root, each also the built-in error that it refines."""


class VidereError(Exception):
    """Root of every error that videre raises on purpose; the command line prints it as one line."""


class DataError(VidereError, ValueError):
    """A picture, annotation or data set that cannot be used as it is."""


class ShapeError(VidereError, ValueError):
    """An array of the wrong shape, dtype or range."""


class ConfigError(VidereError, ValueError):
    """A setting, name or combination that does not exist or does not fit."""


class WeightsError(VidereError, ValueError):
    """A weight file that is damaged, unknown, or does not fit the model."""
