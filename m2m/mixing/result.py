"""What `m2m mix` found: λ*, what was predicted and measured of it, and how sure it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from m2m.exporting import render
from m2m.mixing.surface import MixtureUncertainty, WeightedTarget
from m2m.mixture import Mixture
from m2m.predicting import AUTO
from m2m.support.csv_tables import write_rows
from m2m.support.files import write_atomically
from m2m.version import __version__


@dataclass(frozen=True)
class ScoredMixture:
    """A mixture whose merged model was scored.

    Attributes:
        kind: `equal`, `prior`, `grid` or `drawn` for starting mixtures; `argmax` or `top` for what the
            surfaces propose.
        mixture: The mixture.
        predicted: Score by target that the surfaces expect; of starting mixtures, by fits without their fold.
        measured: Score by target of the merged model, with the correction.
        utility_predicted: The utility of the predicted scores.
        utility: The utility of the measured scores.
        correction: What trained pairs add to the merged model's score, by target; empty without pairs.
    """

    kind: str
    mixture: Mixture
    predicted: Mapping[str, float]
    measured: Mapping[str, float]
    utility_predicted: float
    utility: float
    correction: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Lay its attributes out for a JSON file, the mixture as `weights`."""
        return {
            "kind": self.kind,
            "weights": self.mixture.shares,
            "predicted": dict(self.predicted),
            "measured": dict(self.measured),
            "utility_predicted": self.utility_predicted,
            "utility": self.utility,
            **({"correction": dict(self.correction)} if self.correction else {}),
        }


@dataclass(frozen=True)
class TargetFit:
    """What was fitted for one target.

    Attributes:
        target: The target.
        model: The family's name, or `stack`.
        weights: Weight by family.
        spearman: Cross-validated rank correlation by family tried.
        interval: 95 % interval of the score predicted for λ*.
        base: The base model's score.
        notes: What is to be known of the fit: families that cannot be fitted, scores all the same.
    """

    target: WeightedTarget
    model: str
    weights: Mapping[str, float]
    spearman: Mapping[str, float]
    interval: tuple[float, float]
    base: float
    notes: tuple[str, ...] = ()

    @property
    def rank(self) -> float:
        """Cross-validated rank correlation of what is used, a stack's by nested cross-validation."""
        return self.spearman[self.model if self.model in self.spearman else AUTO]


@dataclass(frozen=True)
class MixResult:
    """The outcome of a search on the simplex.

    Attributes:
        folder: Where it is written: `mix.json`, `candidates.csv`, `mixture.json`, `scores.sqlite`.
        chosen: λ*.
        candidates: All that were merged and scored: the starting mixtures, then `argmax` and `top`.
        fits: What was fitted, one a target.
        spearman: Rank correlation of measured and predicted utility over the starting mixtures, each by fits
            without its fold.
        uncertainty: How sure λ* is; None without resamples.
        trained: Scores by target and split of models really trained on λ* (`chosen`) and on `equal`
            shares; empty if none was trained.
        seconds: Wall seconds by step.
        options: The `[mix]` table that was used.
        seed: What decided all random choices.
        identity: Hash of the run configuration.
        notes: What its user should be told of the run folder.
    """

    folder: Path
    chosen: ScoredMixture
    candidates: Sequence[ScoredMixture]
    fits: Sequence[TargetFit]
    spearman: float
    uncertainty: MixtureUncertainty | None
    trained: Mapping[str, Mapping[str, Mapping[str, float]]]
    seconds: Mapping[str, float]
    options: Mapping[str, Any]
    seed: int
    identity: str
    notes: tuple[str, ...] = ()

    @property
    def mixture(self) -> Mixture:
        """λ*."""
        return self.chosen.mixture

    @property
    def best_start(self) -> ScoredMixture:
        """The best of the mixtures that were scored before anything was fitted."""
        starts = [c for c in self.candidates if c.kind not in ("argmax", "top")]
        return max(starts, key=lambda start: start.utility)

    @property
    def no_gain(self) -> list[str]:
        """Targets on which λ*'s merged model is no better than the base model."""
        scores = {fit.target: (self.chosen.measured[fit.target.name], fit.base) for fit in self.fits}
        return [
            target.name
            for target, (merged, base) in scores.items()
            if not (merged > base if target.higher_is_better else merged < base)
        ]

    def write(self) -> None:
        """Write `candidates.csv`, `mixture.json` and, last, `mix.json` into its folder."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_rows(self.folder / "candidates.csv", *self.to_rows())
        write_atomically(self.folder / "mixture.json", render(self.mixture, "json"))
        write_atomically(self.folder / "mix.json", text + "\n")

    def to_json(self) -> dict[str, Any]:
        """Lay it out for `mix.json`: `weights` is λ* by dataset; candidates are in `candidates.csv`."""
        proposed = [c for c in self.candidates if c.kind in ("argmax", "top", "equal")]
        return {
            "m2m": __version__,
            "datasets": list(self.mixture.datasets),
            "weights": self.mixture.shares,
            "kind": self.chosen.kind,
            "utility": self.chosen.utility,
            "utility_predicted": self.chosen.utility_predicted,
            "targets": {fit.target.name: self._fitted(fit) for fit in self.fits},
            "spearman": self.spearman,
            "verified": [candidate.to_json() for candidate in (*proposed, self.best_start)],
            "uncertainty": self._uncertainty(),
            "trained": self.trained,
            "starts": len(self.candidates) - 2,
            "seconds": dict(self.seconds),
            "options": dict(self.options),
            "seed": self.seed,
            "config": self.identity,
        }

    def to_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Lay the candidates out as a table, a row each.

        Returns:
            The header and the rows (docs/mixing.md): `candidate`, `kind`, shares by dataset, `utility` and
            `utility predicted`, and for each target the score (`NAME measured` if a dataset has its name),
            the prediction and, with trained pairs, the correction.
        """
        names, datasets = [fit.target.name for fit in self.fits], self.mixture.datasets
        measured = {name: f"{name} measured" if name in datasets else name for name in names}
        corrected = [name for name in names if name in self.chosen.correction]
        scores = [column for name in names for column in (measured[name], f"{name} predicted")]
        scores += [f"{name} correction" for name in corrected]
        rows = [
            [
                c.mixture.label, c.kind, *c.mixture.weights, c.utility, c.utility_predicted,
                *(cell for name in names for cell in (c.measured[name], c.predicted[name])),
                *(c.correction[name] for name in corrected),
            ]
            for c in self.candidates
        ]  # fmt: skip
        return ["candidate", "kind", *datasets, "utility", "utility predicted", *scores], rows

    def _fitted(self, fit: TargetFit) -> dict[str, Any]:
        name = fit.target.name
        content = asdict(fit.target)
        del content["name"]
        return content | {
            "model": fit.model,
            "models": dict(fit.weights),
            "spearman": dict(fit.spearman),
            "notes": list(fit.notes),
            "base": fit.base,
            "predicted": self.chosen.predicted[name],
            "low": fit.interval[0],
            "high": fit.interval[1],
            "measured": self.chosen.measured[name],
        }

    def _uncertainty(self) -> dict[str, Any] | None:
        if self.uncertainty is None:
            return None
        found, names = self.uncertainty, self.mixture.datasets
        return {
            "resamples": len(found.choices),
            "low": dict(zip(names, found.low.tolist(), strict=True)),
            "high": dict(zip(names, found.high.tolist(), strict=True)),
            "regret": found.regret,
            "beats_equal": found.beats_equal,
        }
