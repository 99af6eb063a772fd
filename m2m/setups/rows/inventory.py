"""What was read, in numbers: of every dataset, and of both splits of every target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from m2m.setups.protocol import Setup


@dataclass(frozen=True)
class Read:
    """What was read of one dataset, or of one split of a target. None: the set-up does not tell.

    Attributes:
        kind: Which of them.
        name: Its name.
        split: `train`, or the target's split.
        examples: Examples that are used, E.
        format: `text`, which is packed into windows, or `answers`, of which only these are learnt.
        documents: Different documents that were read: texts, or questions with their answers.
        tokens: Tokens of the examples; of a text without the first one of each, which nothing predicts.
        answer_tokens: Tokens that are learnt (or judged).
        truncated: Examples that were longer than the context, and cut.
        dropped: Documents that no answer token was left of, or that the rule `drop` took away.
        repeats: Documents that were there already; each counts once.
        blanks: Documents with nothing to learn in them.
        seen: Of a target: documents that were left out, as a dataset trains on them.
    """

    kind: Literal["dataset", "target"]
    name: str
    split: str
    examples: int
    format: Literal["text", "answers"] | None = None
    documents: int | None = None
    tokens: int | None = None
    answer_tokens: int | None = None
    truncated: int | None = None
    dropped: int | None = None
    repeats: int | None = None
    blanks: int | None = None
    seen: int | None = None

    @property
    def label(self) -> str:
        """How tables name it."""
        return self.name if self.kind == "dataset" else f"target {self.name}, {self.split}"


#: Columns of the table, and which count each shows.
_COLUMNS = {
    "documents": "documents", "examples": "examples", "tokens": "tokens", "answer tokens": "answer_tokens",
    "cut": "truncated", "dropped": "dropped", "repeated": "repeats", "empty": "blanks",
}  # fmt: skip
HEAD = ("data", *_COLUMNS)
#: A share of examples that were cut from which on it is said.
_MANY = 0.01


@dataclass(frozen=True)
class Inventory:
    """The table of what was read.

    Attributes:
        parts: A row each.
        context: Tokens an example predicts at most; None where the set-up does not tell.
    """

    parts: Sequence[Read]
    context: int | None = None

    @property
    def lengths(self) -> dict[str, float] | None:
        """Mean tokens of an example, by dataset; None where the set-up does not tell."""
        counts = {part.name: (part.tokens, part.examples) for part in self.parts if part.kind == "dataset"}
        lengths = {name: tokens / many for name, (tokens, many) in counts.items() if tokens is not None}
        return lengths if len(lengths) == len(counts) else None

    @property
    def sizes(self) -> dict[str, int]:
        """Examples, by dataset."""
        return {part.name: part.examples for part in self.parts if part.kind == "dataset"}

    def rows(self) -> list[list[str]]:
        """Write the table's cells, a row a part, under `HEAD`."""
        return [
            [part.label, *(_cell(getattr(part, count)) for count in _COLUMNS.values())] for part in self.parts
        ]

    def lines(self) -> list[str]:
        """Write the table for a terminal, numbers under each other."""
        rows = [list(HEAD), *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]) for name, *cells in rows
        ]

    def notes(self) -> Iterator[str]:
        """Say what a reader of the table should not overlook."""
        for part in self.parts:
            if part.seen:
                yield f"{part.label}: {part.seen} documents that datasets train on were left out (`unseen`)"
            if part.truncated and part.truncated > _MANY * part.examples:
                yield (
                    f"{part.label}: {part.truncated} of {part.examples} examples are longer than the context "
                    f"of {self.context} tokens and were cut (`context` in [setup.base]; `truncate`)"
                )
            if part.dropped:
                yield (
                    f"{part.label}: {part.dropped} of {part.documents} documents were dropped, as no answer "
                    f"is left in {self.context} tokens (`context` in [setup.base]; `truncate`)"
                )

    def to_json(self) -> dict[str, Any]:
        """Return what a run keeps."""
        return {
            "context": self.context,
            "read": [asdict(part) for part in self.parts],
            "notes": list(self.notes()),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Inventory:
        """Read what a run kept, which has the shape `SHAPE`."""
        known = [each.name for each in fields(Read)]
        parts = [Read(**{name: part[name] for name in known if name in part}) for part in content["read"]]
        return cls(parts, content["context"])


_COUNT = (NoneType, int)
#: What `to_json` gives.
SHAPE = {
    "context": _COUNT,
    "read": [
        {
            "kind": str, "name": str, "split": str, "examples": int, "format?": (NoneType, str),
            "seen?": _COUNT,
            **{f"{count}?": _COUNT for count in _COLUMNS.values() if count != "examples"},
        }
    ],
}  # fmt: skip


def inventory_of(setup: Setup) -> Inventory:
    """Say what a set-up read: what it tells itself (`inventory`), or how many examples it has."""
    own = getattr(setup, "inventory", None)
    if isinstance(own, Inventory):
        return own
    parts = [Read("dataset", name, "train", len(examples)) for name, examples in setup.datasets.items()]
    for name, target in setup.targets.items():
        splits = {"validation": target.validation, "test": target.test}
        parts += [Read("target", name, split, len(examples)) for split, examples in splits.items()]
    return Inventory(parts)


def _cell(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"
