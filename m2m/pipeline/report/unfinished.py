"""The page of a run that has not finished: what there is, what leads so far, and what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from m2m.pipeline.config import RunConfig
from m2m.pipeline.report.caveats import contaminated
from m2m.pipeline.report.page import card, cards, paragraph
from m2m.pipeline.report.scored import ScoredTarget
from m2m.pipeline.run_folder import RunFolder
from m2m.setups.rows.contamination import Contamination

_GO_ON = "The same command goes on where it was: m2m run {0} --out {1}"


def so_far(
    folder: RunFolder,
    config: RunConfig | None,
    targets: Mapping[str, ScoredTarget],
    common: Contamination | None,
) -> Iterator[str]:
    """Lay out how far a run has come, and what leads.

    Args:
        folder: The run folder.
        config: Its configuration; None where it has none.
        targets: What was scored, the target that decides first.
        common: What targets and datasets have in common, if that is known.

    Yields:
        Parts of the page.
    """
    first = next(iter(targets.values()), None)
    best = None if first is None or config is None or len(config.run.weights) > 1 else first.best()
    title = "Not finished yet" if best is None else f"Not finished yet: <b>{escape(best.shown)}</b> leads"
    yield f"<h1>{title}</h1>"
    command = _GO_ON.format("CONFIG.toml" if config is None else config.path, folder.root)
    yield paragraph(
        "This page shows what the run has left in its folder so far, and concludes nothing: what leads may "
        f"change with the next score. {command}",
        "lead",
    )
    doubts = ["Nothing is final.", *contaminated(common)]
    yield cards(
        [
            card("Trained so far", *_trained(folder, config)),
            card("Merged and scored", *_merged(first, config)),
            card("Leads so far", *_leader(first, best), "pick"),
            card("What to distrust", "everything yet", doubts, "warn"),
        ]
    )


def _trained(folder: RunFolder, config: RunConfig | None) -> tuple[str, list[str]]:
    experts, mixtures = (
        sum(1 for _ in folder.root.glob(f"{room}/*/seed*/manifest.json")) for room in ("experts", "mixtures")
    )
    names = [] if config is None else config.dataset_names
    of = f" of {len(names)}" if names else ""
    return f"{experts}{of} experts", [f"{mixtures} models on mixtures"]


def _merged(target: ScoredTarget | None, config: RunConfig | None) -> tuple[str, list[str]]:
    if target is None:
        return "none", ["Experts come first."]
    names = [] if config is None else config.dataset_names
    of = f" of {2 ** len(names) - 1:,}" if names else ""
    return f"{len(target.merged):,}{of}", [f"validation {target.metric} on {target.name}"]


def _leader(target: ScoredTarget | None, best: object) -> tuple[str, list[str]]:
    if target is None or (found := target.best()) is None:
        return "nothing yet", []
    if best is None:
        return "–", ["Several targets count together: what leads is known when all candidates are scored."]
    base = "" if target.base is None else f", base model {target.base:.4g}"
    return found.shown, [f"merged {target.metric} {found.merged:.4g}{base}"]
