"""Score a module with the user's own Python function."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from m2m.errors import ConfigError
from m2m.evaluate.mode import scoring
from m2m.evaluate.scorer import Scores


class FunctionScorer:
    """A user's `score(model) -> dict[str, float | array]` as a task (see `Scorer`).

    The file says which metrics are better when higher in a module-level table, headline metric first:
    `METRICS = {"accuracy": True, "loss": False}`.

    Args:
        reference: The function as `file.py:function`.
        root: Folder that a relative file name starts from.

    Attributes:
        task: `file:function`, without the folder and suffix.
        split: `validation`; a function has one set of examples.
        version: Hash of the file's content.
        metrics: The file's `METRICS`.

    Raises:
        ConfigError: If the file, the function or `METRICS` is not there.
    """

    split = "validation"

    def __init__(self, reference: str, root: Path = Path()) -> None:
        file, separator, name = reference.rpartition(":")
        path = root / file
        if not separator or not path.is_file():
            raise ConfigError(f"a task is FILE.py:FUNCTION; got {reference!r}, and {path} is not a file")
        module = _load(path)
        self._reference = f"{path}:{name}"
        self._function = _function(module, name, self._reference)
        self.metrics = _metrics(module, path)
        self.task = f"{path.stem}:{name}"
        self.version = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now.

        Args:
            model: The live module; its modes are left as they were.

        Returns:
            What the function returned; a plain number counts as one example.

        Raises:
            ConfigError: If the function returned something else than its metrics.
        """
        with scoring(model):
            result = self._function(model)
        if not isinstance(result, Mapping) or set(result) != set(self.metrics):
            got = list(result) if isinstance(result, Mapping) else type(result).__name__
            raise ConfigError(f"{self._reference} must return the metrics {list(self.metrics)}, got {got}")
        return Scores({metric: self._values(metric, result[metric]) for metric in self.metrics})

    def _values(self, metric: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        plain = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else value
        try:
            values = np.atleast_1d(np.asarray(plain, dtype=np.float64))
        except (TypeError, ValueError):
            raise ConfigError(
                f"{self._reference}: {metric} must be a number or an array, got {value!r}"
            ) from None
        if values.ndim != 1:
            raise ConfigError(
                f"{self._reference}: {metric} must have one axis, got shape {list(values.shape)}"
            )
        return values


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, name: str, reference: str) -> Callable[[nn.Module], Any]:
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{reference}: no such function; the file has {names}")
    return function  # type: ignore[no-any-return]


def _metrics(module: ModuleType, path: Path) -> dict[str, bool]:
    metrics = getattr(module, "METRICS", None)
    if not isinstance(metrics, dict) or not metrics or not all(type(v) is bool for v in metrics.values()):
        raise ConfigError(
            f"{path} must say which metrics are better when higher, for example "
            f'METRICS = {{"accuracy": True, "loss": False}}; got {metrics!r}'
        )
    return metrics
