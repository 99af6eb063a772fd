"""One tokenizer with the tokens of several: the first one's, and what the others have besides.

Tokens that were added to a model are added here, with their settings. All others become tokens of the model
itself, so that they are met as those of the first are: words and pieces by their length, unigrams by their
scores, byte pairs by the others' merges, which come after the first one's own. (Added as text, as mergekit
does, they would be cut out of the middle of every word.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m2m.merging.vocabulary.tokenizer import Tokenizer

#: What a piece without a score of its own is behind the worst one's, as unknown text is in sentencepiece.
_PENALTY = 10.0


def union(first: Tokenizer, others: Sequence[Tokenizer]) -> Tokenizer:
    """Join tokenizers: the first one's tokens keep their ids, others' follow, model by model, by id."""
    added = [token for one in others for token in one.added.values()]
    settled = first.ids.keys() | {token["content"] for token in added}
    plain = [token for one in others for _, token in sorted(one.tokens.items()) if token not in settled]
    plain = [*dict.fromkeys(plain)]
    if not plain:
        return first.extended(added)
    content = {**first.content, "model": _with_tokens(first, plain, others)}
    return Tokenizer(first.path, first.files, content, changed=True).extended(added)


def _with_tokens(first: Tokenizer, plain: Sequence[str], others: Sequence[Tokenizer]) -> dict[str, Any]:
    model = first.content["model"]
    # Tokens that were added lie between the model's own and new ones: they become the model's too, so that
    # its ids have no holes.
    ids = dict(first.ids) | {token: number for number, token in enumerate(plain, start=first.rows)}
    if isinstance(model["vocab"], list):
        return {**model, "vocab": _with_pieces(model["vocab"], ids, others)}
    found = {**model, "vocab": ids}
    if "merges" in model:
        found["merges"] = [*model["merges"], *_more_merges(model["merges"], ids, others)]
    return found


def _with_pieces(
    vocab: Sequence[Any], ids: Mapping[str, int], others: Sequence[Tokenizer]
) -> list[tuple[str, float]]:
    scores = {piece: score for one in reversed(others) for piece, score in _scores(one)}
    worst = min((score for _, score in vocab), default=0.0) - _PENALTY
    tokens = {number: token for token, number in ids.items()}
    rest = [tokens.get(number, f"<no token {number}>") for number in range(len(vocab), max(tokens) + 1)]
    return [*vocab, *((token, scores.get(token, worst)) for token in rest)]


def _scores(tokenizer: Tokenizer) -> Sequence[Any]:
    vocab = tokenizer.content["model"]["vocab"]
    return vocab if isinstance(vocab, list) else []


def _more_merges(known: Sequence[Any], ids: Mapping[str, int], others: Sequence[Tokenizer]) -> list[Any]:
    pairs = {_pair(merge) for merge in known}
    as_text = bool(known) and isinstance(known[0], str)
    found = []
    for one in others:
        for merge in one.content["model"].get("merges") or []:
            pair = _pair(merge)
            spelled = not as_text or not any(" " in part for part in pair)
            if spelled and pair not in pairs and {*pair, "".join(pair)} <= ids.keys():
                pairs.add(pair)
                found.append(" ".join(pair) if as_text else list(pair))
    return found


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right
