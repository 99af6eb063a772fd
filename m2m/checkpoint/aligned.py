"""Checkpoints of one model that were stored in harmlessly different ways, brought under one set of names.

Tools write one model differently: with or without the prefix of the class that wraps it, with a second copy
of a tied head, with buffers that others compute anew. What is aligned here is one model to whoever loads it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

from m2m.checkpoint.buffers import buffers_among, is_buffer
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import check_tensor, head_ties, same_bytes, tied_names
from m2m.checkpoint.header import TensorInfo
from m2m.errors import CheckpointError

#: Names that a message lists.
_SHOWN = 3
#: About so many names are looked for with another prefix.
_TRIED = 8
#: Heads that predict more than the next token: published with a base model, and dropped by whoever trains it.
_AUXILIARY = re.compile(r"(?:^|\.)(?:mtp|mtp_\w+|medusa_heads?|nextn\w*)(?:\.|$)")
#: Share of the tensors of the smaller model that must be found once a prefix is put on or taken away.
_FITS = 0.9


class Aligned(NamedTuple):
    """Checkpoints under the donor's names.

    Attributes:
        models: Each with exactly the donor's tensor names. [N]
        kept: Tensors that are the donor's whatever the others hold: buffers, counters, what was left out and
            heads that no other model has.
        notes: What is stored differently, and what follows.
    """

    models: tuple[Checkpoint, ...]
    kept: frozenset[str]
    notes: tuple[str, ...]


class Advice(NamedTuple):
    """What to do about a model that does not fit: only the caller knows where it can be said.

    Attributes:
        missing: Where it lacks tensors.
        extra: Where it has more.
        rows: Where its vocabulary has another size.
    """

    missing: str = ""
    extra: str = ""
    rows: str = ""


class AlignedCheckpoint(Checkpoint):
    """A checkpoint under another one's tensor names; a tensor that it lacks is the other one's.

    Attributes:
        donor: Whose names they are.
    """

    def __init__(self, model: Checkpoint, donor: Checkpoint, tensors: dict[str, TensorInfo]) -> None:
        """Put other names on a checkpoint; `tensors` says where each of the donor's tensors lies."""
        self.path, self.files, self._weight_map = model.path, model.files, None
        self.donor = donor
        self.opened = model.opened | donor.opened
        self._found = tensors

    @cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """Where each of the donor's tensors lies, by the donor's name and in its order."""
        return self._found

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The donor's: the model's own speaks of its own names."""
        return self.donor.metadata

    @cached_property
    def tied(self) -> dict[str, str]:
        """The donor's second names of stored tensors, but for those that are stored here."""
        return {name: kept for name, kept in self.donor.tied.items() if name not in self._found}


def is_auxiliary(name: str) -> bool:
    """Say whether a tensor is of a head that predicts further tokens, which models run without.

    Args:
        name: Its name.

    Returns:
        Whether it is.
    """
    return bool(_AUXILIARY.search(name))


def align(
    donor: Checkpoint,
    models: Sequence[Checkpoint],
    *,
    exclude: Collection[str] = (),
    fill_missing: bool = False,
    mixed_floats: bool = True,
    any_rows: Collection[str] = (),
    advice: Advice | None = None,
) -> Aligned:
    """Bring checkpoints under the donor's tensor names, where they differ in harmless ways only.

    Harmless are: a prefix on all names; another float type; buffers and counters that some store; a head that
    is stored beside the embedding it is tied to, and equal; heads for further tokens that only the donor has.

    Args:
        donor: The base model, or whichever checkpoint the others are held against.
        models: The others. [N]
        exclude: Globs of tensor names that are not compared: the donor's are kept.
        fill_missing: Whether whatever a model lacks is the donor's.
        mixed_floats: Whether a float tensor may be of another float type than the donor's.
        any_rows: Tensors that may have any number of rows.
        advice: What messages tell the reader to do; None: nothing.

    Returns:
        The checkpoints under the donor's names, in the order given.

    Raises:
        CheckpointError: If a model lacks a tensor, has one too many, or one of another shape or kind; names
            model, tensor, what was got and wanted, and the advice.
    """  # noqa: DOC502 - raised by what is called
    kept = buffers_among(donor.tensors.values())
    if exclude:
        kept |= {name for name in donor.tensors if _fits(name, exclude)}
    sides = [_Side(donor, model, kept, exclude) for model in models]
    lacked = set.intersection(*(set(side.missing) for side in sides)) if sides else set()
    alone = sorted(name for name in lacked if is_auxiliary(name))
    notes = [note for side in sides for note in side.notes]
    for side in sides:
        notes += side.settle(
            alone,
            fill_missing=fill_missing,
            mixed_floats=mixed_floats,
            any_rows=any_rows,
            advice=advice or Advice(),
        )
    if alone:
        notes.append(
            f"{donor.path}: only this model holds {_shown(alone)}, which predict further tokens; they are "
            "kept as they are"
        )
    if buffers := sorted({name for side in sides for name in side.buffers}):
        notes.append(
            f"some models store buffers and others do not ({_shown(buffers)}); they are no weights, and "
            f"those of {donor.path} are kept"
        )
    return Aligned(tuple(side.aligned() for side in sides), frozenset(kept.union(alone)), tuple(notes))


def matched(donor: Checkpoint, model: Checkpoint) -> tuple[dict[str, TensorInfo], tuple[str, ...]]:
    """Find a model's tensors under the donor's names, whatever their shapes.

    Args:
        donor: Whose names are wanted.
        model: Another checkpoint, of the same model or not.

    Returns:
        What the model stores, by the donor's name, and notes on names that a prefix tells apart.
    """
    side = _Side(donor, model, (), ())
    return side.found, tuple(side.notes)


