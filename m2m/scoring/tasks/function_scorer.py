"""Score a module with the user's own Python function."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from m2m.errors import ConfigError
from m2m.scoring.tasks.halves import halves
from m2m.scoring.tasks.scorer import Scores, same_draws, scoring
from m2m.setups.protocol import Split
from m2m.support.arrays import Floats
from m2m.support.user_code import load_function

#: Largest whole number up to which float64 has every one.
_WHOLE = 2**53
#: How many elements of a tensor are looked at to see whether a task left it alone.
_LOOKED_AT = 1 << 16
#: Integers of as many bytes.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class FunctionScorer:
    """A user's `score(model) -> dict[str, float | array]` as a task (see `Scorer`).

    The function's file says which metrics are better when higher, headline metric first, in a table at its
    top level: `METRICS = {"accuracy": True, "loss": False}`. Random numbers (of torch's, numpy's and Python's
    generators) are the same in every call, so that models are compared on the same draws. A function with a
    parameter `split` is told `validation` or `test`.

    Args:
        reference: The function as `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        root: Folder that a relative file name starts from.
        split: The split.

    Attributes:
        task: The reference, without the folder.
        split: The split.
        has_splits: Whether the function is told which.
        version: Hash of the file's content.
        metrics: The file's `METRICS`.

    Raises:
        ConfigError: If `METRICS` is missing or malformed.
    """

    def __init__(self, reference: str, root: Path = Path(), split: Split = "validation") -> None:
        function = load_function(reference, root, "the task")
        module = sys.modules[function.__module__]
        self.metrics = metrics_of(module, f"the task {reference}")
        self.split: str = split
        self.has_splits = "split" in inspect.signature(function).parameters
        self._function = partial(function, split=split) if self.has_splits else function
        self.task = reference.replace("\\", "/").rpartition("/")[2]
        self.version = hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16]

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now.

        Args:
            model: The live module; its modes are left as they were.

        Returns:
            What the function returned; a plain number counts as one example.

        Raises:
            ConfigError: If the function failed, changed the model, or returned something else than its
                metrics.
        """
        before = _marks(model)
        with scoring(model), same_draws():
            result = self._function(model)
        if before != _marks(model):
            raise ConfigError(
                f"the task {self.task} changes the model: its weights must be left as they were, or the next "
                "task would score another model"
            )
        if not isinstance(result, Mapping) or set(result) != set(self.metrics):
            got = list(result) if isinstance(result, Mapping) else type(result).__name__
            raise ConfigError(f"the task {self.task} must return the metrics {list(self.metrics)}, got {got}")
        return Scores({metric: self._values(metric, result[metric]) for metric in self.metrics})

    def _values(self, metric: str, value: Any) -> Floats:
        where = f"the task {self.task}: {metric}"
        try:
            plain = np.atleast_1d(_plain(value))
        except (TypeError, ValueError, RuntimeError):
            raise ConfigError(f"{where} must be numbers, got {value!r:.200}") from None
        # Numpy would read texts as numbers, take the real part of complex ones, and see through masks.
        if plain.dtype.kind not in "biuf" or isinstance(plain, np.ma.MaskedArray):
            raise ConfigError(f"{where} must be numbers, got {value!r:.200}")
        if plain.ndim != 1:
            raise ConfigError(f"{where} must have one axis, got shape {list(plain.shape)}")
        if plain.dtype.kind in "iu" and len(plain) and max(int(plain.max()), -int(plain.min())) > _WHOLE:
            raise ConfigError(f"{where} has whole numbers beyond 2^53, which float64 does not tell apart")
        with np.errstate(over="ignore"):
            return plain.astype(np.float64)


class HalfOfFunction:
    """A user's function that knows no splits, on the items of one: the hash of an item's number says which.

    The function does all of its items for either half.

    Args:
        whole: The function.
        split: The split.

    Attributes:
        task: The function's name.
        split: The split.
        version: The function's.
        metrics: The function's.
    """

    def __init__(self, whole: FunctionScorer, split: Split) -> None:
        self.task, self.version, self.metrics = whole.task, whole.version, whole.metrics
        self.split: str = split
        self._whole = whole

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now.

        Args:
            model: The live module; its modes are left as they were.

        Returns:
            The values of the items of this half.

        Raises:
            ConfigError: If the function has too few values for two halves.
        """
        scores = self._whole(model)
        kept = halves([str(number) for number in range(scores.count)])[self.split]
        if not kept:
            raise ConfigError(
                f"the task {self.task} returns {scores.count} values: too few to split them into validation "
                "and test by the hash of their number; return a value for each item, or take a parameter "
                '`split` and score the items of "validation" or "test"'
            )
        return Scores({metric: values[kept] for metric, values in scores.values.items()})


def metrics_of(module: Any, what: str) -> Mapping[str, bool]:
    """Read `METRICS` of a user's file: metric name to whether higher is better, headline metric first."""
    metrics = getattr(module, "METRICS", None)
    if not isinstance(metrics, dict) or not metrics or not all(type(v) is bool for v in metrics.values()):
        raise ConfigError(
            f"{what}: its file must say which metrics are better when higher, for example "
            f'METRICS = {{"accuracy": True, "loss": False}}; got {metrics!r}'
        )
    return metrics


def _plain(value: Any) -> NDArray[Any]:
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        return (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    return np.asanyarray(value)


def _marks(model: nn.Module) -> dict[str, tuple[int, torch.dtype, int]]:
    # Of each tensor: which object it is, its type, and a sum over bits of at most `_LOOKED_AT` elements.
    marks = {}
    with torch.inference_mode():
        for name, tensor in model.state_dict(keep_vars=True).items():
            bits = tensor.detach().reshape(-1).view(_BITS[tensor.element_size()])
            some = bits[:: 1 + bits.numel() // _LOOKED_AT]
            marks[name] = (id(tensor), tensor.dtype, int(some.sum(dtype=torch.int64)))
    return marks
