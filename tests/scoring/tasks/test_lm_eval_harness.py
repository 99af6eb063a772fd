"""The lm-evaluation-harness on the live module: the same numbers as our own task, never a stale one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.judged_runs import questions, write_harness_task, write_lines
from helpers.tiny_models import write_llama

from m2m.checkpoint import Checkpoint
from m2m.errors import ConfigError
from m2m.scoring import score_resident
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.tasks import ByteTokens, MultipleChoiceScorer
from m2m.scoring.tasks.lm_eval_harness import HarnessScorer, load_harness_tasks
from m2m.scoring.tasks.task_options import HarnessOptions

lm_eval = pytest.importorskip("lm_eval", reason="needs the extra `lm-eval`")
# The harness and what it imports warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

WRITTEN = """
task: written
dataset_path: json
dataset_kwargs:
  cache_dir: {cache}
  data_files: {{test: {file}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
GROUP = "group: both\ntask: [tiny, written]\n"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
WORDS = ["sun", "moon", "starlight", "sea", "a mountain", "rain", "snowfall", "wind"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("harness")
    write_llama(root / "base")
    for seed in (1, 2):
        write_llama(root / f"expert{seed}", seed=seed, noise=0.3)
    file = write_lines(root / "questions.jsonl", questions(words=WORDS))
    write_harness_task(root, file)
    (root / "tasks" / "written.yaml").write_text(WRITTEN.format(cache=root / "cache", file=file))
    (root / "tasks" / "both.yaml").write_text(GROUP)
    return root


@pytest.fixture(scope="module")
def scorer(root: Path) -> HarnessScorer:
    [task] = load_harness_tasks(["tiny"], HuggingFaceFolder(root / "base"), include=root / "tasks")
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
    [again] = load_harness_tasks(["tiny"], folder, include=root / "tasks")
    [few] = load_harness_tasks(["tiny"], folder, include=root / "tasks", limit=3)
    assert again.version == scorer.version != few.version
    assert few(folder.build()).count == 3
    [share] = load_harness_tasks(["tiny"], folder, include=root / "tasks", limit=0.125)
    assert share.version == few.version


def test_what_the_harness_cannot_do_is_one_error(root: Path, scorer: HarnessScorer) -> None:
    folder = HuggingFaceFolder(root / "base")
    with pytest.raises(ConfigError, match="'absent' is not a registered"):
        load_harness_tasks(["absent"], folder, include=root / "tasks")
    with pytest.raises(ConfigError, match="there is no folder"):
        load_harness_tasks(["tiny"], folder, include=root / "none")
    model = folder.build()
    with pytest.raises(ConfigError, match="needs a model with a tokenizer"):
        load_harness_tasks(["tiny"], ByteTokens(model, 8), include=root / "tasks")
    with pytest.raises(ConfigError, match="needs a model of transformers, got a Linear"):
        scorer(model.lm_head)
    chat = HarnessOptions(apply_chat_template=True)
    with pytest.raises(ConfigError, match="the base is not a model with a chat template: "):
        load_harness_tasks(["tiny"], folder, chat, include=root / "tasks")
    with pytest.raises(ConfigError, match=r"lm_eval:none\*: no task of the harness has such a name"):
        load_harness_tasks(["none*"], folder, include=root / "tasks")


def with_template(root: Path, folder: Path) -> Path:
    shutil.copytree(root / "base", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (HarnessOptions(num_fewshot=2, batch_size=3), 0.23),  # of 24, 6: rounded up
        (HarnessOptions(num_fewshot=1, apply_chat_template=True, system_instruction="be brief"), 6),
        (HarnessOptions(num_fewshot=1, apply_chat_template=True, fewshot_as_multiturn=False), 6),
        (HarnessOptions(gen_kwargs="max_gen_toks=3,until=<"), 6),
    ],
    ids=str,
)
def test_options_mean_what_they_mean_to_the_harness(
    root: Path, tmp_path: Path, options: HarnessOptions, limit: float
) -> None:
    base = with_template(root, tmp_path / "base")
    folder = HuggingFaceFolder(base)
    tasks = load_harness_tasks(["both"], folder, options, include=root / "tasks", limit=limit)
    found = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": str(base), "dtype": "float32", "max_length": folder.context},
        tasks=["both"], limit=limit, device="cpu", bootstrap_iters=0,
        task_manager=lm_eval.tasks.TaskManager(include_path=str(root / "tasks"), include_defaults=False),
        num_fewshot=options.num_fewshot, apply_chat_template=options.apply_chat_template,
        system_instruction=options.system_instruction, batch_size=options.batch_size,
        fewshot_as_multiturn=bool(options.apply_chat_template and options.fewshot_as_multiturn is not False),
        gen_kwargs=options.gen_kwargs or None,
    )  # fmt: skip
    model = folder.build()
    assert sorted(task.task for task in tasks) == ["lm_eval:tiny", "lm_eval:written"]
    assert [task(model).count for task in tasks] == [6, 6]
    for task in tasks:
        name, metric = task.task.partition(":")[2], next(iter(task.metrics))
        theirs = found["samples"][name]
        for _ in range(2):  # the second time with the prompts of the first
            assert task(model).values[metric].tolist() == [sample[metric] for sample in theirs]
        ours = [[request.args[0] for request in task._task.instances], []]
        assert ours[0] == [arguments[0] for sample in theirs for arguments in sample["arguments"]]


def test_what_is_asked_is_part_of_the_version(root: Path, tmp_path: Path) -> None:
    folder = HuggingFaceFolder(with_template(root, tmp_path / "base"))
    told = [
        HarnessOptions(), HarnessOptions(num_fewshot=2), HarnessOptions(apply_chat_template=True),
        HarnessOptions(apply_chat_template=True, fewshot_as_multiturn=False),
        HarnessOptions(system_instruction="be brief"), HarnessOptions(batch_size=2),
        HarnessOptions(gen_kwargs="max_gen_toks=3"),
    ]  # fmt: skip
    found = [load_harness_tasks(["written"], folder, o, include=root / "tasks")[0].version for o in told]
    assert len({*found}) == len(told)


def test_bars_are_shown_for_the_first_model_only(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = HuggingFaceFolder(root / "base")
    tasks = load_harness_tasks(["tiny", "written"], folder, include=root / "tasks", limit=2)
    assert len(tasks) == 2
    model = folder.build()
    capfd.readouterr()
    for task in tasks:
        task(model)
    assert "it/s" in capfd.readouterr().err
    for task in tasks:
        task(model)
    assert capfd.readouterr().err == ""
