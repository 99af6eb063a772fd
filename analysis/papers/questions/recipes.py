"""How fidelity falls with steps, learning rate, optimiser, rank and size, and how many examples suffice.

One thing at a time is changed from one short recipe, and every mixture merged and trained anew. What a
target's examples are for needs no training: the surrogate is asked of fewer of them, the truth of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fidelity.surrogates import Members
from analysis.papers.configuration import Changes, changed_text, written
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.questions.paired import lead, pearson, spearman, worth
from analysis.papers.subsets import SubsetTruth
from analysis.validate.grid import Grid, read_grid
from m2m import pipeline
from m2m.pipeline.headlines import headline
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part


@dataclass(frozen=True)
class Variant:
    """One recipe: what is varied, to what (in words), and the keys that differ from the common ones."""

    axis: str
    words: str
    changes: Changes


@dataclass(frozen=True)
class Recipes:
    """The question, of one set-up.

    Attributes:
        truth: The set-up whose configuration is changed, and whose examples are counted.
        minutes: About how long it takes besides, on an idle core.
        common: By size, what is different in all variants.
        variants: By size, the variants, the common recipe itself first.
        examples: Numbers of validation examples of a target that the surrogate sees.
        name: Its name.
    """

    truth: SubsetTruth
    minutes: Mapping[Size, float]
    common: Mapping[Size, Changes]
    variants: Mapping[Size, Sequence[Variant]]
    examples: Sequence[int] = (2, 4, 8, 16, 32, 64)
    name: str = "question_recipes"

    @property
    def models(self) -> str:
        """The set-up's."""
        return self.truth.name

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        texts: list[Part] = [[v.axis, v.words, self._text(v, size)] for v in self.variants[size]]
        return [self.truth.made_from(size), texts, list(self.examples)]

    def measure(self, place: Place, size: Size) -> Found:
        """Run every variant with its whole truth, and compare; see `Experiment.measure`."""
        found = [self._measured(variant, place, size) for variant in self.variants[size]]
        _, folder = self.truth.run(place, size)
        grid = read_grid(folder, folder.read_results())
        content = {
            "about": {"title": self.truth.title, "model": self.truth.sizes[size].model},
            "sizes": {
                "recipes": len(found),
                "mixtures of each": len(grid.large),
                "targets": len(grid.targets),
            },
            "recipes": found,
            "own": _fidelity(grid),
            "examples": list(_fewer_examples(folder, grid, self.examples)),
        }
        return Found(content)

    def _measured(self, variant: Variant, place: Place, size: Size) -> dict[str, Any]:
        text, files = self._text(variant, size), self.truth.sizes[size].files
        config = written(text, place.work / f"{size}-{_slug(variant)}.toml", files)
        root = place.work / f"{size}-{_slug(variant)}-{config.identity[:16]}"
        folder = pipeline.run(config, root, executor=place.executor, progress=place.progress)
        grid = read_grid(folder, folder.read_results())
        recipe = {"steps": config.train.steps, "learning_rate": config.train.learning_rate}
        return {"axis": variant.axis, "words": variant.words, **recipe, **_fidelity(grid)}

    def _text(self, variant: Variant, size: Size) -> str:
        sized = self.truth.sizes[size]
        return changed_text(sized.example, {**sized.changes, **self.common[size], **variant.changes})


def _slug(variant: Variant) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in f"{variant.axis} {variant.words}")


def _fidelity(grid: Grid) -> dict[str, Any]:
    """Say how well merges agree with the truth, and how far they are ahead of the best member's expert."""
    large = list(grid.large)
    truth = grid.trained[None][:, :, large]
    weights = np.array([mixture.weights for mixture in grid.mixtures])
    names = grid.mixtures[0].datasets
    rows = tuple(next(n for n, m in enumerate(grid.mixtures) if m.members == (name,)) for name in names)
    best = Members(names, rows, weights).best(grid.merged)[:, large]
    merged = grid.merged[:, large]
    gains = grid.merged[:, large] - grid.base[:, None]
    away = grid.trained[:, large] - grid.base[:, None] - gains
    return {
        "n": len(large),
        "spearman": worth(spearman, merged, truth).to_json(),
        "pearson": worth(pearson, merged, truth).to_json(),
        "best_member": worth(spearman, best, truth).to_json(),
        "spearman_lead": lead(spearman, merged, best, truth).to_json(),
        # How far merges are from the truth, in the units of what training gains.
        "offset": float(np.sqrt(np.mean(away**2) / np.mean((gains + away) ** 2))),
    }


def _fewer_examples(folder: RunFolder, grid: Grid, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Ask merges of the first examples of each target alone, and hold that against trained models on all."""
    each = _merged_examples(folder, grid)
    truth = np.stack([grid.trained, *([] if grid.again is None else [grid.again])])[:, :, grid.large]
    for count in counts:
        if all(values.shape[1] >= count for values in each):
            scores = np.array([values[:, :count].mean(1) for values in each])
            yield {"examples": count, "spearman": worth(spearman, scores, truth).to_json()}


def _merged_examples(folder: RunFolder, grid: Grid) -> list[Floats]:
    """Read merged models' scores of single examples, higher is better: a target's [n, E] each."""
    results = folder.read_results()
    wanted = {target: headline(results, target) for target in grid.targets}
    with ScoreTable(folder.table, read_only=True) as table:
        rows = {
            (row.task, tuple(row.members)): row.examples
            for row in table.rows(origin="merged", split="validation")
            if row.task in wanted and row.metric == wanted[row.task][0]
        }
    return [
        (1.0 if upwards else -1.0)
        * np.array([rows[target, grid.mixtures[n].members] for n in grid.large], dtype=np.float64)
        for target, (_, upwards) in wanted.items()
    ]
