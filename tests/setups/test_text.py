"""Text sources and readers: which documents, in which order, and no document on both sides of a split."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.errors import ConfigError, DataError
from m2m.setups.rows.formats import Chat, Completion
from m2m.setups.rows.texts import TEXTS
from m2m.setups.text import TextSource

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


def read(reader: str, text: str) -> list[str]:
    return [document for _, document in TEXTS[reader](text)]


def parse(**table) -> TextSource:
    return TextSource.parse(table, "[there]")


def test_po_gives_translations_without_header_and_obsolete_entries():
    assert read("po", PO) == ["Oui", "Non", "Deux « lignes »\n", "%d fichier", "%d fichiers"]


def test_literals_gives_long_strings_only():
    long = "x" * 200
    assert read("literals", f"A = ('short', '''{long}''')\nB = 1\n") == [long]


def test_po_messages_keep_separators_that_are_no_ends_of_lines():
    assert read("po", 'msgid "a"\nmsgstr "b\u2028c"\n') == ["b\u2028c"]


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def documents(source: TextSource, folder) -> list:
    return list(source.collect(folder, folder).documents.values())


@pytest.mark.parametrize("read", [{}, {"read": "jsonl"}])
def test_json_lines_are_rows_whether_or_not_the_table_says_so(tmp_path, read):
    write_lines(tmp_path / "a.jsonl", {"text": "one\u2028more", "n": 1}, {"text": "two"})
    assert sorted(parse(files="*.jsonl", **read).texts(tmp_path, tmp_path)) == ["one\u2028more", "two"]


def test_a_field_names_the_column_of_the_text(tmp_path):
    write_lines(tmp_path / "a.jsonl", {"body": "one", "messages": []})
    assert parse(files="a.jsonl", field="body").texts(tmp_path, tmp_path) == ["one"]


def test_json_lines_can_be_read_as_they_are(tmp_path):
    write_lines(tmp_path / "a.jsonl", {"text": "one"})
    assert parse(files="a.jsonl", read="text").texts(tmp_path, tmp_path) == ['{"text": "one"}\n']


@pytest.mark.parametrize("line", ['{"text": 3}', "[1]", '{"other": "x"}', "not json", '{"text": "\\ud800"}'])
def test_a_bad_json_line_is_named_with_its_file(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line)
    with pytest.raises(DataError, match=r"a\.jsonl, line 2"):
        parse(files="*.jsonl").texts(tmp_path, tmp_path)


def test_rows_are_kept_by_what_columns_hold(tmp_path):
    rows = [
        {"text": f"{number}", "language": ["de", "en", "fr"][number % 3], "n": number} for number in range(9)
    ]
    write_lines(tmp_path / "a.jsonl", *rows)
    (tmp_path / "a.csv").write_text("text,n\nzero,0\none,1\n")

    def kept(files, **where):
        return sorted(parse(files=files, where=where).texts(tmp_path, tmp_path))

    assert kept("a.jsonl", language="de") == ["0", "3", "6"]
    assert kept("a.jsonl", language=["de", "fr"], n=[0, 1, 2, 3]) == ["0", "2", "3"]
    assert kept("a.csv", n=1) == ["one"]
    with pytest.raises(DataError, match=r"^\[there\]: none of 9 rows is as `where` asks"):
        kept("a.jsonl", language="it")
    with pytest.raises(DataError, match=r"line 1: there is no column 'lang', .*did you mean 'language'"):
        kept("a.jsonl", lang="de")


def test_questions_with_answers_count_once_and_empty_answers_not_at_all(tmp_path):
    rows = [("1 + 1", "2"), ("1 + 1", "2"), ("1 + 1", "3"), ("1 + 2", " "), ("1 + 3", None)]
    write_lines(tmp_path / "a.jsonl", *({"prompt": p, "completion": c} for p, c in rows))
    found = parse(files="a.jsonl").collect(tmp_path, tmp_path)
    assert {(d.prompt, d.completion) for d in found.documents.values()} == {("1 + 1", "2"), ("1 + 1", "3")}
    assert (len(found.repeats), len(found.blanks)) == (1, 2)


def test_one_source_reads_files_of_several_kinds(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    write_lines(tmp_path / "a.jsonl", {"messages": turns})
    (tmp_path / "b.json").write_text(json.dumps([{"messages": [{**turns[0], "content": "c"}, turns[1]]}]))
    assert {type(document) for document in documents(parse(files=["a.jsonl", "b.json"]), tmp_path)} == {Chat}
    (tmp_path / "c.csv").write_text("prompt,completion\na,b\n")
    assert documents(parse(files="c.csv"), tmp_path) == [Completion("a", "b")]
    with pytest.raises(DataError, match=r"c\.csv, line 2: there is no column 'messages'"):
        documents(parse(files=["a.jsonl", "c.csv"]), tmp_path)


def test_answers_are_no_text_to_pretrain_on_and_nothing_is_cut_out_of_them(tmp_path):
    write_lines(tmp_path / "a.jsonl", {"prompt": "a", "completion": "b"})
    with pytest.raises(DataError, match=r"^\[there\]: wanted text, got questions with answers"):
        parse(files="a.jsonl").texts(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match=r"^\[there\]: `drop` is for text"):
        documents(parse(files="a.jsonl", drop="b"), tmp_path)


def test_documents_are_cleaned_unique_and_independent_of_file_names(tmp_path):
    texts = ["// licence\nint a;\n", "// other\nint b;\n", "// licence\nint a;\n", "// only a header\n"]
    for folder, names in (("one", "abcd"), ("two", "dbca")):
        (tmp_path / folder).mkdir()
        for name, text in zip(names, texts, strict=True):
            (tmp_path / folder / f"{name}.h").write_text(text)
    one, two = (parse(files=f"{folder}/*.h", drop=r"\A(//.*\n)+") for folder in ("one", "two"))
    assert sorted(one.texts(tmp_path, tmp_path)) == ["int a;\n", "int b;\n"]
    assert one.texts(tmp_path, tmp_path) == two.texts(tmp_path, tmp_path)


def test_excluded_files_are_left_out_and_absolute_globs_read(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    source = parse(files=str(tmp_path / "*.txt"), exclude=[str(tmp_path / "b.*")])
    assert source.texts(tmp_path / "elsewhere", tmp_path) == ["a.txt"]


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
    parts = [source.part(low, high).texts(folder, folder) for low, high in pairwise(bounds)]
    assert [text for part in parts for text in part] == source.texts(folder, folder)
    assert sorted(text for part in parts for text in part) == sorted(text for text in texts if text.strip())


def test_a_part_of_a_part_stays_inside_it():
    assert parse(files="x", share=[0.5, 1.0]).part(0.5, 1.0).share == (0.75, 1.0)


def test_a_glob_without_a_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no file matches '\*\.txt' in .*"):
        parse(files="*.txt").texts(tmp_path, tmp_path)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt is not a text"):
        parse(files="a.txt").texts(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "`files` is missing"),
        ({"files": 3}, "`files` must be a string or a list of strings, got 3"),
        ({"files": "x", "package": ["a", 1]}, "`package` must be"),
        ({"files": "x", "read": "lines"}, "`read` must be one of .* got 'lines'"),
        ({"files": "x", "read": "jsonll"}, "did you mean 'jsonl'"),
        ({"files": "x", "field": 1}, "`field` must be a string"),
        ({"files": "x", "format": "mesages"}, r"`format` must be one of .*did you mean 'messages'"),
        ({"files": "x", "format": "messages", "field": "a"}, "`field` is the column of a text"),
        ({"files": "x", "read": "po", "format": "text"}, "`format` is for rows"),
        ({"files": "x", "columns": {"promt": "a"}}, "`columns` names 'promt'.*did you mean 'prompt'"),
        ({"files": "x", "format": "text", "columns": {"prompt": "a"}}, "which the format text has"),
        ({"files": "x", "columns": ["a"]}, "`columns` must say"),
        ({"files": "x", "where": "a"}, "`where` must give columns"),
        ({"files": "x", "where": {"a": []}}, r"`where` must give columns .* got a = \[\]"),
        ({"files": "x", "hub": "a/b"}, "`hub` stands for `files`"),
        ({"files": "x", "config": "main"}, "`config` is a configuration of a `hub` id"),
        ({"files": "x", "share": [0.5, 0.5]}, "`share` must be"),
        ({"files": "x", "share": [0, 1.1]}, "`share` must be"),
        ({"files": "x", "share": [False, 1]}, "`share` must be"),
    ],
)
def test_a_bad_table_is_one_clear_error(table, message):
    with pytest.raises(ConfigError, match=r"^\[there\]: .*" + message):
        TextSource.parse(table, "[there]")


@pytest.mark.parametrize("key", [{"columns": {"text": "body"}}, {"where": {"lang": "de"}}, {"field": "body"}])
def test_keys_for_rows_are_refused_where_no_file_has_rows(tmp_path, key):
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(ConfigError, match=f"`{next(iter(key))}` is for rows, and .*a.txt is read as text"):
        documents(parse(files="*.txt", **key), tmp_path)
    write_lines(tmp_path / "b.jsonl", {"body": "two", "lang": "de"})
    mixed = {**key, "columns": {"text": "body"}} if "where" in key else key
    assert sorted(documents(parse(files="*", **mixed), tmp_path)) == ["one", "two"]
