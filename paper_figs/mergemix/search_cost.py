"""What finding a ratio costs in forward passes (Table 6 of arXiv 2601.17858)."""

from __future__ import annotations

from pathlib import Path

from paper_figs.mergemix.set_up import NEEDS, WAYS, found
from paper_figs.part import Part, Table
from paper_figs.tables import written

#: arXiv 2601.17858, Table 6: method, model, tokens of a run, runs, parameters × tokens × runs, × MergeMix's.
_PRINTED = (
    ("Manual, adapted RegMix", "8B", "200B", "10", "16,000", "100×"),
    ("CLIMB (published)", "350M", "40B", "112", "1,568", "9.8×"),
    ("Scaling laws (published)", "about 1B in all", "30B", "40", "1,200", "7.5×"),
    ("MergeMix", "8B", "5B", "4", "160", "1×"),
)


def tables(results: Path) -> list[Table]:
    """Return ours and the paper's."""
    cost = found(results)["cost"]
    own = cost["by"]["mergemix"]
    short = own["trainings"] * cost["training"]
    rows = [
        [
            WAYS[name],
            str(way["trainings"]),
            str(way["scored"]),
            f"{way['forwards']:,}",
            written(way["trainings"] * cost["training"] / short, ".1f") + "×",
            written(way["forwards"] / own["forwards"], ".1f") + "×",
        ]
        for name, way in cost["by"].items()
    ]
    header = [
        "way",
        "trainings",
        "models scored",
        "forwards",
        "training alone, × MergeMix",
        "all, × MergeMix",
    ]
    columns = ["the paper", "model", "tokens a run", "runs", "10¹⁸ parameters × tokens", "× MergeMix"]
    return [Table("", [header, *rows]), Table("", [columns, *_PRINTED])]


def _caption(results: Path) -> str:
    cost = found(results)["cost"]
    return (
        f"Until a ratio is chosen, in forward passes of one example; training on one counts as three. One "
        f"training takes {cost['training']:,}, scoring one model on validation {cost['examples']:,}. Here "
        "experts are as long as mixtures and trainings short, so scoring counts and the ratio between ways "
        "is not the paper's: its experts are a fortieth of its runs, and it sets scoring to zero. Forming a "
        "merged model is not counted."
    )


PART = Part("Cost of the search (Table 6)", NEEDS, _caption, tables=tables)
