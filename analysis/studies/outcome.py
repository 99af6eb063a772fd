"""What a study gives back, and what comes before every study: outputs are checked, a run is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from m2m.support.arguments import argument
from m2m.support.outputs import check_outputs, results_in

if TYPE_CHECKING:
    from analysis.trained_run import TrainedRun

Study_co = TypeVar("Study_co", covariant=True)


@dataclass(frozen=True)
class Outcome(Generic[Study_co]):
    """A study and where it was written.

    Attributes:
        study: What was found.
        content: What its JSON says, but for what it was made from.
        out: The folder.
        reasons: Why a number of `content` may not be there, by its field.
    """

    study: Study_co
    content: Mapping[str, Any]
    out: Path
    reasons: Mapping[str, str] = field(default_factory=dict)


def checked_folder(out: str | Path, beginning: str, inputs: Iterable[str | Path] = ()) -> Path:
    """Refuse, before any work, a folder that cannot be written and results over what is read."""
    check_outputs(results_in(argument("out", out), Path(out), beginning), inputs=inputs)
    return Path(out)


def opened_run(
    run: str | Path, out: str | Path, beginning: str, examples: int, *, float32: bool
) -> tuple[Path, TrainedRun]:
    """Check where to write, then open a run for study; `examples` 0 is all of them."""
    from analysis.trained_run import open_run  # tables are studied without torch

    return checked_folder(out, beginning), open_run(run, examples or None, float64=not float32)
