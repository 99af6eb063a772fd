"""Datasets that are local files: what is written for a trainer is loaded as that trainer loads it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from m2m.exporting import Sources, render
from m2m.mixture import Mixture

MIXTURE = Mixture(("law", "code"), (0.25, 0.75))
RECORDS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]},
    "alpaca": {"instruction": "say", "input": "", "output": "said"},
    "prompt_completion": {"prompt": "1 + 1 =", "completion": " 2"},
    "text": {"text": "as it is"},
}


def write(folder: Path, record: dict[str, Any]) -> Sources:
    paths = {}
    for name, rows in (("law", 40), ("code", 60)):
        file = folder / f"{name} data.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for _ in range(rows)))
        paths[name] = str(file)
    return Sources(paths)


@pytest.mark.parametrize("kind", RECORDS)
def test_trl_loads_its_mixture(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("trl") is None:
        pytest.skip("needs trl")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from trl import DatasetMixtureConfig, get_dataset

    content = yaml.safe_load(render(MIXTURE, "trl", write(tmp_path, RECORDS[kind])))
    loaded = get_dataset(DatasetMixtureConfig(**content))["train"]
    assert loaded.column_names == list(RECORDS[kind])
    assert len(loaded) == 80, "a quarter and three quarters, without repeats: 20 of 40, 60 of 60"


def test_interleave_loads_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="draws the mixture")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    exec(render(MIXTURE, "interleave", write(tmp_path, RECORDS["text"])), names)
    assert {row["text"] for row in names["dataset"]} == {"as it is"}


@pytest.mark.parametrize(
    ("kind", "type_"),
    [("messages", "chat_template"), ("alpaca", "alpaca"), ("text", "completion"), ("prompt_completion", {})],
)
def test_axolotl_is_told_what_a_file_is(
    kind: str, type_: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loader calls load_dataset(ds_type, data_files=path, split=split) for a path that is a file."""
    datasets = pytest.importorskip("datasets", reason="loads what axolotl would load")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    sources = write(tmp_path, RECORDS[kind])
    content = yaml.safe_load(render(MIXTURE, "axolotl", Sources(sources.paths, total=40)))
    for entry, count in zip(content["datasets"], (10, 30), strict=True):
        loaded = datasets.load_dataset(entry["ds_type"], data_files=entry["path"], split=entry["split"])
        assert len(loaded) == count
        if isinstance(type_, str):
            assert entry["type"] == type_
        else:
            assert entry["type"]["field_output"] == "completion"
        for key in ("field", "field_messages"):
            assert entry.get(key, "text") in loaded.column_names or key not in entry


def test_llama_factory_finds_files_by_name(tmp_path: Path) -> None:
    sources = write(tmp_path, RECORDS["messages"])
    info = json.loads(render(MIXTURE, "llama-factory-info", sources))
    arguments = yaml.safe_load(render(MIXTURE, "llama-factory", sources))
    assert arguments["dataset"].split(",") == list(info) == ["law", "code"]
    assert info["law"]["file_name"] == sources.paths["law"]
    assert info["law"]["formatting"] == "sharegpt"
    turn = RECORDS["messages"]["messages"][0]
    assert {info["law"]["tags"][tag] for tag in ("role_tag", "content_tag")} == set(turn)
    elsewhere = json.loads(render(MIXTURE, "llama-factory-info", Sources({"law": "me/law"})))
    assert elsewhere["law"] == {"hf_hub_url": "me/law"}


def test_what_is_no_file_stays_as_it_was() -> None:
    for to in ("trl", "axolotl"):
        content = yaml.safe_load(render(MIXTURE, to, Sources({"law": "me/law"}, total=40)))
        assert [entry["path"] for entry in content["datasets"]] == ["me/law", "code"]


@pytest.mark.parametrize("first", ["", "{not JSON", "[1]", '{"other": 1}'])
def test_records_that_cannot_be_told_are_not_guessed(first: str, tmp_path: Path) -> None:
    (tmp_path / "law.jsonl").write_text(first)
    sources = Sources({"law": str(tmp_path / "law.jsonl"), "code": "gone.csv"}, total=40)
    entries = yaml.safe_load(render(MIXTURE, "axolotl", sources))["datasets"]
    assert [set(entry) for entry in entries] == [{"path", "ds_type", "split"}] * 2
    assert [entry["ds_type"] for entry in entries] == ["json", "csv"]
