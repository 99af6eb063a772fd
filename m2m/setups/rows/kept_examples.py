"""Examples that took tokenising to make, kept in the cache: workers and later runs find them there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from m2m.setups.kept_tensors import keep_tensors, kept_tensors
from m2m.setups.protocol import Examples
from m2m.setups.rows.answers import AnswerRule
from m2m.setups.rows.collection import Collection
from m2m.setups.rows.examples import Made
from m2m.setups.rows.formats import content_of
from m2m.support.content_keys import content_key

#: Changes when the same documents would give other examples.
REVISION = 1
#: Fewer documents are tokenised in a few seconds.
WORTH_KEEPING = 1000


def kept_examples(
    cache: Path, model: str, found: Collection, rule: AnswerRule, most: int | None, make: Callable[[], Made]
) -> Made:
    """Give examples of questions with answers from the cache, or make them and keep them there.

    Args:
        cache: Folder of prepared data; they lie in `examples/`, and may be deleted at any time.
        model: Content hash of the model, which decides the tokens.
        found: The documents.
        rule: What becomes of those that are too long.
        most: Most examples; None: all.
        make: Makes them.

    Returns:
        What `make` gives; of text, and of few documents, nothing is kept.
    """
    if found.is_text or len(found.documents) < WORTH_KEEPING:
        return make()
    contents = hashlib.sha256()
    for document in found.documents.values():
        contents.update(hashlib.sha256(content_of(document)).digest())
    key = content_key("examples", REVISION, model, contents.hexdigest(), rule.truncate, rule.answers, most)
    path = cache / "examples" / f"{key}.pt"
    if not path.exists():
        made = make()
        keep_tensors(_tensors(made), path)
        return made
    kept = kept_tensors(path)
    examples = Examples((kept["tokens"], kept["is_answer"]))
    places, counts = frozenset(kept["places"].tolist()), [int(kept[name]) for name in _COUNTS]
    return Made(examples, "answers", places, *counts)


_COUNTS = ("truncated", "dropped")


def _tensors(made: Made) -> dict[str, torch.Tensor]:
    tokens, is_answer = made.examples.tensors
    return {
        "tokens": tokens, "is_answer": is_answer,
        "places": torch.tensor(sorted(made.places), dtype=torch.float64),
        **{name: torch.tensor(getattr(made, name)) for name in _COUNTS},
    }  # fmt: skip
