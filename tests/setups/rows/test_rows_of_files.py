"""Rows of every kind of file are the rows that were written, and what is damaged is named."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError, DataError
from m2m.setups.rows.tables import TABLES, folder_rows, hub_rows
from m2m.setups.text import TextSource

TURNS = [{"role": "user", "content": "a\u2028b\x85c\rd\n"}, {"role": "assistant", "content": "é"}]
ROWS = [{"messages": TURNS, "n": number} for number in range(5)]


def read(kind: str, path) -> list:
    return [row for _, row in TABLES[kind](path)]


texts = st.text(st.characters(codec="utf-8"))


@given(rows=st.lists(st.dictionaries(texts, texts, min_size=1), min_size=1), ascii_only=st.booleans())
def test_json_lines_and_arrays_give_what_was_written(tmp_path_factory, rows, ascii_only):
    folder = tmp_path_factory.mktemp("json")
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    (folder / "b.json").write_text(f"\n [{','.join(lines)}]", encoding="utf-8")
    assert read("jsonl", folder / "a.jsonl") == read("json", folder / "b.json") == rows
    assert read("json", folder / "a.jsonl") == rows  # many `.json` files have an object a line


@given(rows=st.lists(st.tuples(texts, texts), min_size=1))
def test_csv_gives_cells_as_they_are(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("prompt", "completion"), *rows])
    assert read("csv", path) == [{"prompt": prompt, "completion": said} for prompt, said in rows]


def test_tabs_separate_cells_of_a_tsv_and_cells_may_be_long(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tn\n" + "x" * 200_000 + "\t1\n")
    before = csv.field_size_limit()
    assert read("csv", tmp_path / "a.tsv") == [{"text": "x" * 200_000, "n": "1"}]
    assert csv.field_size_limit() == before


def test_a_byte_order_mark_and_windows_ends_of_lines_are_no_part_of_rows(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n')
    assert read("jsonl", tmp_path / "a.jsonl") == [{"text": "one"}, {"text": "two"}]


def test_parquet_and_arrow_files_give_rows(tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pylist(ROWS)
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    for name, new in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        with new(tmp_path / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    assert read("parquet", tmp_path / "a.parquet") == ROWS
    assert read("arrow", tmp_path / "stream.arrow") == read("arrow", tmp_path / "file.arrow") == ROWS
    assert [where for where, _ in TABLES["parquet"](tmp_path / "a.parquet")][-1].endswith("a.parquet, row 5")


@pytest.fixture
def saved(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the extra `datasets`")
    datasets.disable_progress_bars()
    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(train=one, test=one.select([1, 3])).save_to_disk(tmp_path / "several")
    return tmp_path


def test_a_folder_that_datasets_saved_gives_the_rows_of_a_split(saved):
    assert [row for _, row in folder_rows(saved / "one", "", "[there]")] == ROWS
    assert [row for _, row in folder_rows(saved / "several", "test", "[there]")] == [ROWS[1], ROWS[3]]


def test_a_folder_counts_as_a_file(saved):
    source = TextSource.parse({"files": "several", "split": "test"}, "[there]")
    (found,) = source.collect(saved, saved).documents.values()
    assert [turn["content"] for turn in found.turns] == [turn["content"] for turn in TURNS]


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("several", "", r"\[there\]: .*several has several splits; .*`split = \"train\"`.*'train', 'test'"),
        ("several", "tran", r"has no split 'tran' \(did you mean 'train'\?\)"),
        ("one", "train", "has one split only: leave `split` out"),
    ],
)
def test_a_split_that_is_not_there_names_those_that_are(saved, name, split, message):
    with pytest.raises(ConfigError, match=message):
        list(folder_rows(saved / name, split, "[there]"))


def test_a_split_is_not_asked_of_files(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    with pytest.raises(
        ConfigError, match=r"`split` is for a folder of `datasets` or a hub id.*where = \{ split"
    ):
        TextSource.parse({"files": "a.jsonl", "split": "train"}, "[there]").collect(tmp_path, tmp_path)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache of `datasets` of our own, without network."""
    pytest.importorskip("datasets", reason="needs the extra `datasets`")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_hub_id_is_read_from_the_cache(hub_cache):
    import datasets
    from datasets.arrow_writer import ArrowWriter

    saved = datasets.Dataset.from_list(ROWS)
    folder = hub_cache / "org___name" / "default" / "0.0.0" / ("a" * 40)
    folder.mkdir(parents=True)
    with ArrowWriter(path=str(folder / "name-train.arrow"), features=saved.features) as writer:
        for row in saved:
            writer.write(row)
        writer.finalize()
    split = datasets.SplitInfo("train", num_examples=len(ROWS), num_bytes=1, dataset_name="name")
    datasets.DatasetInfo(
        features=saved.features, builder_name="parquet", dataset_name="name", config_name="default",
        version="0.0.0", splits=datasets.SplitDict({"train": split}),
    ).write_to_directory(str(folder))  # fmt: skip
    found = list(hub_rows("org/name", "", "", "[there]"))
    assert [row for _, row in found] == ROWS
    assert found[0][0] == "org/name train, row 1"
    with pytest.raises(ConfigError, match=r"^\[there\]: org/name has no split 'test'"):
        list(hub_rows("org/name", "default", "test", "[there]"))


def test_a_hub_id_that_is_nowhere_is_one_line(hub_cache):
    with pytest.raises(DataError, match=r"^\[there\]: nobody/nothing is not in the cache of `datasets`"):
        list(hub_rows("nobody/nothing", "", "", "[there]"))


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("jsonl", b'{"a": 1}\n{"a": ', r"line 2 is not a JSON object: not JSON: [^:]+: column 7$"),
        ("jsonl", b'{"a": 1}\n[1]\n', r"line 2: wanted a JSON object, got \[1\]"),
        ("jsonl", b'{"a": 1, "a": 2}\n', "the name 'a' occurs twice"),
        ("jsonl", b"\xff\n", "line 1 is not a JSON object: byte 0 is not UTF-8"),
        ("json", b"[{}, 3]", "object 2: wanted a JSON object, got 3"),
        ("json", b"[{}", "is not JSON"),
        ("csv", b"a,a\n1,2\n", "more than one column 'a'"),
        ("csv", b"a,b\n1\n", "line 2: got 1 cells, wanted 2 as in the header"),
        ("csv", b'a\n"1\n', "is not CSV"),
        ("parquet", b"PAR1", "is not parquet"),
        ("arrow", b"ARROW1", "is not Arrow"),
        ("arrow", b"", "is not Arrow"),
    ],
)
def test_what_is_damaged_is_named(tmp_path, kind, content, message):
    if kind in ("parquet", "arrow"):
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(kind, tmp_path / "file")
    assert "\n" not in str(caught.value)
