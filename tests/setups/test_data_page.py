"""docs/data.md: every file it shows is read as it says, and its configuration loads."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from helpers.chat_folders import write_chat_llama

from m2m import setups
from m2m.setups.rows.contamination import contamination_of
from m2m.setups.rows.formats import FORMATS, Chat, Completion
from m2m.setups.rows.items import item_of
from m2m.setups.rows.overlap import Judged
from m2m.setups.text import TextSource

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
#: A line that begins with a file's name, and the block below its paragraph.
FILES = dict(re.findall(r"(?m)^`([a-z_]+\.[a-z]+)`(?:.+\n)+\n```[a-z]+\n([\s\S]*?)```", PAGE))


def write_files(folder):
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_shown_and_recognised(tmp_path, name):
    write_files(tmp_path)
    (file,) = [file for file in FILES if file.split(".")[0] == name]
    source = TextSource.parse({"files": file}, "[there]")
    named = TextSource.parse({"files": file, "format": name}, "[there]")
    found = source.collect(tmp_path, tmp_path)
    assert len(found.documents) == 1
    assert found == named.collect(tmp_path, tmp_path)
    (document,) = found.documents.values()
    assert type(document) is {"text": str, "prompt_completion": Completion}.get(name, Chat)


def test_columns_of_other_names_are_shown(tmp_path):
    write_files(tmp_path)
    columns = re.search(r"`renamed.csv`, with `(columns = .*?)`", PAGE)
    table = tomllib.loads(columns[1]) | {"files": "renamed.csv"}
    (document,) = TextSource.parse(table, "[there]").collect(tmp_path, tmp_path).documents.values()
    assert document == Completion("What is 2 + 2?", "4")


def test_what_is_in_common_is_noted_as_shown(tmp_path, monkeypatch):
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)

    def read(name):
        found = TextSource.parse({"files": f"{name}.jsonl"}, "[there]").collect(Path(), tmp_path)
        return [item_of(each, found.where[place]) for place, each in found.documents.items()]

    found = contamination_of({"train": lambda: read("train")}, [Judged("exam", "test", read("exam"))])
    assert "".join(f"m2m: note: {note}\n" for note in found.notes()) in PAGE


def test_the_configuration_at_the_top_loads(tmp_path):
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    import pyarrow as pa
    from pyarrow import parquet

    spec = tomllib.loads(re.search(r"```toml\n([\s\S]*?)```", PAGE)[1])["setup"]
    write_chat_llama(tmp_path / spec["model"], context=1024)
    write_files(tmp_path)
    (tmp_path / "support").mkdir()
    shutil.copy(tmp_path / "messages.jsonl", tmp_path / "support" / "a.jsonl")
    table = pa.Table.from_pylist([{"question": f"{n} + 1?", "answer": f"{n + 1}"} for n in range(5)])
    parquet.write_table(table, tmp_path / "gsm8k-main.parquet")
    rows = "".join(f"Invoice {n}?,Paid {n}\n" for n in range(20))
    (tmp_path / "billing.csv").write_text("prompt,completion\n" + rows)
    setup = setups.load(spec, tmp_path, tmp_path / "cache")
    assert {name: len(examples) for name, examples in setup.datasets.items()} == {"support": 1, "maths": 5}
    billing = setup.targets["billing"]
    assert len(billing.validation) + len(billing.test) == 20
