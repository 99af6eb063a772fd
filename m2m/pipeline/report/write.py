"""One page that says what a run found, how far to trust it, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from m2m.errors import RunFolderError
from m2m.mixture import Mixture
from m2m.pipeline.data_read import EXPOSURE_HEAD, exposure_rows
from m2m.pipeline.headlines import headline, in_words
from m2m.pipeline.report.beside import beside
from m2m.pipeline.report.caveats import QUESTIONS, caveats, interval_about
from m2m.pipeline.report.page import bullets, folded, page, paragraph, picture, section, table
from m2m.pipeline.report.runner_up import best_merged_section
from m2m.pipeline.report.trust import trust_section
from m2m.pipeline.report.utility import targets
from m2m.pipeline.run_folder import RunFolder, to_train_on
from m2m.setups.rows.contamination import DUPLICATES_HEAD, OVERLAP_HEAD, Contamination
from m2m.setups.rows.inventory import HEAD, Inventory
from m2m.setups.rows.word_runs import FEWEST, RUN
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.support.doors import read_json, read_text, reading
from m2m.support.files import write_atomically
from m2m.support.outputs import Output, check_outputs
from m2m.training import TrainRecipe

#: Rows of the test table: key in `results.json` to what it is called.
_MODELS = {
    "base": "base model",
    "picked": "picked by merging",
    "picked_after_trainings": "picked after trainings",
    "all": "all datasets",
    "similarity": "most similar datasets",
    "random": "random subset",
    "oracle": "oracle",
}
#: What the page tells of every run.
_NEEDED = (
    "m2m", "target", "metric", "higher_is_better", "datasets", "picked", "test", "validation", "fidelity",
    "seconds", "recipe", "seed",
)  # fmt: skip
_Results = Mapping[str, Any]
#: What is said of a pick that needs no merging.
ONE_DATASET = (
    "The pick is a single dataset, whose merged model is its expert: the experts' own scores say as much, "
    "without merging."
)


@checked()
def write_report(run: str | Path) -> Path:
    """Write `report.html`, which needs nothing beside it.

    Args:
        run: A finished run folder; figures are taken in if they are there.

    Returns:
        The page.

    Raises:
        RunFolderError: If the folder is not a finished run.
    """
    folder = RunFolder(Path(run))
    results = folder.read_results(*_NEEDED)
    if not results:
        raise RunFolderError(f"{folder.root} is not a finished run: it has no {folder.results.name}")
    path = folder.report
    check_outputs([Output(f"report of {folder.root}", path, own=True)])
    write_atomically(path, page(f"m2m: {' + '.join(to_train_on(results))}", _parts(folder, results)))
    return path


def _parts(folder: RunFolder, results: _Results) -> Iterator[str]:
    yield _headline(results)
    bars = picture(folder.figures, "test_scores", "Gain over the base model on the test split.")
    yield section("Test scores", f'<div class="pair">{_test_table(results)}{bars}</div>')
    if utility := results.get("utility"):
        yield section("Its targets", *targets(utility, results, _MODELS))
    yield best_merged_section(results)
    if "trust" in results:
        yield trust_section(folder.figures, results)
    else:
        yield section("Can the pick be trusted? Fidelity", *_fidelity(folder, results))
    if results["fidelity"]:
        yield section("Beside what the experts say without merging", *beside(folder.figures, results))
    yield section("Read with care", bullets(caveats(results)))
    if inventory := folder.read_data():
        yield section("What was read", *_data(inventory, results))
    if common := folder.read_contamination():
        yield section("What targets and datasets have in common", *_common(common[1]))
    yield section("How it was made", *_making(folder, results))


def _headline(results: _Results) -> str:
    names = " + ".join(f"<b>{escape(name)}</b>" for name in to_train_on(results))
    taken, test = _taken(results), results["test"]
    known = [
        (label, test[key])
        for key, label in _MODELS.items()
        if key not in (taken, "picked_after_trainings") and test.get(key) is not None
    ]
    others = ", ".join(f"{label} {_number(score)}" for label, score in known)
    every = 2 ** len(results["datasets"]) - 1
    found = results.get("candidates", {"scored": every, "of": every})
    of_all = f"Of all {every} mixtures of {len(results['datasets'])} datasets"
    if found["scored"] < every:
        of_all = f"Of {found['scored']} mixtures that a search scored, of {every} there are"
    best = f"{of_all}, the merged model of this one scores best on {results['target']}."
    if taken != "picked":
        picked = " + ".join(results["picked"])
        best = f"{of_all}, the merged model of {picked} scores best on {results['target']}, but "
        best += f"{results['why']}."
    text = (
        f"{best} Really trained, it has a test {results['metric']} of {_number(test[taken])} "
        f"({_direction(results)}); {others}."
    )
    if len(results["picked"]) == 1 and taken == "picked":
        text += f" {ONE_DATASET}"
    return f"<h1>Train on {names}</h1>\n{paragraph(text, 'lead')}"


def _taken(results: _Results) -> str:
    """Name the row of the mixture to train on: merging's pick, unless trainings moved it."""
    return "picked" if to_train_on(results) == results["picked"] else "picked_after_trainings"


