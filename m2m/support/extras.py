"""Packages that only a part of m2m needs, and the extra of m2m that brings each."""

from __future__ import annotations

from m2m.errors import ConfigError

#: What is to be installed, by the package that is imported. Merging needs none of them.
EXTRAS = {
    "lightgbm": "tables",
    "matplotlib": "tables",
    "pandas": "tables",
    "scipy": "tables",
    "sklearn": "tables",
    "statsmodels": "tables",
    "threadpoolctl": "tables",
    "torch": "train",
}


class MissingPackageError(ConfigError, ImportError):
    """A package is not installed that this needs."""


def installing(extra: str) -> str:
    """Say the command that adds an extra to an installed m2m, which pip then leaves as it is."""
    return f"pip install 'm2m[{extra}]'"


def missing_package(error: ModuleNotFoundError) -> MissingPackageError | None:
    """Say which extra brings the package that an import did not find; None for a package of no extra."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return MissingPackageError(
        f"this needs {package}, which is not installed: {installing(EXTRAS[package])} "
        "(m2m alone merges, checks and compares models)"
    )
