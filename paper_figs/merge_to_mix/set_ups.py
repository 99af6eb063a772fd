"""The set-ups on which Merge to Mix is redone, what the paper printed there, and what differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from paper_figs.tables import result


class SetUp(NamedTuple):
    """One set-up: its experiment, and what stands beside it in the paper."""

    experiment: str
    modality: str
    #: Pearson's r of merged and trained scores over all mixtures, as printed.
    printed_r: float


#: arXiv 2505.16066, abstract and section 4: r over image classification, and over language tasks.
SET_UPS = (
    SetUp("merge_to_mix_vision", "vision", 0.78),
    SetUp("merge_to_mix_translation", "language", 0.57),
    SetUp("merge_to_mix_raw_text", "language", 0.57),
)
NEEDS = tuple(one.experiment for one in SET_UPS)
#: What chooses, in words, by its name in results.
WAYS = {
    "picked": "merging",
    "best_member": "best member's expert (no merge)",
    "mean_of_members": "mean of the members' experts (no merge)",
    "similarity": "similarity of embeddings",
    "all": "all datasets",
    "random": "a random mixture, one draw",
    "oracle": "oracle: best of all trained",
}


def found(results: Path) -> Iterator[tuple[SetUp, dict[str, Any]]]:
    """Yield the set-ups that have results, with them."""
    for one in SET_UPS:
        if (results / one.experiment / "result.json").exists():
            yield one, result(results, one.experiment)


def differences(results: Path) -> str:
    """Say of every set-up what differs from the paper's."""
    lines = [
        f"*{content['about']['title']}* (the paper's {one.modality}): {content['about']['model']}; "
        f"{content['about']['data']}; N = {content['cost']['datasets']}, {content['cost']['mixtures']} "
        f"mixtures of {content['sizes']['steps']} steps of {content['sizes']['batch']} examples, each "
        f"trained with {_seeds(content['sizes']['truth_seeds'])}."
        for one, content in found(results)
    ]
    paper = (
        "What differs: the paper has N = 6 and 7, 63 and 127 mixtures a target, Llama-3-8B-Instruct for "
        "language; its vision model, its datasets, its recipe and whether its r is pooled over targets and "
        "counts single datasets, whose merged model is the trained one, are not known to us."
    )
    return "\n".join([paper, *(f"- {line}" for line in lines)]).replace("\n- ", "\n\n- ", 1)


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