class _Side:
    """One model held against the donor."""

    def __init__(
        self, donor: Checkpoint, model: Checkpoint, kept: Collection[str], exclude: Collection[str]
    ) -> None:
        self.donor, self.model, self.kept = donor, model, kept
        self.notes: list[str] = []
        self.same = donor is model or donor.tensors.keys() == model.tensors.keys()
        self.found = dict(model.tensors) if self.same else self._match()
        self.missing = [name for name in donor.tensors if name not in self.found and name not in kept]
        self.extra = [] if self.same else self._unknown(exclude)
        self.buffers = [] if self.same else [*self._unshared_buffers()]

    def settle(
        self,
        alone: Collection[str],
        *,
        fill_missing: bool,
        mixed_floats: bool,
        any_rows: Collection[str],
        advice: Advice,
    ) -> list[str]:
        """Refuse what is not harmless; fill in the donor's tensors."""
        missing = [name for name in self.missing if name not in alone]
        if missing and not fill_missing:
            raise CheckpointError(
                f"{self.model.path}: lacks tensors of {self.donor.path}: {_shown(missing)}"
                + _after(advice.missing)
            )
        if heads := [name for name in self.extra if name in head_ties(self.donor)]:
            raise CheckpointError(
                f"{self.model.path}: has a head of its own, {_shown(heads)}, which {self.donor.path} ties to "
                "its embedding" + _after(advice.extra)
            )
        if self.extra:
            raise CheckpointError(
                f"{self.model.path}: has more than {self.donor.path}: {_shown(self.extra)}"
                + _after(advice.extra)
            )
        found = self.found
        for name, wanted in self.donor.tensors.items():
            got = found.get(name, wanted)
            if (got.shape != wanted.shape or got.dtype != wanted.dtype) and name not in self.kept:
                check_tensor(
                    self.donor,
                    self.model,
                    wanted,
                    got,
                    mixed_floats=mixed_floats,
                    any_rows=name in any_rows,
                    advice=advice.rows,
                )
        if not missing:
            return []
        return [
            f"{self.model.path}: lacks {len(missing)} tensors of {self.donor.path} ({_shown(missing)}), "
            "which are filled in from there"
        ]

    def aligned(self) -> Checkpoint:
        if self.same:
            return self.model
        # Kept tensors are the donor's in any case, so that none is read as the model's.
        tensors = {
            name: own if name in self.kept else self.found.get(name, own)
            for name, own in self.donor.tensors.items()
        }
        return AlignedCheckpoint(self.model, self.donor, tensors)

    def _match(self) -> dict[str, TensorInfo]:
        weights = [name for name, info in self.donor.tensors.items() if not is_buffer(info)]
        rename = _renaming(weights, self.model.tensors) if type(self.model) is Checkpoint else None
        if rename:
            what = f"without {rename.prefix!r}" if rename.drop else f"with {rename.prefix!r}"
            self.notes.append(f"{self.model.path}: names its tensors {what} as {self.donor.path} does not")
        found: dict[str, TensorInfo] = {}
        ties = tied_names(self.model)
        for name in self.donor.tensors:
            own = rename(name) if rename else name
            for candidate in (name, own):
                stored = candidate if candidate in self.model.tensors else ties.get(candidate)
                if stored is not None:
                    found.setdefault(name, self.model.tensors[stored])
        return found

    def _unshared_buffers(self) -> Iterator[str]:
        ours, theirs = self.donor.tensors, self.model.tensors
        yield from (name for name, info in ours.items() if name not in self.found and is_buffer(info))
        known = {info.name for info in self.found.values()}
        yield from (name for name, info in theirs.items() if name not in known and is_buffer(info))

    def _unknown(self, exclude: Collection[str]) -> list[str]:
        known = {info.name for info in self.found.values()}
        ties = tied_names(self.donor) | tied_names(self.model)
        extra = []
        for name, info in self.model.tensors.items():
            if info.name in known or is_buffer(info) or _fits(name, exclude):
                continue
            tied = ties.get(name)
            if tied is not None and tied in self.model.tensors and same_bytes(info, self.model.tensors[tied]):
                self.notes.append(f"{self.model.path}: {name!r} is {tied!r} once more, and not merged twice")
            else:
                extra.append(name)
        return extra


class _Renaming(NamedTuple):
    """How the donor's names become the model's."""

    prefix: str
    #: Whether the prefix is taken away.
    drop: bool

    def __call__(self, name: str) -> str:
        return name.removeprefix(self.prefix) if self.drop else self.prefix + name


def _renaming(wanted: Sequence[str], names: Collection[str]) -> _Renaming | None:
    """Find the prefix that makes nearly all of a model's names the wanted ones; None where they need none."""
    if not wanted or sum(name in names for name in wanted) > len(names) // 2:
        return None
    ways: list[_Renaming] = []
    for first in wanted[:: max(1, len(wanted) // _TRIED)]:  # a head, say, may have no prefix, or be lacking
        ways += [_Renaming(own.removesuffix(first), drop=False) for own in names if own.endswith(f".{first}")]
        ways += [_Renaming(first.removesuffix(own), drop=True) for own in names if first.endswith(f".{own}")]
    fits = {way: sum(way(name) in names for name in wanted) for way in ways}
    best = max(fits, key=lambda way: fits[way], default=None)
    return best if best is not None and fits[best] >= _FITS * min(len(wanted), len(names)) else None


def _fits(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _after(advice: str) -> str:
    return f"; {advice}" if advice else ""


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
