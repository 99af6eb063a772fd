"""Documents once each, in an order that only their content decides, so that parts of them share none."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from m2m.setups.rows.formats import Document, content_of, is_empty


@dataclass(frozen=True)
class Collection:
    """Documents by their place: the hash of their content, as a fraction of 1.

    Attributes:
        documents: What there is to learn, by place, in order of places (a fixed shuffle).
        repeats: Places of documents that were there already, each as often as it was.
        blanks: Places of documents that hold nothing to learn.
        where: Where each of the documents was read, as `a.jsonl, line 3`, by place.
    """

    documents: Mapping[float, Document]
    repeats: tuple[float, ...]
    blanks: tuple[float, ...]
    where: Mapping[float, str]

    @classmethod
    def of(cls, documents: Iterable[tuple[str, Document]]) -> Collection:
        """Collect documents in any order, each with where it was read."""
        found: dict[float, Document] = {}
        places: dict[float, str] = {}
        repeats, blanks = [], []
        for where, document in documents:
            place = place_of(document)
            if is_empty(document):
                blanks.append(place)
            elif place in found:
                repeats.append(place)
            else:
                found[place], places[place] = document, where
        return cls({place: found[place] for place in sorted(found)}, tuple(repeats), tuple(blanks), places)

    def part(self, share: tuple[float, float]) -> Collection:
        """Narrow to the places in [from, to); disjoint parts share no document."""
        low, high = share
        return replace(
            self,
            documents={place: found for place, found in self.documents.items() if low <= place < high},
            repeats=tuple(place for place in self.repeats if low <= place < high),
            blanks=tuple(place for place in self.blanks if low <= place < high),
        )

    def without(self, places: Container[float]) -> Collection:
        """Leave documents out, by place."""
        return replace(self, documents={at: each for at, each in self.documents.items() if at not in places})

    @property
    def is_text(self) -> bool:
        """Whether all documents are text that is learnt as it is."""
        return all(isinstance(document, str) for document in self.documents.values())

    @property
    def texts(self) -> list[str]:
        """The documents that are text, in order."""
        return [document for document in self.documents.values() if isinstance(document, str)]


def place_of(document: Document) -> float:
    """Hash a document's origin, or else its content, to a fraction of 1: its side of any split."""
    origin = getattr(document, "origin", "")
    content = f"\0origin\n{origin}".encode() if origin else content_of(document)
    return int.from_bytes(hashlib.sha256(content).digest()[:6]) / 2**48
