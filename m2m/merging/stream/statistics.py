"""What the task vectors of a merge look like, gathered from the chunks that are merged, at no extra read.

`statistics.json` holds, for every merged tensor and for the whole model:

* `elements`: P;
* `gram`: inner products ⟨τ_i, τ_j⟩ of task vectors τ_n = fl(θ_n − θ₀) over all elements, float64, summed in
  the order of `docs/merge_methods.md`, so that they repeat to the bit. [N, N]
* `norms`: ‖τ_n‖. [N]
* `largest`: max |τ_n|. [N]
* `same_sign`: elements where τ_i and τ_j are both positive or both negative; on the diagonal, elements that
  are not zero. [N, N]
* `opposite_sign`: elements where one is positive and the other negative. [N, N]
* `sign_agreement`: same / (same + opposite); null where no element has two signs to compare. [N, N]
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import RunFolderError
from m2m.merging.compiled import GramPass, RiderPass, StreamPass
from m2m.merging.methods.gram import NO_POINTS, Points, look_at_products, unpack_triangle
from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.tensors import PlannedTensor
from m2m.merging.plan.window import Window
from m2m.merging.stream.passes import PassRun
from m2m.merging.stream.work_folder import Position
from m2m.support.files import write_atomically

NAME = "statistics.json"


@dataclass(frozen=True)
class StatisticsOf:
    """Whose task vectors they are: names of the base model and of the experts [N]."""

    base: str
    experts: tuple[str, ...]


@dataclass(frozen=True)
class _Sums:
    """Sums over elements, which add up from tensors to the model. Pairs as in a lower triangle."""

    elements: int
    gram: list[float]
    largest: list[float]
    same: list[int]
    opposite: list[int]

    def add(self, other: _Sums) -> _Sums:
        return _Sums(
            self.elements + other.elements,
            [a + b for a, b in zip(self.gram, other.gram, strict=True)],
            [max(a, b) for a, b in zip(self.largest, other.largest, strict=True)],
            [a + b for a, b in zip(self.same, other.same, strict=True)],
            [a + b for a, b in zip(self.opposite, other.opposite, strict=True)],
        )

    def to_dict(self) -> dict[str, Any]:
        pairs = zip(self.same, self.opposite, strict=True)
        agreement = [same / (same + opposite) if same + opposite else None for same, opposite in pairs]
        gram = unpack_triangle(self.gram)
        return {
            "elements": self.elements,
            "gram": gram,
            "norms": [math.sqrt(gram[i][i]) for i in range(len(gram))],
            "largest": self.largest,
            "same_sign": unpack_triangle(self.same),
            "opposite_sign": unpack_triangle(self.opposite),
            "sign_agreement": unpack_triangle(agreement),
        }


class StatisticsGatherer:
    """Gathers statistics window by window; what an interrupted merge had gathered is gone on with."""

    def __init__(self, about: StatisticsOf, journal: Path) -> None:
        # A line a tensor, in the plan's order, is noted in `journal`.
        self._about, self._journal = about, journal

    def resume(self, start: Position) -> Position:
        """Where to go on, so that no statistics are missing; what is written twice is the same bytes."""
        known = self._lines()[: start[0]]
        write_atomically(self._journal, "".join(known), durable=False)
        return len(known), 0

    def __call__(self, window: Window, writer: StreamPass, run: PassRun) -> None:
        """Run a writing pass over a window and look at what passes by."""
        look = look_at_products(
            window, [_task_vectors(tensor) for tensor in window.tensors], counts_signs=True
        )
        run(RiderPass(window.core, writer, look), window)
        lines = [_line(look, number, tensor) for number, tensor in enumerate(window.tensors, window.first)]
        with self._journal.open("a", encoding="utf-8") as file:
            file.write("".join(lines))

    def write(self, plan: MergePlan, file: Path) -> None:
        """Write down what was gathered, once the plan has been run."""
        tensors: dict[str, Any] = {}
        whole: _Sums | None = None
        for tensor, line in zip(plan.tensors, self._lines(), strict=True):
            if tensor.copied:
                continue
            sums = _Sums(*json.loads(line))
            whole = sums if whole is None else whole.add(sums)
            tensors[tensor.entry.name] = sums.to_dict()
        content = {
            "format": 1,
            "base": self._about.base,
            "experts": list(self._about.experts),
            "whole": None if whole is None else whole.to_dict(),
            "tensors": tensors,
        }
        write_atomically(file, (json.dumps(content, allow_nan=False) + "\n").encode())

    def _lines(self) -> list[str]:
        # A line that was cut off by the death of the process has no end.
        if not self._journal.exists():
            return []
        return [
            line for line in self._journal.read_text("utf-8").splitlines(keepends=True) if line[-1] == "\n"
        ]


def require_statistics(out: Path) -> None:
    """Refuse a finished merge that was made without statistics."""
    if not (out / NAME).exists():
        raise RunFolderError(
            f"{out}: is complete, but was merged without statistics; merge into another folder"
        )


def _task_vectors(tensor: PlannedTensor) -> Points:
    if tensor.copied:
        return NO_POINTS
    assert tensor.origin is not None
    points = len(tensor.settings[0].each) if tensor.settings else len(tensor.sources) - 1
    return Points.whole(tensor, tensor.origin, int(tensor.origin == 0), points)


def _line(look: GramPass, number: int, tensor: PlannedTensor) -> str:
    if tensor.copied:
        return "null\n"
    largest, same, opposite = look.signs(number)
    return json.dumps([math.prod(tensor.entry.shape), look.triangles(number), largest, same, opposite]) + "\n"
