"""A part of the page of results: a figure, a table or both, and the words under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

#: Cells of a row of a table.
Cells = Sequence[str]


class Table(NamedTuple):
    """A table: what stands above it, and its rows, the header first."""

    title: str
    rows: Sequence[Cells]


@dataclass(frozen=True)
class Part:
    """One figure or table. Each function gets the folder with a folder of results an experiment.

    Attributes:
        title: Its heading.
        needs: Experiments one of which at least must have results.
        caption: Returns what is shown, of how many, and what differs from the paper.
        draw: Draws into a folder, and returns the files; None for a table.
        tables: Returns tables; None for a figure.
    """

    title: str
    needs: Sequence[str]
    caption: Callable[[Path], str]
    draw: Callable[[Path, Path], Sequence[Path]] | None = None
    tables: Callable[[Path], Sequence[Table]] | None = None


class Section(NamedTuple):
    """What the page says of one paper or subject: a heading, words and parts."""

    title: str
    words: str
    parts: Sequence[Part]
