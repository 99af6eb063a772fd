"""What merging saved: the trainings that it does without, and about how long they take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from m2m.pipeline.report.page import paragraph, table
from m2m.support.units import format_seconds


@dataclass(frozen=True)
class Cost:
    """Trainings, in those of an expert, and seconds.

    Attributes:
        made: Trainings that finding the pick takes: an expert a dataset, where they were not given, and the
            pick.
        all: Trainings of every mixture.
        seconds: Wall seconds that finding the pick took; None where no training was timed.
        all_seconds: Wall seconds that training every mixture would take, at the experts' pace.
    """

    made: float
    all: float
    seconds: float | None
    all_seconds: float | None

    @property
    def times(self) -> float:
        """How many times as much training every mixture is."""
        return self.all / self.made


def cost(results: Mapping[str, Any], *, given: bool) -> Cost:
    """Count what finding the pick takes beside training every mixture.

    Steps count: a mixture that is trained for `steps` a dataset costs as many experts as it has datasets.

    Args:
        results: Content of `results.json`.
        given: Whether the experts were given, and not trained.

    Returns:
        Trainings and seconds.
    """
    names, picked, seconds = results["datasets"], results["picked"], results["seconds"]
    count = len(names)
    pooled = results["recipe"].get("horizon") == "pooled"
    # Of all non-empty subsets: how many there are, or how many datasets they have together.
    every = float(count * 2 ** (count - 1) if pooled else 2**count - 1)
    of_pick = 0.0 if len(picked) == 1 else float(len(picked) if pooled else 1)
    made = of_pick + (0 if given else count)
    timed = 0.0 if given else seconds.get("experts", 0.0)
    if not timed:
        return Cost(max(made, 1.0), every, None, None)
    pace = timed / count
    found = timed + seconds.get("surrogate", 0.0) + of_pick * pace
    return Cost(made, every, found, every * pace)


def cost_in_words(found: Cost) -> Iterator[str]:
    """Say in a sentence or two what was saved."""
    yield f"{found.made:.0f} trainings find the pick; training every mixture takes {found.all:.0f}"
    if found.seconds is not None and found.all_seconds is not None:
        yield (
            f"about {format_seconds(found.seconds)}, merging and scoring included, instead of "
            f"{format_seconds(found.all_seconds)} at the experts' pace"
        )


def cost_section(results: Mapping[str, Any], found: Cost) -> Iterator[str]:
    """Lay out what each step took, and what was saved."""
    yield paragraph("; ".join(cost_in_words(found)) + ".", "soft")
    if results["fidelity"] or "trust" in results:
        yield paragraph(
            "This run trained more than that, to measure how far merging can be trusted: `truth` below.",
            "soft",
        )
    seconds = results["seconds"]
    rows = [[step, format_seconds(value)] for step, value in seconds.items()]
    yield table(["step", "wall time"], [*rows, ["total", format_seconds(sum(seconds.values()))]])
