"""Catalogues of gettext as questions with answers: which pairs, which questions, which side of a split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError
from m2m.setups.rows.gettext import PairRule, entries, pairs, translations
from m2m.setups.text import TextSource

PO = """\
msgid ""
msgstr "Language: es\\n"

#: a.py:1
msgid "Save the changes"
msgstr "Guardar los cambios"

#, python-format
msgid "Hello %(name)s, %d files"
msgstr "Hola %(name)s, %d archivos"

#, python-format
msgid "Lost %(name)s"
msgstr "Perdido %(nombre)s"

#, fuzzy, python-format
#| msgid "Closing"
msgid "Close"
msgstr "Cercano"

msgctxt "verb"
msgid "Open"
msgstr "Abrir"
# no blank line before this one
msgid "{count} item"
msgid_plural "{count} items"
msgstr[0] "{count} elemento"
msgstr[1] "{count} elementos"

msgid "Django"
msgstr "Django"

msgid "Untranslated"
msgstr ""

msgid ""
"Two "
"lines\\n"
msgstr ""
"Dos "
"líneas\\n"

#~ msgid "Old"
#~ msgstr "Viejo"
"""
RULE = PairRule("Spanish for {text}:")


def found(text, rule=RULE):
    return [(pair.prompt, pair.completion) for pair in pairs(text, rule, "a.po")]


def test_pairs_are_confirmed_translations_with_the_same_placeholders():
    assert found(PO) == [
        ("Spanish for Save the changes:", "Guardar los cambios"),
        ("Spanish for Hello %(name)s, %d files:", "Hola %(name)s, %d archivos"),
        ("Spanish for Open:", "Abrir"),
        ("Spanish for {count} item:", "{count} elemento"),
        ("Spanish for Two lines:", "Dos líneas"),
    ]


def test_a_fuzzy_mark_is_of_its_own_entry_only():
    assert [entry.message for entry in entries(PO) if entry.is_fuzzy] == ["Close"]


def test_both_sides_are_of_the_wanted_length():
    rule = PairRule(RULE.prompt, (6, 16))
    assert [answer for _, answer in found(PO, rule)] == ["{count} elemento", "Dos líneas"]


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters='\\"\n\r\0'), min_size=1)] * 2)
    )
)
def test_what_is_written_is_read(written):
    text = "\n".join(f'msgid "{message}"\nmsgstr "{answer}"\n' for message, answer in written)
    assert [(entry.message, *entry.translations) for entry in entries(text)] == written
    assert [answer for _, answer in translations(text)] == [answer for _, answer in written]


def write_catalogues(folder):
    for language in ("es", "gl"):
        content = "\n".join(f'msgid "Message {n}"\nmsgstr "{language} {n}"\n' for n in range(60))
        (folder / f"{language}.po").write_text(content)


def collected(folder, language, share, **more):
    table = {"files": f"{language}.po", "read": "po_pairs", "prompt": language + ": {text}", "share": share}
    return TextSource.parse(table | more, "[there]").collect(folder, folder)


def test_a_message_is_on_one_side_in_all_languages(tmp_path):
    write_catalogues(tmp_path)
    trained = {d.origin for d in collected(tmp_path, "es", [0.0, 0.7]).documents.values()}
    asked = {d.origin for d in collected(tmp_path, "gl", [0.7, 1.0]).documents.values()}
    assert trained
    assert asked
    assert not trained & asked
    assert trained | asked == {f"Message {n}" for n in range(60)}
    in_chat = collected(tmp_path, "gl", [0.7, 1.0], chat=True).documents
    assert [(d.origin, d.turns[1]["content"]) for d in in_chat.values()] == [
        (d.origin, d.completion) for d in collected(tmp_path, "gl", [0.7, 1.0]).documents.values()
    ]


def test_of_one_dataset_the_first_translation_of_a_message_counts(tmp_path):
    write_catalogues(tmp_path)
    (tmp_path / "es2.po").write_text('msgid "Message 7"\nmsgstr "otra"\n')
    both = collected(tmp_path, "es*", [0.0, 1.0])
    answers = [document.completion for document in both.documents.values()]
    assert len(answers) == 60
    assert "es 7" in answers
    assert len(both.repeats) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "no place for it"}, r"`prompt` must say how a question is made of a message.*'no place"),
        ({"prompt": 3}, "`prompt` must be a string"),
        ({"letters": [5, 2]}, r"`letters` must be \[fewest, most\]"),
        ({"letters": 5}, r"`letters` must be \[fewest, most\]"),
        ({"read": "po"}, '`prompt` and `letters` are for `read = "po_pairs"`'),
        ({"drop": "x"}, "`drop` is for text"),
        ({"format": "messages"}, "`format` is for rows"),
    ],
)
def test_a_bad_key_is_one_clear_line(tmp_path, change, message):
    write_catalogues(tmp_path)
    with pytest.raises(ConfigError, match=rf"\[there\]: {message}"):
        collected(tmp_path, "es", [0.0, 1.0], **change)
