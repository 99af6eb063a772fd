"""A ratio found on a smaller model, used on a larger one (figure 6a of arXiv 2601.17858)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.mergemix.dots import dots, named
from paper_figs.mergemix.set_up import ahead, scale, shares, trained_once, utilities
from paper_figs.part import Part, Table
from paper_figs.tables import estimate, result, written

EXPERIMENT, NAME = "mergemix_transfer", "mergemix_transfer"
_WAYS = {
    "smaller": "MergeMix on the smaller model",
    "mergemix": "MergeMix on the larger model itself",
    "smaller_trials": "best of 10 runs of the smaller model",
    "best_of_trials": "best of 10 runs of the larger model",
    "prior": "prior, written down beforehand",
    "uniform": "equal shares",
    "smaller_member": "best dataset alone, by the smaller's experts",
    "best_member": "best dataset alone, by the larger's experts",
}
_SURROGATES = {
    "smaller_trained": "trained, the smaller model",
    "smaller_merged": "merged, the smaller model",
    "merged": "merged, the larger model itself",
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the larger model's test utilities by every way, a panel a utility."""
    content = result(results, EXPERIMENT)
    names, choice = utilities(content), content["choice"]
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.3), layout="constrained")
        grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(grid, names, strict=True):
            dots(axes, [choice[way]["by"][name] for way in _WAYS], "one")
            axes.set_title(name, loc="left")
        named(grid[0], list(_WAYS.values()))
        figure.supxlabel("utility of the larger model on test, fresh training seeds", fontsize=8)
        return style.save(figure, out / NAME)


def tables(results: Path) -> list[Table]:
    """Return what each way gives, how alike both models rank ratios, and the cost."""
    content = result(results, EXPERIMENT)
    return [_choices(content), _ranks(content), _cost(content)]


def _choices(content: Mapping[str, Any]) -> Table:
    names, choice = utilities(content), content["choice"]
    header = [
        "ratio chosen by",
        " / ".join(content["datasets"]),
        *names,
        "overall, ahead of its own MergeMix",
    ]
    rows = [
        [
            words,
            shares(choice[way]["shares"]),
            *(estimate(choice[way]["by"][name]) for name in names),
            ahead(choice[way]),
        ]
        for way, words in _WAYS.items()
    ]
    return Table("The larger model on test", [header, *rows])


def _ranks(content: Mapping[str, Any]) -> Table:
    names, fidelity = utilities(content), content["fidelity"]
    rows = [
        [words, *(estimate(fidelity[name]["spearman"][key]) for name in names)]
        for key, words in _SURROGATES.items()
    ]
    seeds = ["two seeds of the larger model", *(estimate(fidelity[name]["seeds"]) for name in names)]
    n = content["sizes"]["trained_ratios"]
    return Table(f"ρ with the larger model really trained, n = {n} ratios", [["", *names], *rows, seeds])


def _cost(content: Mapping[str, Any]) -> Table:
    parameters, cost = content["parameters"], content["cost"]
    own = cost["larger"]["by"]["mergemix"]["forwards"] * parameters["larger"]
    header = [
        "way",
        "model",
        "trainings",
        "models scored",
        "forwards",
        "× trained parameters, × its own MergeMix",
    ]
    rows = [
        [
            _WAYS[way],
            model,
            str(found["trainings"]),
            str(found["scored"]),
            f"{found['forwards']:,}",
            written(found["forwards"] * parameters[model] / own, ".2f") + "×",
        ]
        for model in ("smaller", "larger")
        for way, found in cost[model]["by"].items()
    ]
    return Table("Until a ratio is chosen", [header, *rows])


def _caption(results: Path) -> str:
    content = result(results, EXPERIMENT)
    about, sizes, parameters = content["about"], content["sizes"], content["parameters"]
    return (
        f"Larger: {about['larger']} ({parameters['larger']:,} trained); smaller: {about['smaller']} "
        f"({parameters['smaller']:,} trained); {about['data']}. Both have the same data, steps "
        f"({sizes['steps']} of {sizes['batch']} examples) and {sizes['starting_mixtures']} merged starting "
        "mixtures. Every ratio is chosen on validation; the larger model is trained on it with n = "
        f"{sizes['fresh_seeds']} seeds that chose nothing, and scored on test; intervals are Student's over "
        f"these seeds, *ahead* is paired by seed.{trained_once(content['choice'], _WAYS)} {scale()} ρ is "
        "Spearman's over ratios drawn evenly from the simplex, which both models were trained on with "
        f"{sizes['truth_seeds']} seeds (validation); its intervals are about other ratios. A forward is of "
        "one example, training on one counts as three; equal shares and the prior cost none.\n\n"
        "What differs. The paper uses what it found on its 8B model for its 16B one, both with 1.4B active "
        "parameters, and says that this beats the manual ratio; it prints no number."
    )


PART = Part(
    "A smaller model's ratio on a larger one (figure 6a)", (EXPERIMENT,), _caption, draw=draw, tables=tables
)
