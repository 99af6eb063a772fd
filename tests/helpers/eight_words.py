"""Texts of eight words, and a byte GPT that learns them: what the papers' experiments are tried on."""

from __future__ import annotations

from pathlib import Path

WORDS = ["sun", "moon", "star", "sea", "hill", "rain", "snow", "wind"]
CONFIG = """
[run]
target = "{target}"
{run}
[train]
steps = {steps}
batch = {batch}
learning_rate = 0.02
[setup]
kind = "language"
model = "byte-gpt"
[setup.base]
layers = 1
width = 16
heads = 2
context = 24
steps = {steps}
batch = {batch}
text.t.files = "{place}/a.txt"
"""


def write_example(
    place: Path,
    datasets: str,
    targets: dict[str, int],
    *,
    steps: int,
    batch: int,
    examples: int,
    run: str = "",
) -> Path:
    """Write texts, and a configuration of them; return the configuration.

    Args:
        place: Folder that gets all of it.
        datasets: A letter a dataset.
        targets: By name, the step at which words follow each other.
        steps: Of every training.
        batch: Of every training.
        examples: Of a target, in each of its two splits.
        run: More lines of `[run]`.
    """
    text = CONFIG.format(target=next(iter(targets)), run=run, steps=steps, batch=batch, place=place)
    for number, name in enumerate(datasets):
        (place / f"{name}.txt").write_text(" ".join(WORDS[(at * (number + 2)) % 8] for at in range(400)))
        text += f'[setup.datasets.{name}]\nfiles = "{place}/{name}.txt"\n'
    for name, step in targets.items():
        text += f'[setup.targets.{name}]\nfiles = "{place}/{name}/*.txt"\n'
        text += f"validation = {examples}\ntest = {examples}\n"
        (place / name).mkdir()
        for at in range(3 * examples):
            words = " ".join(WORDS[(at + step * k * k) % 8] for k in range(40))
            (place / name / f"{at}.txt").write_text(f"{at} {words}")
    (place / "example.toml").write_text(text)
    return place / "example.toml"
