"""A run of a tiny language model with targets that tasks judge: files, configuration, a user's functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = ["sun", "moon", "star", "sea", "hill", "rain", "snow", "wind"]

CONFIG = """
[run]
target = {target}
{run}
[train]
steps = 2
batch = 2
learning_rate = 0.01
[setup]
kind = "language"
model = "{model}"
{base}
[setup.datasets.a]
files = "a.txt"
[setup.datasets.b]
files = "b.txt"
[setup.targets.prose]
files = "prose/*.txt"
validation = 2
test = 2
"""
HUGGING_FACE = "[setup.base]\ncontext = 16"
BYTE_GPT = """[setup.base]
layers = 1
width = 16
heads = 2
context = 48
steps = 2
batch = 2
[setup.base.text.t]
files = "a.txt"
"""

#: A task of the lm-evaluation-harness about `questions`.
HARNESS_TASK = """
task: tiny
dataset_path: json
dataset_kwargs:
  cache_dir: {cache}
  data_files: {{test: {file}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""

OWN = """
METRICS = {"size": False}


def score(model, split):
    size = sum(float(p.double().abs().sum()) for p in model.parameters())
    return {"size": [size + at for at in range(3 if split == "test" else 5)]}


def whole(model):
    return {"size": [float(at) for at in range(20)]}
"""
JUDGE = """
METRICS = {"letters": True}


def judge(text, row):
    return {"letters": float(len(set(text) & set("abcdeo")))}
"""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def questions(count: int = 24, words: Sequence[str] = WORDS) -> list[dict[str, Any]]:
    """Make questions about eight words with three choices; their answers are 0, 1 and 2 in turn."""
    return [
        {
            "question": f"{words[at % 8]} and {at}",
            "choices": [words[(at * 3 + k) % 8] for k in range(3)],
            "answer": at % 3,
        }
        for at in range(count)
    ]


def prompts(count: int = 12) -> list[dict[str, Any]]:
    """Make prompts with answers."""
    return [{"prompt": f"after {at} comes", "answer": [str(at + 1), WORDS[at % 8]]} for at in range(count)]


def write_harness_task(folder: Path, file: Path) -> Path:
    """Write the task `tiny` of the lm-evaluation-harness, about questions in `file`, into `folder`/tasks."""
    (folder / "tasks").mkdir(exist_ok=True)
    text = HARNESS_TASK.format(cache=folder / "cache", file=file)
    (folder / "tasks" / "tiny.yaml").write_text(text)
    return folder / "tasks"


def write_judged_run(folder: Path, model: str, *, target: str, targets: str, run: str = "") -> Path:
    """Write a configuration with the targets' tables, and everything that it names but the model."""
    (folder / "prose").mkdir(exist_ok=True)
    for at in range(8):
        text = " ".join(WORDS[(at * 5 + k * k) % 8] for k in range(60))
        (folder / "prose" / f"{at}.txt").write_text(text)
    (folder / "a.txt").write_text("the sun and the sea " * 30)
    (folder / "b.txt").write_text("snow, wind; rain: hill! " * 30)
    write_lines(folder / "quiz.jsonl", questions())
    write_lines(folder / "ask.jsonl", prompts())
    (folder / "own.py").write_text(OWN)
    (folder / "judge.py").write_text(JUDGE)
    base = BYTE_GPT if model == "byte-gpt" else HUGGING_FACE
    path = folder / "run.toml"
    path.write_text(CONFIG.format(target=target, run=run, model=model, base=base) + targets)
    return path
