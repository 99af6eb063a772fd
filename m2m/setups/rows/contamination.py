"""Contamination: what targets judge by and datasets train on too, and what datasets hold several times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Any

from m2m.setups.rows.items import Item
from m2m.setups.rows.near_duplicates import NearDuplicates, RunIndex
from m2m.setups.rows.overlap import Judged, Overlap, Pair, Search
from m2m.setups.rows.word_runs import RUN, NumberSet, template_of, texts_of
from m2m.support.progress import Progress, nobody

#: Parts of a path that are shown.
_PARTS = 2
#: A share of items from which on it is said.
_MANY = 0.01
OVERLAP_HEAD = (
    "target", "dataset", "documents", f"share {RUN} words", "in the answer", "of all runs", "short, the same",
    "for example",
)  # fmt: skip
DUPLICATES_HEAD = ("dataset", "documents", "near-duplicates of its own", "of other datasets", "for example")


@dataclass(frozen=True)
class Contamination:
    """What the parts of a run have in common.

    Attributes:
        overlaps: Of every dataset with every split of a target.
        duplicates: Of every dataset.
        every: For near-duplicates one run of so many was compared; 1: all.
    """

    overlaps: Sequence[Overlap]
    duplicates: Sequence[NearDuplicates]
    every: int = 1

    def notes(self) -> Iterator[str]:
        """Say what is more than a hundredth of a part, a line for each target and dataset, and what to do."""
        many = self._much()
        for target, dataset in dict.fromkeys((one.target, one.dataset) for one in many):
            splits = [one for one in many if (one.target, one.dataset) == (target, dataset)]
            counts = "; ".join(map(_in_words, splits))
            yield f"target {target}: dataset {dataset} has some of it: {counts}; as {_as(splits[0].example)}"
        if many:
            yield (
                "what a dataset has of a target flatters whoever trains on it: take it out of one of the two "
                "(`unseen = true` of a target leaves out what is the same)"
            )
        for found in self.duplicates:
            if near := ", ".join(_near(found, _MANY * found.items)):
                yield (
                    f"dataset {found.dataset}: of its {found.items:,} documents {near}; "
                    f"as {_as(found.example)}"
                )

    def shared_targets(self) -> list[str]:
        """Name the targets of which a dataset has more than a hundredth."""
        return list(dict.fromkeys(one.target for one in self._much()))

    def _much(self) -> list[Overlap]:
        return [one for one in self.overlaps if one.shared + one.short > _MANY * one.items]

    def overlap_rows(self) -> list[list[str]]:
        """Write a row for each split and dataset that have something in common, under `OVERLAP_HEAD`."""
        return [
            [
                f"{one.target}, {one.split}", one.dataset, f"{one.items:,}", f"{one.shared:,}",
                f"{one.in_answers:,}", _of_runs(one), f"{one.short:,}", _as(one.example),
            ]
            for one in self.overlaps
            if one.shared or one.short
        ]  # fmt: skip

    def duplicate_rows(self) -> list[list[str]]:
        """Write a row for each dataset with near-duplicates, under `DUPLICATES_HEAD`."""
        return [
            [
                one.dataset, f"{one.items:,}", f"{one.within:,}",
                ", ".join(f"{name} {count:,}" for name, count in one.across.items()) or "0",
                _as(one.example),
            ]
            for one in self.duplicates
            if one.example is not None
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return what a run keeps."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Contamination:
        """Read what a run kept, which has the shape `SHAPE`."""
        return cls(
            [Overlap(**{**one, "example": _pair(one["example"])}) for one in content["overlaps"]],
            [NearDuplicates(**{**one, "example": _pair(one["example"])}) for one in content["duplicates"]],
            content["every"],
        )


_PAIR = (NoneType, {"item": str, "other": str, "words": str})
#: What `to_json` gives.
SHAPE = {
    "overlaps": [
        {
            "target": str, "split": str, "dataset": str, "items": int, "compared": int, "shared": int,
            "in_answers": int, "runs": int, "shared_runs": int, "short": int, "example": _PAIR,
        }
    ],
    "duplicates": [
        {
            "dataset": str, "items": int, "compared": int, "within": int, "across": {str: int},
            "example": _PAIR,
        }
    ],
    "every": int,
}  # fmt: skip


def contamination_of(
    datasets: Mapping[str, Callable[[], Sequence[Item]]],
    splits: Sequence[Judged],
    progress: Progress = nobody,
) -> Contamination:
    """Measure what a run's parts have in common.

    Args:
        datasets: Gives each dataset's items; they are in memory one dataset at a time.
        splits: What targets judge by.
        progress: Called with (done, total, step) while a dataset is looked through.

    Returns:
        The overlaps and near-duplicates.
    """
    index, overlaps = RunIndex(), list[Overlap]()
    for name, read in datasets.items():
        items = read()
        template = template_of(items)
        search, known = Search(name, items, template, splits), NumberSet(template)
        index.begin(name, items)
        for texts in texts_of(items):
            search.see(texts)
            index.add(texts.own(known))
            progress(texts.last, len(items), f"looking for documents of {name} elsewhere")
        overlaps += search.overlaps()
    return Contamination(overlaps, index.duplicates(), index.every)


def _in_words(one: Overlap) -> str:
    said = []
    if one.shared:
        answers = f"{one.in_answers:,} in the answer; " if one.in_answers < one.shared else ""
        said.append(
            f"{one.shared:,} of {one.items:,} documents share {RUN} words in a row ({answers}{_of_runs(one)} "
            "of all runs)"
        )
    if one.short:
        said.append(f"{one.short:,} of {one.items:,} are short and the same")
    return f"{one.split}: {', '.join(said)}"


def _of_runs(one: Overlap) -> str:
    return f"{one.shared_runs / max(one.runs, 1):.1%}"


def _near(found: NearDuplicates, more_than: float) -> Iterator[str]:
    if found.within > more_than:
        yield f"{found.within:,} nearly repeat another of them"
    yield from (
        f"{count:,} nearly repeat one of {name}" for name, count in found.across.items() if count > more_than
    )


def _as(example: Pair | None) -> str:
    """Name a pair; of its paths the end, as lines and tables would be too wide with all."""
    if example is None:
        return "–"
    words = f": “{example.words} …”" if example.words else ""
    return f"{_shortened(example.item)} and {_shortened(example.other)}{words}"


def _shortened(where: str) -> str:
    kept = where.split("/")
    return where if len(kept) <= _PARTS else "/".join(["…", *kept[-_PARTS:]])


def _pair(content: Mapping[str, str] | None) -> Pair | None:
    return None if content is None else Pair(**content)
