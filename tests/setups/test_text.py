"""Text sources and readers: which documents, in which order, and no document on both sides of a split."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.errors import ConfigError, DataError
from m2m.setups.text import READERS, TextSource

PO = """
# Translators: somebody
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"

#: forms.py:3
msgid "Yes"
msgstr "Oui"
msgid "No"
msgstr "Non"

msgctxt "noun"
msgid ""
"Two "
"lines\\n"
msgstr ""
"Deux "
"« lignes »\\n"

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d fichier"
msgstr[1] "%d fichiers"

msgid "Untranslated"
msgstr ""

#~ msgid "Old"
#~ msgstr "Vieux"
"""


def read(reader: str, text: str, field: str = "text") -> list[str]:
    return list(READERS[reader](text, field))


def parse(**table) -> TextSource:
    return TextSource.parse(table, "[there]")


def test_po_gives_translations_without_header_and_obsolete_entries():
    assert read("po", PO) == ["Oui", "Non", "Deux « lignes »\n", "%d fichier", "%d fichiers"]


def test_literals_gives_long_strings_only():
    long = "x" * 200
    assert read("literals", f"A = ('short', '''{long}''')\nB = 1\n") == [long]


def test_jsonl_gives_the_field_of_each_line():
    lines = [{"body": "one", "n": 1}, {"body": "two"}]
    assert read("jsonl", "\n".join(map(json.dumps, lines)) + "\n\n", "body") == ["one", "two"]


@pytest.mark.parametrize("line", ['{"text": 3}', "[1]", '{"other": "x"}', "not json"])
def test_a_bad_json_line_is_named_with_its_file(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line)
    with pytest.raises(DataError, match=r"a\.jsonl is not what .*jsonl"):
        parse(files="*.jsonl", read="jsonl").documents(tmp_path, tmp_path)


def test_documents_are_cleaned_unique_and_independent_of_file_names(tmp_path):
    texts = ["// licence\nint a;\n", "// other\nint b;\n", "// licence\nint a;\n", "// only a header\n"]
    for folder, names in (("one", "abcd"), ("two", "dbca")):
        (tmp_path / folder).mkdir()
        for name, text in zip(names, texts, strict=True):
            (tmp_path / folder / f"{name}.h").write_text(text)
    one, two = (parse(files=f"{folder}/*.h", drop=r"\A(//.*\n)+") for folder in ("one", "two"))
    assert sorted(one.documents(tmp_path, tmp_path)) == ["int a;\n", "int b;\n"]
    assert one.documents(tmp_path, tmp_path) == two.documents(tmp_path, tmp_path)


def test_excluded_files_are_left_out_and_absolute_globs_read(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    source = parse(files=str(tmp_path / "*.txt"), exclude=[str(tmp_path / "b.*")])
    assert source.documents(tmp_path / "elsewhere", tmp_path) == ["a.txt"]


@settings(max_examples=50)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, min_size=1, max_size=12),
    cuts=st.lists(st.floats(0.01, 0.99), unique=True, max_size=4),
)
def test_parts_cover_every_document_exactly_once(tmp_path_factory, texts, cuts):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    source = parse(files="a.jsonl", read="jsonl", share=[0, 1])
    bounds = [0.0, *sorted(cuts), 1.0]
    parts = [source.part(low, high).documents(folder, folder) for low, high in pairwise(bounds)]
    assert [text for part in parts for text in part] == source.documents(folder, folder)
    assert sorted(text for part in parts for text in part) == sorted(text for text in texts if text.strip())


def test_a_part_of_a_part_stays_inside_it():
    assert parse(files="x", share=[0.5, 1.0]).part(0.5, 1.0).share == (0.75, 1.0)


def test_a_glob_without_a_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no file matches '\*\.txt' in .*"):
        parse(files="*.txt").documents(tmp_path, tmp_path)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt is not a text"):
        parse(files="a.txt").documents(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "`files` is missing"),
        ({"files": 3}, "`files` must be a string or a list of strings, got 3"),
        ({"files": "x", "package": ["a", 1]}, "`package` must be"),
        ({"files": "x", "read": "lines"}, "`read` must be one of .* got 'lines'"),
        ({"files": "x", "read": "jsonll"}, "did you mean 'jsonl'"),
        ({"files": "x", "field": 1}, "`field` must be a string"),
        ({"files": "x", "share": [0.5, 0.5]}, "`share` must be"),
        ({"files": "x", "share": [0, 1.1]}, "`share` must be"),
        ({"files": "x", "share": [False, 1]}, "`share` must be"),
    ],
)
def test_a_bad_table_is_one_clear_error(table, message):
    with pytest.raises(ConfigError, match=r"^\[there\]: .*" + message):
        TextSource.parse(table, "[there]")
