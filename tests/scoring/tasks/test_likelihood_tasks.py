"""Text loss and multiple choice against a definition written a second time, token by token."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks import ByteTokens, MultipleChoiceScorer, TextLossScorer
from m2m.scoring.tasks.likelihood import Question
from m2m.setups.byte_gpt import ByteGPT, Shape

CONTEXT = 16


@pytest.fixture(scope="module")
def model() -> ByteGPT:
    module = ByteGPT(Shape(layers=1, width=16, heads=2, context=CONTEXT)).double()
    module.initialise(1)
    with torch.no_grad():
        module.head.weight *= 20  # probabilities far from uniform
    return module


def nats(model: nn.Module, before: bytes, then: bytes) -> float:
    """−ln p of some bytes after others, one by one, each from at most CONTEXT bytes."""
    total = 0.0
    whole = before + then
    for at in range(len(before), len(whole)):
        seen = torch.tensor([list(whole[max(0, at - CONTEXT) : at])])
        total -= model(seen)[0, -1].log_softmax(-1)[whole[at]].item()
    return total


@torch.no_grad()
def test_text_loss_is_the_definition(model: ByteGPT) -> None:
    text = "Der Fluß, naïve café."
    scorer = TextLossScorer("t", [text], ByteTokens(model, CONTEXT), stride=1)
    scores = scorer(model)
    content = text.encode()
    wanted = nats(model, content[:1], content[1:])
    assert scores.mean("loss") == pytest.approx(wanted / (len(content) - 1), rel=1e-12)
    assert scores.mean("bits_per_byte") == pytest.approx(scores.mean("loss") / math.log(2), rel=1e-12)
    assert scorer.count == scores.count == len(content) - CONTEXT


class Uniform(nn.Module):
    """Finds every token equally likely, and remembers what it was given."""

    def __init__(self, vocabulary: int = 256) -> None:
        super().__init__()
        self.vocabulary, self.seen = vocabulary, list[Tensor]()

    def forward(self, ids: Tensor) -> Tensor:
        self.seen.append(ids)
        return torch.zeros(*ids.shape, self.vocabulary)


class WithStart(ByteTokens):
    """Bytes after a start token, with the bytes of a text doubled: tokens and bytes differ."""

    start = (7,)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return [byte for byte in text.encode() for _ in range(2)]


@given(
    st.lists(st.text("ab", max_size=60), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 40),
)
def test_every_token_counts_once_whatever_the_windows(
    documents: list[str], context: int, stride: int, batch_tokens: int
) -> None:
    uniform = Uniform()
    tokens = WithStart(uniform, context)
    if stride > context or not any(documents):
        with pytest.raises((ConfigError, DataError)):
            TextLossScorer("t", documents, tokens, stride=stride)
        return
    scorer = TextLossScorer("t", documents, tokens, stride=stride, batch_tokens=batch_tokens)
    scores = scorer(uniform)
    # Every token costs ln 256 = 8 bits, and a byte is two tokens here.
    assert scores.mean("loss") == pytest.approx(math.log(256), rel=1e-6)
    assert scores.mean("bits_per_byte") == pytest.approx(16, rel=1e-6)
    assert max(ids.shape[1] for ids in uniform.seen) <= context
    assert all(ids.numel() <= max(batch_tokens, context) for ids in uniform.seen)


@pytest.mark.parametrize("limit", [2, 0.2])
def test_a_limit_takes_the_first_windows_and_their_share_of_the_bytes(limit: float) -> None:
    uniform = Uniform()
    scorer = TextLossScorer("t", ["ab" * 20], WithStart(uniform, 8), limit=limit)  # of 10
    assert scorer.count == 2
    assert scorer(uniform).mean("bits_per_byte") == pytest.approx(16, rel=1e-6)


QUESTIONS = [
    Question("Two and two", ("four", "five ", " six"), 0),
    Question("The sea is ", ("blue", "a"), 1),
    Question("", ("yes", "no!"), 0),
    Question("A context longer than the model can read at once", ("x", "yz"), 1),
]
#: How context and choice are joined: a space where neither has one.
JOINED = [
    [(b"Two and two", b" four"), (b"Two and two", b" five "), (b"Two and two", b" six")],
    [(b"The sea is", b" blue"), (b"The sea is", b" a")],
    [(b"y", b"es"), (b"n", b"o!")],
    [(b"at once", b" x"), (b"at once", b" yz")],
]


@torch.no_grad()
def test_choices_are_judged_by_their_own_tokens(model: ByteGPT) -> None:
    long = QUESTIONS[3]
    scorer = MultipleChoiceScorer("t", QUESTIONS, ByteTokens(model, CONTEXT))
    got = scorer(model).values
    for at, (question, rows) in enumerate(zip(QUESTIONS, JOINED, strict=True)):
        if question is long:
            rows = [(long.context.encode()[-(CONTEXT + 1 - len(then)) :], then) for _, then in rows]
        costs = np.array([nats(model, before, then) for before, then in rows])
        lengths = np.array([len(choice) for choice in question.choices])
        assert got["accuracy"][at] == (costs.argmin() == question.answer)
        assert got["accuracy_norm"][at] == ((costs / lengths).argmin() == question.answer)
        right = rows[question.answer][1]
        assert got["loss"][at] == pytest.approx(costs[question.answer] / len(right), rel=1e-9)


def test_a_question_in_a_chat_is_answered_right_after_it(model: ByteGPT) -> None:
    question = Question("Two and two?", (" four", "five"), 0)
    scorer = MultipleChoiceScorer("t", [question], ByteTokens(model, 64), chat=True)
    rows = [bytes(row.tokens) for row in scorer._rows[0]]
    assert rows == [b"user: Two and two?\nassistant:  four", b"user: Two and two?\nassistant: five"]
    assert [row.scored for row in scorer._rows[0]] == [5, 4]


@given(
    st.lists(st.lists(st.text("ab ", min_size=1, max_size=5), min_size=2, max_size=3), min_size=1, max_size=3)
)
def test_logits_where_they_are_wanted_are_judged_as_all_are(choices: list[list[str]]) -> None:
    tokens = ByteTokens(Uniform(), CONTEXT)
    tokens.learnt_name = "learnt"
    questions = [Question("ab", tuple(texts), 0) for texts in choices]
    scorer = MultipleChoiceScorer("t", questions, tokens)
    [batch] = scorer.batches()
    logits = torch.randn(*batch.inputs["ids"].shape, 256, generator=torch.Generator().manual_seed(0))
    every, wanted = (scorer.judge(given, batch) for given in (logits, logits[batch.inputs["learnt"]]))
    assert all(torch.equal(every[metric], wanted[metric]) for metric in scorer.metrics)


@torch.no_grad()
def test_padding_changes_nothing_beyond_rounding(model: ByteGPT) -> None:
    alone = MultipleChoiceScorer("t", QUESTIONS, ByteTokens(model, CONTEXT), batch_tokens=1)
    together = MultipleChoiceScorer("t", QUESTIONS, ByteTokens(model, CONTEXT), batch_tokens=10_000)
    assert (len(list(alone.batches())), len(list(together.batches()))) == (4, 1)
    one, all_at_once = alone(model).values, together(model).values
    assert alone.version == together.version
    for metric in alone.metrics:
        # Sums of at most 64 float64 terms in another order, through one block: 2⁻⁵³ · a few hundred.
        np.testing.assert_allclose(one[metric], all_at_once[metric], rtol=1e-12)
    part = together.score(model, [3, 1]).values
    np.testing.assert_allclose(part["loss"], all_at_once["loss"][[3, 1]], rtol=1e-12)


def test_another_answer_or_text_is_another_version(model: ByteGPT) -> None:
    tokens = ByteTokens(model, CONTEXT)
    versions = {
        MultipleChoiceScorer("t", [Question("a", ("b", "c"), 0)], tokens).version,
        MultipleChoiceScorer("t", [Question("a", ("b", "c"), 1)], tokens).version,
        MultipleChoiceScorer("t", [Question("a", ("b", "d"), 1)], tokens).version,
        TextLossScorer("t", ["abc"], tokens).version,
        TextLossScorer("t", ["abd"], tokens).version,
    }
    assert len(versions) == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2: wanted a JSON object"),
        ('{"choices": ["a", "b"], "answer": 0}', "line 2: wanted text under 'question' or 'context'"),
        ('{"question": "q", "choices": ["a"], "answer": 0}', "at least two texts"),
        ('{"question": "q", "choices": ["a", "b"], "answer": 2}', "its number, 0 to 1; got 2"),
        ('{"question": "q", "choices": ["a", "b"], "answer": "c"}', "its number, 0 to 1; got 'c'"),
        ('{"question": "q", "choices": ["a", "a"], "answer": "a"}', "its number, 0 to 1; got 'a'"),
        ('{"question": "q", "choices": ["a", "b"], "answer": true}', "its number, 0 to 1; got True"),
        ('{"question": "q", "choices": ["abcdefghijklmnopq", "b"], "answer": 0}', "wanted 1 to 16"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, model: ByteGPT, line: str, message: str) -> None:
    path = tmp_path / "q.jsonl"
    good = json.dumps({"context": "q", "choices": ["a", "b"], "answer": "b"})
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        MultipleChoiceScorer.read(path, ByteTokens(model, CONTEXT), limit=None)


def test_texts_that_cannot_be_scored_are_refused(tmp_path: Path, model: ByteGPT) -> None:
    tokens = ByteTokens(model, CONTEXT)
    with pytest.raises(DataError, match="too short to predict a token"):
        TextLossScorer("t", ["a", ""], tokens)
    with pytest.raises(ConfigError, match="stride must be from 1 to the context 16, got 17"):
        TextLossScorer("t", ["abc"], tokens, stride=17)
    with pytest.raises(ConfigError, match="cannot read the task's file"):
        TextLossScorer.read(tmp_path / "none.txt", tokens, stride=None, limit=None)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="is not UTF-8"):
        TextLossScorer.read(tmp_path / "latin.txt", tokens, stride=None, limit=None)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="has no examples"):
        TextLossScorer.read(tmp_path / "empty.jsonl", tokens, stride=None, limit=None)
