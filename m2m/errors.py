"""The errors a user can meet: each says what, where, got and wanted, and carries its exit code."""

from __future__ import annotations


class M2MError(Exception):
    """Base of every error m2m raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(M2MError):
    """Something the user gave (file, option, table) is wrong; nothing was written."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file or a command-line option is malformed."""


class MixtureError(InputError):
    """Mixture or merging weights do not fit the datasets or experts they are for."""


class CheckpointError(InputError):
    """A checkpoint cannot be read, or does not match the base model."""


class RecipeError(InputError):
    """A merge recipe asks for something that is not defined."""


class DataError(InputError):
    """A dataset or the package that carries it is missing or not what its hash says."""


class RunFolderError(InputError):
    """The output folder exists and is not this run's, or another process is using it."""


class FitError(InputError):
    """A model or a curve cannot be fitted to what was given."""
