"""What rows say: recognised by their columns, read by their format."""

import pytest

from m2m.errors import DataError
from m2m.setups.rows.formats import Chat, Completion, content_of, layout_of

ASKED, SAID = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def read(row, name="", **renamed):
    return layout_of(name, renamed, row, "x, line 1").read(row, "x, line 1")


@pytest.mark.parametrize(
    ("row", "renamed", "wanted"),
    [
        ({"text": "a", "n": 1}, {}, "a"),
        ({"body": "a"}, {"text": "body"}, "a"),
        ({"prompt": "a", "completion": "b"}, {}, Completion("a", "b")),
        (
            {"question": "a", "answer": "b"},
            {"prompt": "question", "completion": "answer"},
            Completion("a", "b"),
        ),
        ({"prompt": [ASKED], "completion": [SAID]}, {}, Chat((ASKED, SAID))),
        ({"messages": [ASKED, SAID], "prompt": "a"}, {}, Chat((ASKED, SAID))),
        ({"instruction": "a", "output": "b"}, {}, Chat((ASKED, SAID))),
        ({"instruction": "a", "input": "", "output": "b"}, {}, Chat((ASKED, SAID))),
        (
            {"instruction": "a", "input": "c", "output": "b", "system": "s"},
            {},
            Chat(({"role": "system", "content": "s"}, {"role": "user", "content": "a\nc"}, SAID)),
        ),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            {},
            Chat((ASKED, SAID)),
        ),
        ({"conversations": [ASKED, SAID]}, {}, Chat((ASKED, SAID))),
        (
            {"messages": [{**ASKED, "name": None}, {**SAID, "content": [{"text": "b"}]}]},
            {},
            Chat((ASKED, SAID)),
        ),
    ],
)
def test_columns_say_which_format_it_is(row, renamed, wanted):
    assert read(row, **renamed) == wanted


def test_a_format_that_is_named_is_taken_where_columns_are_those_of_two():
    row = {"instruction": "a", "output": "b", "text": "all of it"}
    assert read(row, "alpaca") == Chat((ASKED, SAID))
    assert read(row, "text") == "all of it"
    with pytest.raises(DataError, match=r'those of text and alpaca: say which, as in `format = "alpaca"`'):
        read(row)


def test_columns_of_no_format_are_listed_with_what_to_do():
    with pytest.raises(DataError, match=r"x, line 1: the columns \['q', 'a'\] .*`columns = \{ prompt = "):
        read({"q": "1", "a": "2"})


@pytest.mark.parametrize(
    ("row", "name", "message"),
    [
        ({"prompt": "a"}, "prompt_completion", r"no column 'completion'; got \['prompt'\]"),
        ({"prompt": 3, "completion": "b"}, "", "'prompt' is 3, wanted text"),
        ({"messages": "a"}, "", "'messages' is 'a', wanted a list of turns"),
        ({"messages": ["a"]}, "", "wanted turns with a text 'role', got 'a'"),
        ({"messages": [{"role": "user", "content": [{"image": 1}]}]}, "", "a message holds .* wanted text"),
        ({"conversations": [{"from": "narrator", "value": "a"}]}, "", "nobody is called 'narrator' here"),
        (
            {"messages": [ASKED, {**SAID, "role": "asistant"}]},
            "",
            r"'asistant' \(did you mean 'assistant'\?\)",
        ),
        ({"messages": [ASKED, SAID, {**ASKED, "role": "User"}]}, "", "unknown role 'User'"),
        ({"messages": [ASKED, {**SAID, "role": "bot"}]}, "", "unknown role 'bot'; known are"),
        ({"prompt": [ASKED], "completion": [{**SAID, "role": "asistant"}]}, "", "unknown role 'asistant'"),
        ({"text": "\ud800"}, "", "holds text that UTF-8 cannot hold"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "", "holds text that UTF-8 cannot hold"),
    ],
)
def test_a_row_that_does_not_fit_is_named(row, name, message):
    with pytest.raises(DataError, match=r"^x, line 1: .*" + message):
        read(row, name)


def test_a_role_of_a_template_s_own_may_stand_beside_the_assistant():
    critic = {"role": "critic", "content": "c"}
    assert read({"messages": [ASKED, critic, SAID]}) == Chat((ASKED, critic, SAID))


@pytest.mark.parametrize(
    ("turns", "learnt"),
    [
        ("uaua", [1, 3]),
        ("suau", [2]),
        ("aua", [2]),  # a greeting answers nobody
        ("sa", []),
        ("uu", []),
    ],
)
def test_answers_are_what_the_assistant_says_to_somebody(turns, learnt):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    told = Chat(tuple({"role": roles[who], "content": "x"} for who in turns))
    assert told.answers == learnt
    assert told.is_empty == (not learnt)


def test_documents_that_differ_differ_in_content():
    documents = [
        "ab",
        "a",
        Completion("a", "b"),
        Completion("", "ab"),
        Completion("ab", ""),
        Chat((ASKED, SAID)),
        Chat((SAID,)),
    ]
    assert len(set(map(content_of, documents))) == len(documents)
