"""The lm-evaluation-harness on the live module: the same numbers as our own task, never a stale one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_models import write_llama

from m2m.checkpoint import Checkpoint
from m2m.errors import ConfigError
from m2m.scoring import score_resident
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.tasks import ByteTokens, MultipleChoiceScorer
from m2m.scoring.tasks.lm_eval_harness import HarnessScorer, load_harness_tasks

pytest.importorskip("lm_eval", reason="needs the extra `lm-eval`")
# The harness and what it imports warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

TASK = """
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
WORDS = ["sun", "moon", "starlight", "sea", "a mountain", "rain", "snowfall", "wind"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("harness")
    write_llama(root / "base")
    for seed in (1, 2):
        write_llama(root / f"expert{seed}", seed=seed, noise=0.3)
    rows = [
        {
            "question": f"{WORDS[at % 8]} and {at}",
            "choices": [WORDS[(at * 3 + k) % 8] for k in range(3)],
            "answer": at % 3,
        }
        for at in range(24)
    ]
    file = root / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "tasks").mkdir()
    (root / "tasks" / "tiny.yaml").write_text(TASK.format(cache=root / "cache", file=file))
    return root


@pytest.fixture(scope="module")
def scorer(root: Path) -> HarnessScorer:
    [task] = load_harness_tasks("tiny", HuggingFaceFolder(root / "base"), include=root / "tasks")
    return task


def test_two_mixtures_in_a_row_have_their_own_scores(
    root: Path, scorer: HarnessScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_HARNESS_CACHE_PATH", str(root / "stale"))
    folder = HuggingFaceFolder(root / "base")
    base, *experts = (Checkpoint(root / name).state() for name in ("base", "expert1", "expert2"))
    ours = MultipleChoiceScorer.read(root / "questions.jsonl", folder, limit=None)
    weights = [[1, 0], [0, 1], [0.5, 0.5], [1, 0]]
    rows = score_resident(folder.build(), base, experts, weights, [scorer, ours])
    accuracies = [harness.values["acc"] for harness, _ in rows]
    assert not np.array_equal(accuracies[0], accuracies[1]), "the second mixture got the first one's answers"
    assert np.array_equal(accuracies[0], accuracies[3])
    for harness, own in rows:
        assert np.array_equal(harness.values["acc"], own.values["accuracy"])
        assert np.array_equal(harness.values["acc_norm"], own.values["accuracy_norm"])
    assert not (root / "stale").exists()


def test_the_version_follows_content_and_limit(root: Path, scorer: HarnessScorer) -> None:
    folder = HuggingFaceFolder(root / "base")
    assert (scorer.task, scorer.metrics) == ("lm_eval:tiny", {"acc": True, "acc_norm": True})
    [again] = load_harness_tasks("tiny", folder, include=root / "tasks")
    [few] = load_harness_tasks("tiny", folder, include=root / "tasks", limit=3)
    assert again.version == scorer.version != few.version
    assert few(folder.build()).count == 3


def test_what_the_harness_cannot_do_is_one_error(root: Path, scorer: HarnessScorer) -> None:
    folder = HuggingFaceFolder(root / "base")
    with pytest.raises(ConfigError, match="'absent' is not a registered"):
        load_harness_tasks("absent", folder, include=root / "tasks")
    with pytest.raises(ConfigError, match="there is no folder"):
        load_harness_tasks("tiny", folder, include=root / "none")
    model = folder.build()
    with pytest.raises(ConfigError, match="needs a model with a tokenizer"):
        load_harness_tasks("tiny", ByteTokens(model, 8), include=root / "tasks")
    with pytest.raises(ConfigError, match="needs a model of transformers, got a Linear"):
        scorer(model.lm_head)
