"""An experiment of all subsets that takes seconds: a byte GPT on eight words, and where it works."""

from __future__ import annotations

from pathlib import Path

from analysis.papers.experiment import Place
from analysis.papers.subsets import Sized, SubsetTruth
from m2m.support.progress import nobody

WORDS = ["sun", "moon", "star", "sea", "hill", "rain", "snow", "wind"]
CONFIG = """
[run]
target = "unused"
validate = true
[train]
steps = 3
batch = 4
learning_rate = 0.02
[setup]
kind = "language"
model = "byte-gpt"
[setup.base]
layers = 1
width = 16
heads = 2
context = 24
steps = 3
batch = 4
text.t.files = "{place}/a.txt"
[setup.datasets]
a.files = "{place}/a.txt"
b.files = "{place}/b.txt"
c.files = "{place}/c.txt"
[setup.targets.rain]
files = "{place}/goal/*.txt"
validation = 8
test = 8
[setup.targets.snow]
files = "{place}/other/*.txt"
validation = 8
test = 8
"""


def toy(place: Path) -> SubsetTruth:
    """Write texts and a configuration, and return an experiment on them under a name that the page knows."""
    for number, name in enumerate("abc"):
        (place / f"{name}.txt").write_text(" ".join(WORDS[(at * (number + 2)) % 8] for at in range(400)))
    for folder, step in (("goal", 3), ("other", 5)):
        (place / folder).mkdir()
        for at in range(24):
            text = f"{at} " + " ".join(WORDS[(at + step * k * k) % 8] for k in range(40))
            (place / folder / f"{at}.txt").write_text(text)
    example = place / "example.toml"
    example.write_text(CONFIG.format(place=place))
    sized = Sized(example, {"run.target": {"rain": 1, "snow": 2}}, "a byte GPT", "eight words", minutes=1)
    return SubsetTruth("merge_to_mix_raw_text", "Toy", {"fast": sized, "full": sized}, fresh_seeds=2)


def place_of(name: str, out: Path) -> Place:
    """Return where an experiment of this name works below a folder."""
    return Place(out / "work" / name, out / "results" / "fast" / name, 1, nobody)
