"""What `m2m mix` found in a run's folder, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from m2m.errors import RunFolderError
from m2m.mixture import shown_label
from m2m.pipeline.report.page import image, paragraph, table
from m2m.support.csv_tables import read_rows
from m2m.support.doors import read_json, reading

#: What the page takes of `mix.json`.
_FOUND = {
    "datasets": [str],
    "weights": {str: float},
    "kind": str,
    "utility": float,
    "utility_predicted": float,
    "spearman": (float, NoneType),
    "targets": {str: {"base": float, "predicted": float, "low": float, "high": float, "measured": float}},
    "uncertainty": (
        NoneType,
        {"low": {str: float}, "high": {str: float}, "beats_equal": float, "regret": float, "resamples": int},
    ),
    "seconds": {str: float},
}
_KINDS = {
    "argmax": "best of the fitted surface", "top": "mean of the best of the surface", "equal": "equal shares"
}  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A mixture that the search merged and scored."""

    weights: Mapping[str, float]
    score: float
    text: str
    kind: str


@dataclass(frozen=True)
class Mixed:
    """A search on the simplex.

    Attributes:
        folder: Where it was written.
        found: Content of `mix.json`.
        candidates: What was merged and scored.
    """

    folder: Path
    found: Mapping[str, Any]
    candidates: Sequence[Candidate]

    @property
    def shares(self) -> str:
        """λ* for people."""
        shares = self.found["weights"].items()
        return ", ".join(f"{name} {share:.1%}" for name, share in shares if share > 0)

    @property
    def anchor(self) -> float:
        """The experts' β; 1 where they are plain, or an older m2m did not say."""
        options = self.found.get("options")
        anchor = options.get("anchor", 1) if isinstance(options, Mapping) else 1
        return anchor if isinstance(anchor, int | float) else 1

    def section(self) -> Iterator[str]:
        """Lay out λ*, how sure it is, and what was predicted and measured of it."""
        sure, names = self.found["uncertainty"], self.found["datasets"]
        said = f"λ*, the shares to train on: {self.shares}."
        if sure is not None:
            said += (
                f" Its merged model is better than that of equal shares in {sure['beats_equal']:.0%} of "
                f"{sure['resamples']} resamples; expected regret {sure['regret']:.2g} of the starting "
                "mixtures' range."
            )
        if self.anchor != 1:
            said += (
                f" Merged models are of anchored experts: each trained for {self.anchor:g} on its own data, "
                "and for the rest on all datasets in equal parts."
            )
        yield paragraph(said)
        head = ["dataset", "share", *(["95 % of resamples"] if sure else [])]
        between = [f"{sure['low'][name]:.2f} to {sure['high'][name]:.2f}" for name in names] if sure else None
        rows = [
            [name, f"{self.found['weights'][name]:.3f}", *([between[place]] if between else [])]
            for place, name in enumerate(names)
        ]
        yield table(head, rows)
        of_targets = [
            [
                name,
                *(f"{one[key]:.4g}" for key in ("base", "predicted", "measured")),
                f"{one['low']:.4g} to {one['high']:.4g}",
            ]
            for name, one in self.found["targets"].items()
        ]
        caption = "What the surfaces expect of λ*, and what its merged model has."
        yield table(
            ["target", "base model", "predicted", "measured", "95 % of predictions"], of_targets, caption
        )
        if len(names) > 4:
            yield image(self.folder, "mix", "Utility predicted and measured; λ* with its intervals.")


def read_mixed(folder: Path) -> Mixed | None:
    """Read what `m2m mix` wrote into a folder; None where it has not finished there."""
    path, rows = folder / "mix.json", folder / "candidates.csv"
    if not path.exists() or not rows.exists():
        return None
    found = read_json(path, "what `m2m mix` writes", RunFolderError, _FOUND)
    with reading("candidates of a search on the simplex", rows, RunFolderError):
        candidates = [_candidate(row, found) for _, row in read_rows(rows, "candidates of `m2m mix`")]
    return Mixed(folder, found, candidates)


def _candidate(row: Mapping[str, str], found: Mapping[str, Any]) -> Candidate:
    weights = {name: float(row[name]) for name in found["datasets"] if float(row[name])}
    predicted, utility = float(row["utility predicted"]), float(row["utility"])
    kind = "λ*" if row["kind"] == found["kind"] and row["kind"] in ("argmax", "top") else ""
    text = (
        f"{shown_label(row['candidate'])}\n{_KINDS.get(row['kind'], 'starting mixture')}\n"
        f"utility {utility:.4g}, predicted {predicted:.4g}"
    )
    return Candidate(weights, utility, text, kind)
