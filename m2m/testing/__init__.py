"""Public test tools: the laws of merge math, derived tolerances and, with Hypothesis, `strategies`."""

from importlib import import_module
from typing import TYPE_CHECKING

from m2m.testing import laws, tolerance

if TYPE_CHECKING:
    from m2m.testing import strategies

__all__ = ["laws", "strategies", "tolerance"]


def __getattr__(name: str) -> object:
    if name != "strategies":
        raise AttributeError(f"module 'm2m.testing' has no attribute {name!r}; it has {__all__}")
    return import_module("m2m.testing.strategies")
