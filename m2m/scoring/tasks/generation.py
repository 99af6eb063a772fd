"""Tasks that let the model write: exact match with an answer, or a user's judge of what was written."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m2m.checkpoint.heads import Head
from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.function_scorer import metrics_of
from m2m.scoring.tasks.inputs import PREDICT_TEXT, Tokens, json_lines, require_head, text_of
from m2m.scoring.tasks.rows import encoded
from m2m.scoring.tasks.scorer import Scores, device_of, same_draws, scoring, whole_of
from m2m.scoring.tasks.task_options import MAX_NEW_TOKENS, STOP, first
from m2m.setups.protocol import logits_of
from m2m.support.user_code import load_function

#: Prompts that go through the model together.
BATCH_SIZE = 16


@dataclass(frozen=True)
class Prompt:
    """What the model goes on from, the row it comes from, which the judge is given, and where that stands."""

    text: str
    row: Mapping[str, Any]
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Judge:
    """Judges what was written.

    Attributes:
        version: Content hash of its definition.
        metrics: Metric name to whether higher is better; the first is the headline metric.
        judge: Called with the text and its prompt's row; returns each metric's value.
    """

    version: str
    metrics: Mapping[str, bool]
    judge: Callable[[str, Mapping[str, Any]], Mapping[str, float]]


def _exact(text: str, row: Mapping[str, Any]) -> dict[str, float]:
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    return {"exact_match": float(text.strip() in {answer.strip() for answer in answers})}


#: 1 where the text is the row's `answer`, or one of them, but for blanks at the ends; else 0.
EXACT_MATCH = Judge("exact match 1", {"exact_match": True}, _exact)


def users_judge(reference: str, root: Path) -> Judge:
    """Find a user's judge, `FILE.py:FUNCTION`; its file says in `METRICS` which values are better higher.

    Args:
        reference: Where the function is.
        root: Folder that a relative file name starts from.

    Returns:
        The judge.

    Raises:
        ConfigError: If there is no such function, or `METRICS` is missing or malformed.
    """  # noqa: DOC502 - raised by what is called
    function = load_function(reference, root, "the judge")
    module = sys.modules[function.__module__]
    version = hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16]
    return Judge(version, metrics_of(module, f"the judge {reference}"), function)


class GenerationScorer:
    """Lets the model write on from prompts, and has the texts judged (see `Scorer`).

    Writing is greedy: the likeliest token each time, until the text holds a stop, the model ends it, or there
    are as many tokens as allowed; the text is what stands before the stop. A prompt that leaves no room in
    the context loses its beginning; one that an encoder reads loses its end where it does not fit. Models of
    transformers write by their own `generate`, with keys and values kept; other modules run over the whole
    text for each token.

    Args:
        task: Name of the task.
        prompts: The examples.
        tokens: The model's tokens.
        judge: Judges the texts.
        most: Most tokens written.
        stop: Texts that end an answer.
        chat: Whether a prompt is a user's question, asked through the chat template.

    Attributes:
        split: `validation`.
        version: Hash of prompts, judge and options.
        metrics: The judge's.
        count: Number of examples E.

    Raises:
        ConfigError: If as many tokens as allowed leave no room for a prompt, a stop is empty, or the model is
            none that predicts text.
        DataError: If a prompt has no token.
    """

    split = "validation"

    def __init__(
        self,
        task: str,
        prompts: Sequence[Prompt],
        tokens: Tokens,
        judge: Judge,
        *,
        most: int = MAX_NEW_TOKENS,
        stop: Sequence[str] = STOP,
        chat: bool = False,
    ) -> None:
        if not all(stop):
            raise ConfigError(
                f"task {task}: an empty text among {list(stop)} would stop before the first token"
            )
        require_head(task, tokens, *PREDICT_TEXT)
        if most >= tokens.context:
            raise ConfigError(
                f"task {task}: {most} tokens may be written, but the model takes {tokens.context} with the "
                "prompt"
            )
        self.task, self.count, self.metrics = task, len(prompts), judge.metrics
        self._encoded = tokens.head is Head.ENCODER_DECODER
        self._prompts, self._tokens, self._judge, self._most, self._stop = prompts, tokens, judge, most, stop
        # What would be cut off stays out.
        self._ids = [_asked(prompt.text, tokens, tokens.context - most, chat=chat) for prompt in prompts]
        for prompt, ids in zip(prompts, self._ids, strict=True):
            if not ids:
                raise DataError(f"task {task}: the prompt {prompt.text!r:.60} has no token to go on from")
        content = repr((judge.version, most, tuple(stop), self._ids, [dict(p.row) for p in prompts]))
        self.version = hashlib.sha256(f"generation 1 {content}".encode()).hexdigest()[:16]

    @classmethod
    def read(
        cls,
        path: Path,
        tokens: Tokens,
        judge: Judge,
        *,
        limit: float | None,
        most: int,
        stop: Sequence[str],
        chat: bool = False,
    ) -> GenerationScorer:
        """Make the task of JSON Lines: `prompt`, `question` or `context`; `answer` for exact match."""
        kind = "exact_match" if judge is EXACT_MATCH else "generate"
        prompts = first(read_prompts(path, judge), limit)
        return cls(f"{kind}:{path.name}", prompts, tokens, judge, most=most, stop=stop, chat=chat)

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now; its weights and mode are left as they were."""
        values: dict[str, list[float]] = {metric: [] for metric in self.metrics}
        for prompt, text in zip(self._prompts, self.texts(model), strict=True):
            for metric, value in self._judged(text, prompt).items():
                values[metric].append(value)
        return Scores({metric: np.array(value, dtype=np.float64) for metric, value in values.items()})

    def texts(self, model: nn.Module) -> list[str]:
        """Let the model write on from every prompt.

        Args:
            model: The live module; it is left as it was.

        Returns:
            What it wrote, up to the stop, one text a prompt.
        """
        model = whole_of(model)
        # Prompts of like length share a batch, so that little of it is padding.
        order = sorted(range(self.count), key=lambda at: len(self._ids[at]))
        texts = [""] * self.count
        with scoring(model):
            for first in range(0, self.count, BATCH_SIZE):
                chosen = order[first : first + BATCH_SIZE]
                written = self._write(model, [self._ids[at] for at in chosen])
                for at, ids in zip(chosen, written, strict=True):
                    texts[at] = _before(self._tokens.decode(self._until_end(ids)), self._stop)
        return texts

    def _judged(self, text: str, prompt: Prompt) -> dict[str, float]:
        with same_draws():
            found = self._judge.judge(text, prompt.row)
        if not isinstance(found, Mapping) or set(found) != set(self.metrics):
            got = list(found) if isinstance(found, Mapping) else repr(found)[:60]
            raise ConfigError(
                f"the judge of task {self.task} must return the metrics {list(self.metrics)}, got {got}"
            )
        for metric, value in found.items():
            if not isinstance(value, bool | int | float | np.number):
                raise ConfigError(
                    f"the judge of task {self.task}: {metric} must be a number, got {value!r:.60}"
                )
        return {metric: float(value) for metric, value in found.items()}

    def _write(self, model: nn.Module, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        if hasattr(model, "generate") and hasattr(model, "generation_config"):
            return self._write_with_transformers(model, prompts)
        rows = [list(ids) for ids in prompts]
        for _ in range(self._most):
            going = [
                row for row, ids in zip(rows, prompts, strict=True) if not self._is_over(row[len(ids) :])
            ]
            if not going:
                break
            for row, token in zip(going, self._following(model, going), strict=True):
                row.append(token)
        return [row[len(ids) :] for row, ids in zip(rows, prompts, strict=True)]

    def _following(self, model: nn.Module, rows: Sequence[Sequence[int]]) -> list[int]:
        # Padded on the right: what a causal model predicts from never sees the padding.
        batch = torch.full((len(rows), max(map(len, rows))), self._tokens.pad)
        for at, row in enumerate(rows):
            batch[at, : len(row)] = torch.tensor(row)
        logits = logits_of(model(**{self._tokens.input_name: batch.to(device_of(model))}))
        last = torch.tensor([len(row) - 1 for row in rows], device=logits.device)
        found: list[int] = logits[torch.arange(len(rows), device=logits.device), last].argmax(-1).tolist()
        return found

    def _write_with_transformers(self, model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        from transformers import GenerationConfig, StoppingCriteriaList

        settings: Any = GenerationConfig
        brought = model.generation_config
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self._tokens.pad)
        mask = torch.zeros_like(ids)
        for at, prompt in enumerate(prompts):
            first = 0 if self._encoded else longest - len(prompt)
            place = slice(first, first + len(prompt))
            ids[at, place], mask[at, place] = torch.tensor(prompt), 1
        # What is written stands after the prompt; a decoder's, after the token that it begins with.
        width = 1 if self._encoded else longest
        stops: Any = StoppingCriteriaList([lambda written, _, **__: self._stopped(written, width)])
        greedy = settings(
            do_sample=False, num_beams=1, max_new_tokens=self._most, use_cache=True,
            pad_token_id=self._tokens.pad, eos_token_id=list(self._tokens.ends) or None,
            decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
            forced_bos_token_id=getattr(brought, "forced_bos_token_id", None),
        )  # fmt: skip
        device = device_of(model)
        asked = {"attention_mask": mask.to(device), "generation_config": greedy, "stopping_criteria": stops}
        # What else the folder brings (temperature, penalties) would fill in what ours leaves open.
        model.generation_config = settings()
        try:
            found = model.generate(ids.to(device), **asked)
        finally:
            model.generation_config = brought
        rows: list[list[int]] = found[:, width:].tolist()
        return rows

    def _stopped(self, written: Tensor, width: int) -> Tensor:
        over = [self._is_over(row) for row in written[:, width:].tolist()]
        return torch.tensor(over, device=written.device)

    def _is_over(self, ids: Sequence[int]) -> bool:
        if any(token in self._tokens.ends for token in ids):
            return True
        text = self._tokens.decode(ids)
        return any(stop in text for stop in self._stop)

    def _until_end(self, ids: Sequence[int]) -> list[int]:
        return list(_taken_until(ids, self._tokens.ends))


def _asked(text: str, tokens: Tokens, room: int, *, chat: bool) -> list[int]:
    if tokens.head is Head.ENCODER_DECODER:
        return encoded(tokens.encode(tokens.question(text) if chat else text), tokens)
    if chat:  # the template has written all there is
        return tokens.encode(tokens.question(text))[-room:]
    # With what the tokenizer puts before a text, without what it puts after one: that would end it.
    ids = tokens.encode(text, special=True)
    while ids and ids[-1] in tokens.ends:
        ids = ids[:-1]
    return ids[-room:]


def _taken_until(ids: Sequence[int], ends: Sequence[int]) -> Iterator[int]:
    for token in ids:
        if token in ends:
            return
        yield token


def _before(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.partition(stop)[0]
    return text


def read_prompts(path: Path, judge: Judge) -> list[Prompt]:
    """Read prompts of JSON Lines; exact match needs an `answer` in each, a text or a list of them."""
    prompts = []
    for where, row in json_lines(path).items():
        if judge is EXACT_MATCH:
            _check_answer(row, where)
        prompts.append(Prompt(text_of(row, ("prompt", "question", "context"), where), row, where))
    return prompts


def _check_answer(row: Mapping[str, Any], where: str) -> None:
    answer = row.get("answer")
    several = answer if isinstance(answer, list) else [answer]
    if not several or not all(isinstance(text, str) and text.strip() for text in several):
        raise DataError(f"{where}: `answer` must be a text or a list of texts, got {answer!r:.80}")
