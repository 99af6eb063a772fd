"""The trainers of examples/trainers, run on a tiny Llama: what m2m asks is what they do."""

from __future__ import annotations

import json
import logging
import re
import runpy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from helpers.chat_folders import CHATML, INST, MARKED, write_chat_llama
from helpers.language_runs import write_language_run

from m2m.checkpoint import Checkpoint, save
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.pipeline import config
from m2m.pipeline.own_trainer import OwnTrainer
from m2m.pipeline.steps import load_setup
from m2m.scoring import model_state
from m2m.setups.rows.answers import AnswerTokenizer
from m2m.setups.rows.formats import Chat, Completion

EXAMPLES = Path(__file__).parents[2] / "examples" / "trainers"


@pytest.mark.parametrize(
    ("script", "needs", "options"),
    [
        ("transformers_trainer.py", "transformers", ()),
        ("trl_sft.py", "trl", ("--lora",)),
    ],
)
def test_a_trainer_of_the_examples_trains(
    script: str, needs: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    if find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    config = write_language_run(tmp_path)
    setup, base = load_setup(config, None).setup, tmp_path / "base"
    save(setup.base_state(tmp_path), base)
    recipe = replace(config.train, steps=2)
    command = ("{python}", str(EXAMPLES / script), *options)
    trainer = OwnTrainer(command, tmp_path, tmp_path / "trainings", setup, base, recipe)
    mixture = Mixture.subset(("one", "two", "three"), ("one", "two"))
    trainer.train(mixture, 7, tmp_path / "model", {"mixture": mixture.label})
    place = trainer.place(mixture, 7)
    losses = json.loads((place / "output" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in losses if "loss" in entry] == [1, 2]
    curve = (tmp_path / "model" / "loss.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["step", "1", "2"]
    before, after = Checkpoint(base).state(), model_state(base, tmp_path / "model")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved
    if options == ("--lora",):
        assert (tmp_path / "model" / "adapter_model.safetensors").exists()
        assert not any("embed" in name or "norm" in name for name in moved)


TURNS = (("user", "What?"), ("assistant", "That."), ("user", "And?"), ("assistant", "This, then."))
MIXTURE = Mixture.subset(("one", "two"), ("one", "two"))


def conversations(place: Path, template: str, base: str) -> config.RunConfig:
    """Two datasets of conversations and a target; `base` are more lines of [setup.base]."""
    write_chat_llama(place / "llama", template)
    for name in ("one", "two", "goal"):
        turns = [{"role": role, "content": f"{content} {name}"} for role, content in TURNS]
        rows = [{"messages": [*turns, {"role": "user", "content": f"{n}"}, turns[1]]} for n in range(8)]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = "\n".join(f"[setup.datasets.{name}]\nfiles = '{name}.jsonl'" for name in ("one", "two"))
    (place / "run.toml").write_text(
        f"[run]\ntarget = 'goal'\n[train]\nsteps = 2\nbatch = 2\nlearning_rate = 0.02\n"
        f"[setup]\nkind = 'language'\nmodel = 'llama'\n[setup.base]\ncontext = 160\n{base}\n{tables}\n"
        "[setup.targets.goal]\nfiles = 'goal.jsonl'\nvalidation = 4\ntest = 4\n"
    )
    return config.load(place / "run.toml")


def trainer_of(place: Path, loaded: config.RunConfig, script: str, *options: str) -> OwnTrainer:
    setup, base = load_setup(loaded, None).setup, place / "base"
    save(setup.base_state(place), base)
    command = ("{python}", str(EXAMPLES / script), *options)
    return OwnTrainer(command, place, place / "trainings", setup, base, loaded.train)


@pytest.mark.parametrize(
    ("script", "needs", "template", "options"),
    [
        ("transformers_trainer.py", "transformers", CHATML, ()),
        ("trl_sft.py", "trl", MARKED, ()),
        ("trl_sft.py", "trl", MARKED, ("--lora",)),
    ],
)
def test_conversations_train_what_is_trainable_and_nothing_else(
    script: str,
    needs: str,
    template: str,
    options: tuple[str, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    loaded = conversations(tmp_path, template, r"trainable = ['layers\.1\.']")
    trainer = trainer_of(tmp_path, loaded, script, *options)
    trainer.train(MIXTURE, 7, tmp_path / "model", {})
    job = json.loads((trainer.place(MIXTURE, 7) / "job.json").read_text())
    assert (job["context"], job["trainable"], job["record"]) == (160, [r"layers\.1\."], "messages")
    before, after = Checkpoint(trainer.base).state(), model_state(trainer.base, tmp_path / "model")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved
    assert all(re.search(r"layers\.1\.", name) for name in moved)
    assert "outside `trainable`" not in caplog.text


def test_a_template_that_marks_no_answers_is_refused_for_trl(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("trl")
    trainer = trainer_of(tmp_path, conversations(tmp_path, INST, ""), "trl_sft.py")
    with pytest.raises(ConfigError, match="exit code 1"):
        trainer.train(MIXTURE, 7, tmp_path / "model", {})
    assert "does not mark what the assistant says" in caplog.text
    assert "Traceback" not in caplog.text


def test_tensors_that_moved_outside_trainable_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "all.py"
    script.write_text(
        "import json, os\nfrom safetensors.torch import load_file, save_file\n"
        "job = json.load(open(os.environ['M2M_JOB']))\nos.makedirs(job['output'])\n"
        "tensors = load_file(job['base'] + '/model.safetensors')\n"
        "save_file({n: t + 1 for n, t in tensors.items()}, job['output'] + '/model.safetensors')\n"
    )
    loaded = conversations(tmp_path, CHATML, r"trainable = ['layers\.1\.']")
    with caplog.at_level(logging.WARNING):
        trainer_of(tmp_path, loaded, str(script)).train(MIXTURE, 7, tmp_path / "model", {})
    assert re.search(r"moved \d+ tensors outside `trainable` of \[setup.base\], such as", caplog.text)


@pytest.mark.parametrize("template", [CHATML, INST])
def test_transformers_example_learns_what_m2m_scores(template: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_chat_llama(tmp_path, template)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    example = runpy.run_path(str(EXAMPLES / "transformers_trainer.py"))["_example"]
    turns = tuple({"role": role, "content": content} for role, content in TURNS)
    ours = AnswerTokenizer(tokenizer, tmp_path)
    for document, record, kind in (
        (Chat(turns, ""), {"messages": list(turns)}, "messages"),
        (Completion("What? ", "That.", ""), {"prompt": "What? ", "completion": "That."}, "prompt_completion"),
    ):
        wanted = ours(document, "all")
        tokens, labels = example(tokenizer, record, {"record": kind, "context": 200})
        assert tokens.tolist() == list(wanted.tokens)
        assert (labels != -100).tolist() == list(wanted.is_answer)
        cut, labels = example(tokenizer, record, {"record": kind, "context": 3})
        assert len(cut) == 4
        assert (labels != -100).any()
