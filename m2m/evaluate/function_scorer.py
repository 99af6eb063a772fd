"""Score a module with the user's own Python function."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from m2m.errors import ConfigError
from m2m.evaluate.mode import scoring
from m2m.evaluate.scorer import Scores
from m2m.user_code import load_function


class FunctionScorer:
    """A user's `score(model) -> dict[str, float | array]` as a task (see `Scorer`).

    The function's file says which metrics are better when higher, headline metric first, in a table at its
    top level: `METRICS = {"accuracy": True, "loss": False}`.

    Args:
        reference: The function as `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        root: Folder that a relative file name starts from.

    Attributes:
        task: The reference, without the folder.
        split: `validation`; a function has one set of examples.
        version: Hash of the file's content.
        metrics: The file's `METRICS`.

    Raises:
        ConfigError: If `METRICS` is missing or malformed.
    """

    split = "validation"

    def __init__(self, reference: str, root: Path = Path()) -> None:
        self._function = load_function(reference, root, "the task")
        module = sys.modules[self._function.__module__]
        metrics = getattr(module, "METRICS", None)
        if not isinstance(metrics, dict) or not metrics or not all(type(v) is bool for v in metrics.values()):
            raise ConfigError(
                f"the task {reference}: its file must say which metrics are better when higher, for example "
                f'METRICS = {{"accuracy": True, "loss": False}}; got {metrics!r}'
            )
        self.metrics: Mapping[str, bool] = metrics
        self.task = reference.replace("\\", "/").rpartition("/")[2]
        self.version = hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16]

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now.

        Args:
            model: The live module; its modes are left as they were.

        Returns:
            What the function returned; a plain number counts as one example.

        Raises:
            ConfigError: If the function failed, or returned something else than its metrics.
        """
        with scoring(model):
            try:
                result = self._function(model)
            except Exception as error:
                raise ConfigError(f"the task {self.task} fails: {error!r}") from error
        if not isinstance(result, Mapping) or set(result) != set(self.metrics):
            got = list(result) if isinstance(result, Mapping) else type(result).__name__
            raise ConfigError(f"the task {self.task} must return the metrics {list(self.metrics)}, got {got}")
        return Scores({metric: self._values(metric, result[metric]) for metric in self.metrics})

    def _values(self, metric: str, value: Any) -> NDArray[np.float64]:
        plain = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else value
        try:
            values = np.atleast_1d(np.asarray(plain, dtype=np.float64))
        except (TypeError, ValueError):
            raise ConfigError(f"the task {self.task}: {metric} must be numbers, got {value!r}") from None
        if values.ndim != 1:
            raise ConfigError(
                f"the task {self.task}: {metric} must have one axis, got shape {list(values.shape)}"
            )
        return values