def _test_table(results: _Results) -> str:
    test, validation = results["test"], results["validation"]
    rows = [_test_row(name, results) for name in [*_MODELS, *test] if name in test]
    rows = list(dict.fromkeys(rows))
    metric = results["metric"]
    head = ["model", "trained on", f"test {metric}", "gain over base", f"validation {metric}"]
    caption = f"{results['target']}, {metric} ({_direction(results)}). Nothing was chosen on the test split."
    shown = head if validation else head[:-1]
    return table(shown, [row[: len(shown)] for row in rows], caption, picked=_MODELS[_taken(results)])


def _test_row(name: str, results: _Results) -> tuple[str, ...]:
    score, base = results["test"][name], results["test"].get("base")
    gain = None
    if name != "base" and None not in (score, base):
        gain = score - base if results["higher_is_better"] else base - score
    members = " + ".join(_members(name, results)) or "–"
    validation = _number(results["validation"].get(name))
    return (
        _MODELS.get(name, name) + _same_as(name, results),
        members,
        _number(score),
        "" if gain is None else f"{gain:+.4g}",
        validation,
    )


def _members(name: str, results: _Results) -> Sequence[str]:
    return results.get(name) or () if name in _MODELS else ()


def _same_as(name: str, results: _Results) -> str:
    # A baseline that chose what another row has trained is no second piece of evidence.
    if name == "picked":
        return ""
    members, rows = _members(name, results), [row for row in _MODELS if row in results["test"]]
    before = rows[: rows.index(name)] if name in rows else []
    same = next((row for row in before if members and _members(row, results) == members), None)
    return "" if same is None else f" (here the same as {_MODELS[same]})"


def _fidelity(folder: RunFolder, results: _Results) -> Iterator[str]:
    if not results["fidelity"]:
        yield paragraph(
            f"Not measured: this run trained only what it chose. With {argument('validate', True)} every "
            "mixture is really trained and compared with its merged model."
        )
        return
    yield paragraph(
        "Every mixture was also really trained. The correlation of merged and trained scores over "
        "mixtures of two or more datasets says how well merging stands in for training. Single datasets "
        "are left out: their merged model is the trained one, so that they agree whatever merging does. "
        "Of these mixtures: as if they were trained with other seeds and tested on other examples. Of new "
        "datasets: as if others had been there. Regret is the score lost by taking the pick and not the best "
        "mixture, single datasets among them.",
        "soft",
    )
    head = [
        "target",
        "n",
        "Pearson",
        "these mixtures [95 %]",
        "new datasets [95 %]",
        "Spearman",
        "with single datasets",
        "two seeds agree",
        "regret",
        "rank",
    ]
    first = sorted(results["fidelity"].items(), key=lambda item: item[0] != results["target"])
    rows = [_fidelity_row(_judged(name, results), found) for name, found in first]
    yield table(head, rows, picked=_judged(results["target"], results))
    yield picture(
        folder.figures,
        "fidelity_scatter",
        "Merged against really trained models, validation scores; hollow: one dataset, whose merged "
        "model is the "
        "expert itself.",
    )


