"""Who comes after merging's pick, in words and as a table: for the report and for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m2m.pipeline.report.page import paragraph, section, table
from m2m.pipeline.run_folder import to_train_on
from m2m.scoring.paired import Lead

_CANNOT_TELL = "these cannot tell the two apart"


def runner_up(results: Mapping[str, Any]) -> str:
    """Name the second best merged mixture and its distance; empty if there is none or the pick moved."""
    if len(results.get("best_merged", ())) < 2 or to_train_on(results) != results["picked"]:
        return ""
    other = results["best_merged"][1]
    lead = _lead(other)
    said = f"runner-up: {_name(other)}, by "
    if lead is None:
        return f"{said}{other['difference']:+.3g}"
    verdict = "" if lead.tells_apart else f": {_CANNOT_TELL}"
    return f"{said}{lead.shown} on {lead.n} examples{verdict}"


def too_close(results: Mapping[str, Any]) -> str:
    """Say that the examples cannot tell merging's pick from those next to it; empty if they can."""
    found = results.get("best_merged", [])[1:]
    alike = [one for one in found if (lead := _lead(one)) is not None and not lead.tells_apart]
    if not alike or alike[0] is not found[0]:
        return ""
    lead = Lead(**alike[0]["lead"])
    more = f"; nor from {len(alike) - 1} more of the best {len(found) + 1}" if len(alike) > 1 else ""
    return (
        f"{lead.n} validation examples cannot tell the merged model of {_name(results['best_merged'][0])} "
        f"from that of {_name(alike[0])}: they differ by {lead.shown}{more}. More examples would."
    )


def best_merged_section(results: Mapping[str, Any]) -> str:
    """Lay out the report's section on the best merged mixtures; empty where a run did not note them."""
    found = results.get("best_merged")
    if not found:
        return ""
    rows = [_row(one) for one in found]
    rows[0][2] = "the pick"
    head = [
        "mixture",
        f"merged, validation {results['metric']}",
        "pick − it [95 %]",
        "can be told from the pick",
    ]
    about = (
        "Merged models' scores, by which the pick was made, best first. Differences to the pick are paired, "
        "over the same examples (several targets: their scales taken as given); each interval is about its "
        "own pair, and does not count that the best of many was looked for."
    )
    return section(
        "The pick and those next to it", paragraph(about, "soft"), table(head, rows, picked=rows[0][0])
    )


def _row(one: Mapping[str, Any]) -> list[str]:
    lead = _lead(one)
    behind = f"{one['difference']:+.3g}" if lead is None else lead.shown
    verdict = "" if lead is None else "yes" if lead.tells_apart else f"no, by {lead.n} examples"
    return [_name(one), f"{one['score']:.4g}", behind, verdict]


def _name(one: Mapping[str, Any]) -> str:
    return " + ".join(one["mixture"])


def _lead(one: Mapping[str, Any]) -> Lead | None:
    return None if one.get("lead") is None else Lead(**one["lead"])
