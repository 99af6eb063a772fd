"""An experiment of all subsets that takes seconds: a byte GPT on eight words, and where it works."""

from __future__ import annotations

from pathlib import Path

from helpers.eight_words import write_example

from analysis.papers.configuration import Sized
from analysis.papers.experiment import Place
from analysis.papers.subsets import SubsetTruth
from m2m.executors.local import Local
from m2m.support.progress import nobody


def toy(place: Path) -> SubsetTruth:
    """Write texts and a configuration, and return an experiment on them under a name that the page knows."""
    example = write_example(
        place, "abc", {"rain": 3, "snow": 5}, steps=3, batch=4, examples=8, run="validate = true"
    )
    sized = Sized(example, {"run.target": {"rain": 1, "snow": 2}}, "a byte GPT", "eight words", minutes=1)
    return SubsetTruth("merge_to_mix_raw_text", "Toy", {"fast": sized, "full": sized}, fresh_seeds=2)


def place_of(name: str, out: Path) -> Place:
    """Return where an experiment of this name works below a folder."""
    return Place(out / "work" / name, out / "results" / "fast" / name, Local(1), nobody)