def _judged(target: str, results: _Results) -> str:
    """Name a target, and its metric where targets have different ones."""
    return f"{target}, {in_words(*headline(results, target))}" if "metrics" in results else target


def _fidelity_row(target: str, found: Mapping[str, Any]) -> list[str]:
    rank = found.get("rank")
    return [
        target,
        str(found["mixtures"]["pearson"]["n"]),
        _correlation(found["mixtures"]["pearson"]),
        *(_interval(interval_about(found["mixtures"]["pearson"], about)) for about in QUESTIONS),
        _correlation(found["mixtures"]["spearman"]),
        _correlation(found.get("with_singletons", {}).get("pearson")),
        _correlation(found.get("ceiling", {}).get("pearson")),
        _number(found.get("regret"), found.get("reason")),
        _number(None, found.get("reason")) if rank is None else f"{rank} of {found.get('candidates', '?')}",
    ]


def _data(inventory: Inventory, results: _Results) -> Iterator[str]:
    yield table(HEAD, inventory.rows(), "Documents count once; tokens of text are counted as it is packed.")
    picked = Mixture.subset(results["datasets"], results["picked"])
    caption = "How often trainings go through each dataset, and what the training on the pick sees of it."
    yield table(EXPOSURE_HEAD, exposure_rows(inventory, _recipe(results), picked), caption)
    if notes := list(inventory.notes()):
        yield bullets(notes)


def _common(found: Contamination) -> Iterator[str]:
    if rows := found.overlap_rows():
        caption = (
            f"Documents of targets that share {RUN} words in a row with a dataset, or all {FEWEST} to "
            f"{RUN - 1} of theirs; shorter ones are compared whole. Words of templates do not count."
        )
        yield table(OVERLAP_HEAD, rows, caption)
    else:
        yield paragraph(f"No document of a target shares {RUN} words in a row with a dataset.")
    if rows := found.duplicate_rows():
        caption = "Documents of datasets, four fifths of whose runs of words stand in one other document."
        if found.every > 1:
            caption += f" Estimated from one run of {found.every}."
        yield table(DUPLICATES_HEAD, rows, caption)
    if notes := list(found.notes()):
        yield bullets(notes)


def _recipe(results: _Results) -> TrainRecipe:
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in results["recipe"].items()
    }
    with reading("a run's results", "its `recipe`", RunFolderError):
        return TrainRecipe(**values)


def _making(folder: RunFolder, results: _Results) -> Iterator[str]:
    seconds = results["seconds"]
    facts = {
        "recipe": results["recipe"],
        "seed": results["seed"],
        "versions": {"m2m": results["m2m"], **_versions(folder)},
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
    }
    yield table(["what", "value"], [[name, _plain(value)] for name, value in facts.items()])
    yield picture(
        folder.figures,
        "loss_curves",
        "Losses of the trainings, each batch's before its step, as means over a twentieth of the steps.",
    )
    if folder.config.exists():
        yield folded("config.toml", read_text(folder.config, "a run's configuration", RunFolderError))


def _versions(folder: RunFolder) -> dict[str, str]:
    """Return the versions that the fidelity analysis noted, if it was made."""
    path = folder.figures / "fidelity.json"
    if not path.exists():
        return {}
    content = read_json(path, "what `m2m-analysis fidelity` writes", RunFolderError, {"versions": {str: str}})
    versions: dict[str, str] = content["versions"]
    return {name: version for name, version in versions.items() if name != "m2m"}


def _direction(results: _Results) -> str:
    return "higher is better" if results["higher_is_better"] else "lower is better"


def _correlation(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–" if estimate is None else f"– ({estimate.get('reason') or 'not defined'})"
    return f"{estimate['value']:.2f}"


def _interval(interval: Mapping[str, Any]) -> str:
    if interval.get("low") is None:
        return f"– ({interval['reason']})" if interval.get("reason") else "–"
    return f"{interval['low']:.2f} to {interval['high']:.2f}"


def _number(value: float | None, reason: str | None = "") -> str:
    if value is None:
        return f"– ({reason})" if reason else "–"
    return f"{value:.4g}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " · ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return (
        ", ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
