"""Rows of tokens whose likelihood is asked for: a causal model's, and those of an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from m2m.checkpoint.heads import Head
from m2m.errors import DataError
from m2m.scoring.tasks.inputs import Tokens
from m2m.setups.rows.formats import Completion

#: Stands in `targets` where nothing is predicted.
NOTHING = -100


@dataclass(frozen=True)
class Row:
    """One row of tokens that goes through the model: each token is predicted from all before it. [T + 1]."""

    tokens: tuple[int, ...]
    scored: int  #: how many of the last ones count

    @property
    def length(self) -> int:
        """Tokens that the model reads."""
        return len(self.tokens) - 1


@dataclass(frozen=True)
class Pair(Row):
    """What an encoder reads, and the tokens that the decoder predicts, all of which count. [T]."""

    given: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens that the model reads."""
        return len(self.given) + len(self.tokens)


def windows(document: Sequence[int], tokens: Tokens, stride: int) -> list[Row]:
    """Cut a text into rows that predict every token once.

    A causal model's windows are as long as its context, and slide by `stride`; the last one ends with the
    text. An encoder reads as much of the text as fits before each piece of `stride` tokens, which the decoder
    predicts; before the first piece that is nothing.

    Args:
        document: The text's tokens; for a causal model after what the first one is predicted from.
        tokens: How the model reads text.
        stride: New tokens a row, from 1 to the context.

    Returns:
        The rows.
    """
    if tokens.head is Head.ENCODER_DECODER:
        pieces = range(0, len(document), stride)
        return [_last_pair(document[:at], document[at : at + stride], tokens) for at in pieces]
    rows, done, end = [], 0, min(tokens.context, len(document) - 1)
    while done < len(document) - 1:
        rows.append(Row(tuple(document[max(0, end - tokens.context) : end + 1]), end - done))
        done, end = end, min(end + stride, len(document) - 1)
    return rows


def continuation(context: str, joint: str, text: str, tokens: Tokens, where: str) -> Row:
    """Make the row of a text that goes on from a context; a context that does not fit loses its beginning.

    Args:
        context: What is given; it may be empty.
        joint: What joins the two; it counts as the text's, and a decoder does without.
        text: What is predicted.
        tokens: How the model reads text.
        where: Where the text is from, for messages.

    Returns:
        The row.

    Raises:
        DataError: If the text has no token that could be predicted, or does not fit.
    """  # noqa: DOC502 - raised by what is called
    if tokens.head is Head.ENCODER_DECODER:
        wanted = tokens.encode(text)
        _check_scored(len(wanted), text, tokens, where)
        return _last_pair(tokens.encode(context), wanted, tokens)
    before = tokens.encode(context) if context else []
    whole = tokens.encode(context + joint + text)
    scored = len(whole) - len(before)
    if not before:
        whole = [*tokens.start, *whole]
        scored = min(scored, len(whole) - 1)
    _check_scored(scored, text, tokens, where)
    return Row(tuple(whole[-(tokens.context + 1) :]), scored)


def answer(document: Completion, tokens: Tokens) -> Row:
    """Make the row of a completion, given its prompt.

    A causal model reads both as training on them has it: through the tokenizer together, with its special
    tokens and an end. A prompt that does not fit loses its beginning. An encoder reads the prompt as a text
    of its own, whose end is cut off where it does not fit; the decoder predicts the completion with the
    special tokens that the tokenizer puts around what is to be written.

    Args:
        document: Prompt and completion.
        tokens: How the model reads text.

    Returns:
        The row.

    Raises:
        DataError: If the completion has no token that could be predicted, or does not fit.
    """  # noqa: DOC502 - raised by what is called
    if tokens.head is Head.ENCODER_DECODER:
        wanted, before = tokens.written(document.completion), tokens.encode(document.prompt)
        _check_scored(len(wanted), document.completion, tokens, document.where)
        return Pair(tuple(wanted), len(wanted), tuple(encoded(before, tokens)))
    found = tokens.answered(document)
    whole, scored = list(found.tokens), sum(found.is_answer)
    if scored == len(whole):
        whole = [*tokens.start, *whole]
        scored = min(scored, len(whole) - 1)
    _check_scored(scored, document.completion, tokens, document.where)
    return Row(tuple(whole[-(tokens.context + 1) :]), scored)


def encoded(text: Sequence[int], tokens: Tokens) -> list[int]:
    """Return what an encoder reads of a text's tokens: its beginning where it does not fit, surrounded."""
    return tokens.surrounded(text[: _room(tokens)])


def model_inputs(rows: Sequence[Row], input_name: str) -> tuple[dict[str, Tensor], Tensor]:
    """Put rows together, padded on the right, so that what a causal model predicts from is never padding.

    Args:
        rows: Rows of one kind.
        input_name: Name of the tokens among the arguments of the model's forward.

    Returns:
        The arguments of the forward, and the token that each place predicts, or `NOTHING`. [rows, T]
    """
    if isinstance(rows[0], Pair):
        # The decoder is given the labels, and moves them on by one as its own model does.
        targets = padded([row.tokens for row in rows], NOTHING)
        given = [row.given for row in rows if isinstance(row, Pair)]
        mask = padded([[1] * len(row) for row in given], 0)
        return {input_name: padded(given, 0), "attention_mask": mask, "labels": targets}, targets
    ids = padded([row.tokens[:-1] for row in rows], 0)
    wanted = [[NOTHING] * (row.length - row.scored) + [*row.tokens[-row.scored :]] for row in rows]
    return {input_name: ids}, padded(wanted, NOTHING)


def _last_pair(before: Sequence[int], wanted: Sequence[int], tokens: Tokens) -> Pair:
    room = _room(tokens)
    return Pair(tuple(wanted), len(wanted), tuple(tokens.surrounded(before[-room:] if room else ())))


def _room(tokens: Tokens) -> int:
    return max(0, tokens.context - len(tokens.surrounded(())))


def _check_scored(scored: int, text: str, tokens: Tokens, where: str) -> None:
    if not 1 <= scored <= tokens.context:
        raise DataError(f"{where}: {text!r:.60} has {scored} tokens to predict, wanted 1 to {tokens.context}")


def padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Put rows of numbers together, filled up on the right. int64 [rows, longest]."""
    filled = torch.full((len(rows), max(map(len, rows))), filler, dtype=torch.int64)
    for line, row in zip(filled, rows, strict=True):
        line[: len(row)] = torch.tensor(row)
    return filled
