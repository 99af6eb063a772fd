"""`m2m init` writes a configuration that runs, from the user's own files, and writes over nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import m2m
from m2m.errors import ConfigError, DataError
from m2m.pipeline import config
from m2m.pipeline.steps import load_setup

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two datasets and a target, in JSON Lines and in text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("M2M_CACHE", str(tmp_path / "cache"))
    for name in ("law texts", "web", "goal"):
        rows = [{"text": f"{name} number {n} is {n * 7919} and no more. " * 3} for n in range(120)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def tables(path: Path) -> dict[str, object]:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#:schema ./config.schema.json\n")
    found = tomllib.loads(text)
    schema = json.loads((path.parent / "config.schema.json").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(schema).iter_errors(found))
    return found


def test_own_files_run(here: Path) -> None:
    written = m2m.init("mine", data=["law texts.jsonl", "web.jsonl"], targets=["goal.jsonl"])
    found = tables(written.config)
    assert found["run"]["target"] == "goal"
    assert list(found["setup"]["datasets"]) == ["law_texts", "web"]
    assert found["setup"]["datasets"]["web"]["files"] == "../web.jsonl"
    assert written.command == "m2m run mine/config.toml --out mine/run"
    assert written.dry_run == "m2m run mine/config.toml --dry-run"
    text = (
        written.config.read_text(encoding="utf-8")
        .replace("steps = 200", "steps = 2")
        .replace("width = 96", "width = 24")
    )
    written.config.write_text(text, encoding="utf-8")
    report = m2m.run(written.config, "out", workers=1)
    assert set(report.results["picked"]) <= {"law_texts", "web"}


def test_a_target_that_is_a_dataset_is_held_out_of_it(here: Path) -> None:
    written = m2m.init("mine", data=["web.jsonl", "law texts.jsonl"], targets=["web.jsonl", "goal.jsonl"])
    targets = tables(written.config)["setup"]["targets"]
    assert targets["web"]["dataset"] == "web"
    assert "files" not in targets["web"]
    assert targets["goal"]["files"] == "../goal.jsonl"


def test_without_files_it_is_the_quickstart(here: Path) -> None:
    written = m2m.init("mine")
    tables(written.config)
    text = written.config.read_text(encoding="utf-8").partition("\n")[2]
    assert text == (ROOT / "examples" / "quickstart.toml").read_text(encoding="utf-8")
    assert config.load(written.config).run.target == "protobuf"


def test_what_is_there_stays(here: Path) -> None:
    first = m2m.init("mine")
    assert m2m.init("mine") == first  # nothing new: as after an interruption
    first.config.write_text("mine = true\n")
    with pytest.raises(ConfigError, match=r"mine/config\.toml is there already, and is left as it is"):
        m2m.init("mine")
    assert first.config.read_text() == "mine = true\n"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"data": ["web.jsonl"], "targets": ["goal.jsonl"]}, ConfigError, "data wants two files or more"),
        ({"data": ["web.jsonl", "law texts.jsonl"]}, ConfigError, "targets is missing"),
        ({"targets": ["goal.jsonl"]}, ConfigError, "data is missing"),
        ({"data": ["web.jsonl", "no.jsonl"], "targets": ["goal.jsonl"]}, ConfigError, "no file no.jsonl"),
        ({"data": ["web.jsonl", "./web.jsonl"], "targets": ["goal.jsonl"]}, ConfigError, "web.jsonl twice"),
        (
            {"data": ["web.jsonl", "mixed"], "targets": ["goal.jsonl"]},
            ConfigError,
            r"mixed is a folder of 2 files, not all of one kind: say which are meant, as 'mixed/\*\.txt'",
        ),
        (
            {"data": ["web.jsonl", "law texts.jsonl"], "targets": ["goal.jsonl"], "base": "no/model"},
            ConfigError,
            "no/model: no such folder, and it cannot be fetched",
        ),
    ],
)
def test_what_makes_no_configuration_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], error: type[Exception], said: str
) -> None:
    if "base" in options:
        pytest.importorskip("huggingface_hub", reason="needs the extra `huggingface`")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    Path("mixed").mkdir()
    for name in ("a.txt", "b.md"):
        (Path("mixed") / name).write_text("some text")
    with pytest.raises(error, match=said):
        m2m.init("mine", **options)
    assert not Path("mine").exists()


@pytest.mark.parametrize("said", ["pages", "pages/*.txt"])
def test_a_folder_of_texts_is_a_dataset(here: Path, said: str) -> None:
    Path("pages").mkdir()
    for number in range(60):
        (Path("pages") / f"{number}.txt").write_text(f"page {number} of {number * 37} says so. " * 9)
    written = m2m.init("mine", data=["web.jsonl", said], targets=["goal.jsonl"])
    assert tables(written.config)["setup"]["datasets"]["pages"]["files"] == "../pages/*.txt"


def test_a_text_file_cannot_be_split_for_a_target(here: Path) -> None:
    Path("page.txt").write_text("one page that says this and that. " * 99)
    with pytest.raises(
        DataError, match=r"targets\.page\]: \w+: no document falls in this part: .*plain text"
    ):
        m2m.init("mine", data=["web.jsonl", "law texts.jsonl"], targets=["page.txt"])


def test_answers_want_a_model(here: Path) -> None:
    for name in ("one", "two", "three"):
        rows = [{"prompt": f"What is {n}?", "completion": f" {name} {n}"} for n in range(90)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        ConfigError,
        match=r"^base is missing: .* byte GPT, pretrained on .*cannot serve .*base=smollm2-135m-instruct",
    ):
        m2m.init("mine", data=["one.jsonl", "two.jsonl"], targets=["three.jsonl"])


def test_a_model_is_named_by_its_id_on_the_hub(here: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    from helpers.hugging_face_folders import write_llama

    place = here / "home" / "hub" / "models--owner--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    write_llama(place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    environment = {
        **os.environ,
        "HF_HOME": str(here / "home"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    files = ("--data", "web.jsonl", "law texts.jsonl", "--target", "goal.jsonl", "--base", "owner/tiny")
    done = subprocess.run(
        [sys.executable, "-m", "m2m.cli", "init", "mine", *files],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # data are read with its tokenizer, as a run does
    assert tables(here / "mine" / "config.toml")["setup"]["model"] == "owner/tiny"


def test_answers_say_the_context_and_a_large_model_what_to_train(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    from helpers.hugging_face_folders import write_llama

    write_llama(here / "llama", num_hidden_layers=3)
    for name in ("one", "two", "three"):
        rows = [
            {"prompt": f"What is {n:03}?", "completion": f" {name:>5} {n:03} {'.' * 30}"} for n in range(150)
        ]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"data": ["one.jsonl", "two.jsonl"], "targets": ["three.jsonl"], "base": "llama"}
    found = m2m.init("small", **files)
    # 12 and 41 tokens of a byte each, and the end.
    assert tables(found.config)["setup"]["base"] == {"context": 64}
    assert "cache_trunk" not in found.config.read_text()
    monkeypatch.setattr("m2m.verbs.init.LARGE", 1000)
    found = m2m.init("large", **files)
    text = found.config.read_text()
    assert "# cache_trunk = true\n" in text
    found.config.write_text(text.replace("# trainable", "trainable").replace("# cache_trunk", "cache_trunk"))
    assert tables(found.config)["setup"]["base"]["trainable"] == [r"layers\.(1|2)\."]
    assert load_setup(config.load(found.config), None).setup  # which holds the top against the whole model
