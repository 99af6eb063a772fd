"""From a `[setup]` table to a set-up."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from m2m.errors import ConfigError
from m2m.support.names import check_names, text_fault
from m2m.support.progress import Progress
from m2m.support.schema import did_you_mean
from m2m.support.user_code import guarded, load_function

if TYPE_CHECKING:
    from m2m.setups.protocol import Setup

KINDS = ("language", "vision", "python")
#: What tables of scores call the base model.
BASE = "base"


@dataclass(frozen=True)
class PythonOptions:
    """The `[setup]` table with `kind = "python"`, but for keys that are the factory's own.

    Attributes:
        kind: Which set-up it is.
        factory: Makes the set-up from this table: `"file.py:function"` or `"module:function"`.
    """

    kind: Literal["python"]
    factory: str


def judged_tables(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Find the tables `[setup.targets.NAME]` with a `task`: they say who judges, and are no set-up's data."""
    return {name: table for name, table in _targets(spec).items() if _is_judged(table)}


def _targets(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    tables = spec.get("targets")
    return tables if isinstance(tables, Mapping) else {}


def _is_judged(table: Any) -> bool:
    return isinstance(table, Mapping) and "task" in table


def data_only(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out the targets that tasks judge: what is left is read by the set-up."""
    if not judged_tables(spec):
        return spec
    return {**spec, "targets": {name: t for name, t in _targets(spec).items() if not _is_judged(t)}}


def check_kind(spec: Mapping[str, Any]) -> str:
    """Return which set-up a table is of; refuses one that there is not."""
    kind = spec.get("kind")
    if kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        raise ConfigError(f"[setup]: `kind` must be one of {', '.join(KINDS)}; got {kind!r}{hint}")
    return str(kind)


def load(spec: Mapping[str, Any], root: Path, cache: Path, progress: Progress | None = None) -> Setup:
    """Make the set-up that a `[setup]` table describes.

    Args:
        spec: The table; `kind` says which set-up reads the rest: `language`, `vision`, or `python` for the
            user's own, made by calling `factory = "file.py:function"` or `"module:function"` with the table.
            Targets with a `task` are left out: those are judged by whoever scores (`judged_tables`).
        root: Folder that relative paths start from.
        cache: Folder of fetched and prepared data.
        progress: Told about downloads.

    Returns:
        The set-up.

    Raises:
        ConfigError: If `kind` is missing or unknown, a user's factory fails or returns no set-up, or a name
            cannot be used.
    """  # noqa: DOC502 - raised by what is called
    spec, kind = data_only(spec), check_kind(spec)
    if kind == "python":
        factory = load_function(str(spec.get("factory", "")), root, "[setup] factory")
        setup = cast("Setup", _UsersSetup(factory(spec), f"[setup] factory {spec['factory']}"))
    else:
        module = importlib.import_module(f"m2m.setups.{kind}")
        setup = cast("Setup", module.from_spec(spec, root, cache, progress))
    _check_names(setup)
    return setup


def _check_names(setup: Setup) -> None:
    check_names(setup.datasets, "[setup]: dataset")
    check_names(setup.targets, "[setup]: target")
    check_names(setup.metrics, "[setup]: metric", text_fault)
    if BASE in setup.datasets:
        raise ConfigError(f"[setup]: no dataset can be called {BASE!r}: that is the base model's label")


class _UsersSetup:
    """A user's own set-up, held to the protocol; its methods are a user's code like its factory."""

    _ATTRIBUTES = ("datasets", "targets", "metrics", "version", "batch_size")
    _METHODS = ("build", "base_state", "loss", "inputs", "judge", "embed")

    def __init__(self, setup: Any, where: str) -> None:
        missing = [name for name in (*self._ATTRIBUTES, *self._METHODS) if not hasattr(setup, name)]
        if missing:
            raise ConfigError(f"{where} must return a set-up, got {setup!r:.80}, which has no {missing}")
        metrics = setup.metrics
        told = isinstance(metrics, Mapping) and all(type(better) is bool for better in metrics.values())
        if not told or not metrics:
            raise ConfigError(
                f"{where}: `metrics` must say which are better when higher, for example "
                f'{{"accuracy": True, "loss": False}}; got {metrics!r:.200}'
            )
        self._setup = setup
        for name in self._METHODS:
            setattr(self, name, guarded(getattr(setup, name), f"{where}: {name}"))

    def __getattr__(self, name: str) -> Any:
        if name == "_setup":  # not there yet, as in a copy that is being made
            raise AttributeError(name)
        return getattr(self._setup, name)
