"""What a destination elsewhere says of the merge that is written there, in `m2m-merging.json`.

It names the merge, who writes it, and which of its shards are there. So a merge goes on from any machine,
with workers or without, and two merges to one destination notice each other.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from m2m.checkpoint.remote.destination import Destination
from m2m.errors import RunFolderError
from m2m.merging.plan.plan import MergePlan

#: Says at the destination that a merge is not finished.
JOURNAL_NAME = "m2m-merging.json"


def place(output: str, name: str) -> str:
    """Name of an output's file at the destination."""
    return f"{output}/{name}" if output else name


@dataclass(frozen=True)
class Claim:
    """That a merge has taken a destination; whoever sends something there asks whether it still holds."""

    destination: Destination
    owner: str

    @property
    def holds(self) -> bool:
        """Whether no other merge has taken it."""
        return _said_at(self.destination).get("owner") == self.owner

    def require(self) -> None:
        """Refuse to go on where another merge is written."""
        if not self.holds:
            raise RunFolderError(f"{self.destination.url}: another merge is writing it")


class Journal:
    """What a destination says of the merge that is written there.

    Attributes:
        done: SHA-256 of each shard that is there, by its name.
        claim: On the destination.
    """

    def __init__(self, destination: Destination, plan: MergePlan, key: str) -> None:
        """Nothing is asked or written yet; `key` tells the plan and its inputs."""
        self.done: dict[str, str] = {}
        self._others: set[str] = set()
        self.destination = destination
        self.claim = Claim(destination, secrets.token_hex(8))
        self._key, self._lock = key, Lock()
        shards = [place(output.name, shard.name) for output in plan.outputs for shard in output.layout.shards]
        self._sizes = dict(
            zip(shards, (s.nbytes for o in plan.outputs for s in o.layout.shards), strict=True)
        )

    def begin(self, *, resume: bool) -> None:
        """Take the destination: go on with what is there, or clear away what an unfinished merge left."""
        there = self.destination.names()
        known = _said_at(self.destination) if JOURNAL_NAME in there else {}
        ours = {JOURNAL_NAME, *known.get("files", ())}
        for name in sorted(there.keys() - ours):
            raise RunFolderError(
                f"{self.destination.url}: holds {name} already; nothing is ever written over: choose another "
                "place or remove it"
            )
        if resume and known:
            if known.get("plan") != self._key:
                raise RunFolderError(
                    f"{self.destination.url}: holds an unfinished merge of another recipe, other inputs or "
                    "options; run without resume to start over"
                )
            whole = {name for name, nbytes in there.items() if self._sizes.get(name) == nbytes}
            self.done = {name: said for name, said in known.get("done", {}).items() if name in whole}
            self._others.update(ours - {JOURNAL_NAME})
        else:
            self.destination.remove(sorted(there.keys() & ours))
        self._write()

    def announce(self, names: Iterable[str]) -> None:
        """Note what else will be sent: it is not taken for somebody else's by who goes on."""
        with self._lock:
            self.claim.require()
            self._others.update(names)
            self._write()

    def add(self, name: str, digest: str) -> None:
        """Note that a shard is there, unless another merge has taken the destination meanwhile."""
        with self._lock:
            self.claim.require()
            self.done[name] = digest
            self._write()

    def require_whole(self) -> None:
        """Refuse to go on where shards are not there as they were sent."""
        there = self.destination.names()
        for name in self.done:
            if there.get(name) != self._sizes[name]:
                raise RunFolderError(
                    f"{self.destination.url}/{name}: is not there as it was sent; all that work together "
                    "must reach the same store, and nobody else may write there"
                )

    def finish(self) -> None:
        """All is there."""
        self.destination.remove([JOURNAL_NAME])

    def discard(self) -> None:
        """Remove what was sent, unless another merge has taken the destination meanwhile."""
        if self.claim.holds:
            self.destination.remove([*self._files, JOURNAL_NAME])

    @property
    def _files(self) -> list[str]:
        return sorted({*self._sizes, *self._others})

    def _write(self) -> None:
        said = {"plan": self._key, "owner": self.claim.owner, "files": self._files, "done": self.done}
        self.destination.write(JOURNAL_NAME, json.dumps(said, indent=2).encode())


def _said_at(destination: Destination) -> Mapping[str, Any]:
    """What the journal at a destination says; nothing if there is none, or none that can be read."""
    try:
        known = json.loads(destination.read(JOURNAL_NAME) or b"{}")
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}
