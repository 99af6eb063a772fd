"""Find the best data mixture for fine-tuning by merging experts instead of training every mixture.

Importing m2m is cheap: a name loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from m2m.version import __version__

if TYPE_CHECKING:
    from m2m import errors, testing
    from m2m.build_info import build_info
    from m2m.checkpoint import Checkpoint
    from m2m.merging import merge
    from m2m.mixing import mix
    from m2m.mixture import Mixture
    from m2m.ops import weighted_sum
    from m2m.pipeline import run
    from m2m.predicting import predict
    from m2m.scoring import race, score
    from m2m.searching import search

#: Public name to (module, name in it); None for the module itself.
_HOME: dict[str, tuple[str, str | None]] = {
    "Checkpoint": ("m2m.checkpoint", "Checkpoint"),
    "Mixture": ("m2m.mixture", "Mixture"),
    "build_info": ("m2m.build_info", "build_info"),
    "errors": ("m2m.errors", None),
    "merge": ("m2m.merging", "merge"),
    "mix": ("m2m.mixing", "mix"),
    "predict": ("m2m.predicting", "predict"),
    "race": ("m2m.scoring", "race"),
    "run": ("m2m.pipeline", "run"),
    "score": ("m2m.scoring", "score"),
    "search": ("m2m.searching", "search"),
    "testing": ("m2m.testing", None),
    "weighted_sum": ("m2m.ops", "weighted_sum"),
}

__all__ = [
    "Checkpoint",
    "Mixture",
    "__version__",
    "build_info",
    "errors",
    "merge",
    "mix",
    "predict",
    "race",
    "run",
    "score",
    "search",
    "testing",
    "weighted_sum",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'm2m' has no attribute {name!r}; it has {__all__}")
    module_name, attribute = _HOME[name]
    module = import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
