"""What the walk over candidates does for speed changes no bit."""

from __future__ import annotations

import pytest

from m2m.scoring.heap import keeping_memory
from m2m.scoring.tasks import ByteTokens, TextLossScorer, likelihood
from m2m.setups.byte_gpt import ByteGPT, Shape


def test_judging_in_parts_and_keeping_memory_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ByteGPT(Shape(layers=1, width=16, heads=2, context=96))
    model.initialise(0)
    text = "A text of more tokens than are judged at once, in windows of several lengths. " * 3
    scorer = TextLossScorer("text", [text, "short"], ByteTokens(model, 96), stride=80)
    with keeping_memory():
        parts = scorer(model).values["loss"]
    monkeypatch.setattr(likelihood, "JUDGED_TOKENS", 1000)
    assert (scorer(model).values["loss"] == parts).all()
