"""The question of many datasets on five, where all 31 mixtures can be tried: a byte GPT on eight words."""

from __future__ import annotations

from pathlib import Path

from helpers.eight_words import write_example

from analysis.papers.configuration import Sized
from analysis.papers.questions.hunting import Budget
from analysis.papers.questions.many import ManyDatasets


def many_of(place: Path) -> ManyDatasets:
    """Write texts and a configuration below a folder, and return the question on them."""
    folder = place / "many"
    folder.mkdir()
    said = 'budget = 6\nfidelity = ["rain", "snow", "fog"]'
    targets = {"rain": 3, "snow": 5, "fog": 2}
    example = write_example(folder, "abcde", targets, steps=2, batch=2, examples=4, run=said)
    sized = Sized(example, {}, "a byte GPT", "eight words", minutes=1)
    return ManyDatasets("Toy", {"fast": sized}, {"fast": Budget(7, 2)}, fresh_seeds=2)
