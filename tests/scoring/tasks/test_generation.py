"""What models write: greedy, by transformers as by hand, ended by a stop, judged by an answer or a user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.judged_runs import JUDGE, prompts, write_lines
from helpers.tiny_models import write_llama
from torch import Tensor, nn

from m2m.errors import ConfigError, DataError
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.tasks import ByteTokens, TaskOptions, load_tasks
from m2m.scoring.tasks.generation import EXACT_MATCH, GenerationScorer, Prompt, users_judge
from m2m.setups.byte_gpt import ByteGPT, Shape


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceFolder:
    return HuggingFaceFolder(write_llama(tmp_path_factory.mktemp("model") / "base"))


class Counting(nn.Module):
    """After a byte, the next one is the likeliest."""

    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.one_hot((tokens + 1) % 256, 256).float()


def greedy(model: nn.Module, ids: list[int], most: int, ends: tuple[int, ...] = ()) -> list[int]:
    """Write a token at a time, one text at a time."""
    written: list[int] = []
    with torch.inference_mode():
        for _ in range(most):
            output: Any = model(torch.tensor([ids + written]))
            logits = output if isinstance(output, Tensor) else output.logits
            written.append(int(logits[0, -1].argmax()))
            if written[-1] in ends:
                break
    return written


def some_prompts() -> list[Prompt]:
    return [Prompt("a" * length, {"answer": "x"}) for length in (1, 9, 4, 2, 30)]


def test_transformers_write_as_a_loop_does(folder: HuggingFaceFolder) -> None:
    """Prompts of different lengths are padded to one; a folder's own settings have no say."""
    model: Any = folder.build()
    model.generation_config.do_sample = True
    model.generation_config.temperature = 7.0
    model.generation_config.repetition_penalty = 9.0
    task = GenerationScorer("t", some_prompts(), folder, EXACT_MATCH, most=6, stop=("\0",))
    written = task.texts(model)
    for prompt, text in zip(some_prompts(), written, strict=True):
        ids = greedy(model, folder.encode(prompt.text), 6, tuple(folder.ends))
        assert text == folder.decode([token for token in ids if token not in folder.ends])
    assert model.generation_config.temperature == 7.0


def test_other_modules_write_as_a_loop_does() -> None:
    model = ByteGPT(Shape(layers=1, width=16, heads=2, context=40))
    model.initialise(3)
    with torch.no_grad():  # so that the largest logit is no near tie
        for parameter in model.parameters():
            parameter *= 20
    task = GenerationScorer("t", some_prompts(), ByteTokens(model, 40), EXACT_MATCH, most=6, stop=("\0",))
    for prompt, text in zip(some_prompts(), task.texts(model), strict=True):
        assert text == bytes(greedy(model, list(prompt.text.encode()), 6)).decode(errors="replace")


def test_a_prompt_in_a_chat_is_asked_by_the_template() -> None:
    task = GenerationScorer(
        "t", [Prompt("a", {})], ByteTokens(Counting(), 64), EXACT_MATCH, most=2, chat=True
    )
    assert [bytes(ids) for ids in task._ids] == [b"user: a\nassistant: "]


def test_a_text_ends_before_the_first_stop_and_is_no_longer_than_allowed() -> None:
    model = Counting()
    tokens, start = (
        ByteTokens(model, 64),
        [Prompt("a", {"answer": "bcd"}), Prompt("c", {"answer": ["q", "d "]})],
    )
    task = GenerationScorer("t", start, tokens, EXACT_MATCH, most=5, stop=("f", "e"))
    assert task.texts(model) == ["bcd", "d"]
    assert task(model).values["exact_match"].tolist() == [1.0, 1.0]
    short = GenerationScorer("t", start, tokens, EXACT_MATCH, most=2, stop=("f",))
    assert short.texts(model) == ["bc", "de"]
    assert short(model).values["exact_match"].tolist() == [0.0, 0.0]
    assert short.version != task.version


def test_a_prompt_that_leaves_no_room_loses_its_beginning() -> None:
    model = Counting()
    task = GenerationScorer(
        "t", [Prompt("0" * 50 + "a", {"answer": "b"})], ByteTokens(model, 8), EXACT_MATCH, most=3
    )
    assert task.texts(model) == ["bcd"]


def test_a_users_judge_sees_text_and_row(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        'METRICS = {"right": True, "length": False}\n'
        'def judge(text, row):\n    return {"right": text == row["wanted"], "length": len(text)}\n'
    )
    judge = users_judge("judge.py:judge", tmp_path)
    task = GenerationScorer("t", [Prompt("a", {"wanted": "bc"})], ByteTokens(Counting(), 9), judge, most=2)
    found = task(Counting())
    assert (found.values["right"].tolist(), found.values["length"].tolist()) == ([1.0], [2.0])
    assert task.metrics == {"right": True, "length": False}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("3.0", r"must return the metrics \['right'\], got '3.0'"),
        ("{'wrong': 1}", r"got \['wrong'\]"),
        ("{'right': 'yes'}", "right must be a number, got 'yes'"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_is_no_judgement_is_the_user_s_error(answer: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        f"METRICS = {{'right': True}}\ndef judge(text, row):\n    return {answer}\n"
    )
    judge = users_judge("judge.py:judge", tmp_path)
    task = GenerationScorer("t", [Prompt("a", {})], ByteTokens(Counting(), 9), judge, most=2)
    if answer == "3.0":
        message = message.replace("'3.0'", "3.0")
    with pytest.raises(ConfigError, match=message):
        task(Counting())


def test_the_command_line_s_words_make_the_tasks(tmp_path: Path, folder: HuggingFaceFolder) -> None:
    write_lines(tmp_path / "ask.jsonl", prompts())
    (tmp_path / "judge.py").write_text(JUDGE)
    options = TaskOptions(judge="judge.py:judge", max_new_tokens=3, limit=4)
    [exact] = load_tasks("exact_match:ask.jsonl", tmp_path, lambda: folder, options)
    [judged] = load_tasks("generate:ask.jsonl", tmp_path, lambda: folder, options)
    model = folder.build()
    assert exact(model).count == judged(model).count == 4
    assert (exact.metrics, judged.metrics) == ({"exact_match": True}, {"letters": True})
    with pytest.raises(ConfigError, match="needs judge"):
        load_tasks("generate:ask.jsonl", tmp_path, lambda: folder, TaskOptions())
    (tmp_path / "ask.jsonl").write_text(json.dumps({"prompt": "a"}))
    with pytest.raises(DataError, match=r"ask.jsonl, line 1: `answer` must be a text"):
        load_tasks("exact_match:ask.jsonl", tmp_path, lambda: folder, TaskOptions())
