"""The report's table of test scores: the pick beside the base model and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from m2m.mixture import Mixture
from m2m.pipeline.headlines import in_words
from m2m.pipeline.report.page import table
from m2m.pipeline.report.scored import ScoredTarget
from m2m.pipeline.run_folder import to_train_on

#: Rows of the test table: key in `results.json` to what it is called.
MODELS = {
    "base": "base model",
    "picked": "picked by merging",
    "picked_after_trainings": "picked after trainings",
    "all": "all datasets",
    "similarity": "most similar datasets",
    "random": "random subset",
    "oracle": "oracle",
}
#: A mixture's merged score, and its trained one.
_SCORES = (attrgetter("merged"), attrgetter("truth"))
_Results = Mapping[str, Any]


def test_table(results: _Results) -> str:
    """Lay out the table."""
    test, validation = results["test"], results["validation"]
    rows = [_test_row(name, results) for name in [*MODELS, *test] if name in test]
    rows = list(dict.fromkeys(rows))
    metric = results["metric"]
    head = ["model", "trained on", f"test {metric}", "gain over base", f"validation {metric}"]
    caption = f"{results['target']}, {metric} ({direction(results)}). Nothing was chosen on the test split."
    shown = head if validation else head[:-1]
    return table(shown, [row[: len(shown)] for row in rows], caption, picked=MODELS[taken(results)])


def _test_row(name: str, results: _Results) -> tuple[str, ...]:
    score, base = results["test"][name], results["test"].get("base")
    gain = None
    if name != "base" and None not in (score, base):
        gain = score - base if results["higher_is_better"] else base - score
    members = " + ".join(_members(name, results)) or "–"
    validation = number(results["validation"].get(name))
    return (
        MODELS.get(name, name) + _same_as(name, results),
        members,
        number(score),
        "" if gain is None else f"{gain:+.4g}",
        validation,
    )


def _members(name: str, results: _Results) -> Sequence[str]:
    return results.get(name) or () if name in MODELS else ()


def _same_as(name: str, results: _Results) -> str:
    # A baseline that chose what another row has trained is no second piece of evidence.
    if name == "picked":
        return ""
    members, rows = _members(name, results), [row for row in MODELS if row in results["test"]]
    before = rows[: rows.index(name)] if name in rows else []
    same = next((row for row in before if members and _members(row, results) == members), None)
    return "" if same is None else f" (here the same as {MODELS[same]})"


def taken(results: _Results) -> str:
    """Name the row of the mixture to train on: merging's pick, unless trainings moved it."""
    return "picked" if to_train_on(results) == results["picked"] else "picked_after_trainings"


def direction(results: _Results) -> str:
    """Say which way is better."""
    return "higher is better" if results["higher_is_better"] else "lower is better"


def number(value: float | None, reason: str | None = "") -> str:
    """Write a score; a dash, and why, where there is none."""
    if value is None:
        return f"– ({reason})" if reason else "–"
    return f"{value:.4g}"


def by_target(targets: Mapping[str, ScoredTarget], results: _Results) -> Iterator[str]:
    """Lay out validation scores of what was trained, target by target, and which mixture is best there."""
    models = dict[str, str]()  # what a mixture is called, by its label: each is a column once
    for name in filter(results.get, MODELS):
        models.setdefault(Mixture.subset(results["datasets"], results[name]).label, MODELS[name])
    metrics = {(target.metric, target.higher_is_better) for target in targets.values()}
    same = in_words(*next(iter(metrics))) if len(metrics) == 1 else ""
    rows = []
    for target in targets.values():
        merged, trained = ({one.label: score(one) for one in target.mixtures} for score in _SCORES)
        best = target.best()
        rows.append(
            [
                target.name if same else f"{target.name}, {in_words(target.metric, target.higher_is_better)}",
                number(target.base),
                number(merged.get(next(iter(models)))),
                *(number(trained.get(label)) for label in models),
                "–" if best is None else best.shown,
            ]
        )
    caption = f"Validation scores{same and ', '}{same}. The last is what that target alone would pick."
    head = ["target", "base model", "the pick, merged", *(f"{name}, trained" for name in models.values())]
    yield table([*head, "best merged mixture"], rows, caption, picked=rows[0][0])
