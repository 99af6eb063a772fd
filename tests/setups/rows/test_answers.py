"""Which tokens are the answer: exactly those that the model has to say, by real tokenizers and templates."""

from itertools import groupby
from pathlib import Path

import pytest
from helpers.chat_folders import CHATML, END, INST, MARKED, THINKING, chat_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.errors import ConfigError, DataError
from m2m.setups.rows.answers import Answered, AnswerRule, AnswerTokenizer, in_bytes
from m2m.setups.rows.formats import Chat, Completion

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")


def tokenizing(template=CHATML, **options) -> AnswerTokenizer:
    return AnswerTokenizer(chat_tokenizer(template, **options), Path("folder"))


@pytest.fixture(scope="module")
def chatml():
    return tokenizing()


def chat(*turns: str) -> Chat:
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return Chat(tuple({"role": roles[turn[0]], "content": turn[2:]} for turn in turns), "a.jsonl, line 1")


def answers(tokenizer, example: Answered) -> list[str]:
    """Decode each run of answer tokens."""
    pairs = zip(example.tokens, example.is_answer, strict=True)
    runs = [(learnt, [token for token, _ in run]) for learnt, run in groupby(pairs, lambda pair: pair[1])]
    return [tokenizer.decode(run) for learnt, run in runs if learnt]


CONVERSATION = chat("s:Be brief.", "u:What is the capital?", "a:Paris", "u:Of Spain?", "a:Madrid")


def test_every_answer_is_learnt_up_to_the_token_that_ends_it_and_nothing_else_is(chatml):
    found = chatml(CONVERSATION, "all")
    assert answers(chatml.tokenizer, found) == [f"Paris{END}", f"Madrid{END}"]
    whole = chatml.tokenizer.apply_chat_template(list(CONVERSATION.turns), return_dict=True)["input_ids"]
    assert list(found.tokens) == whole


def test_the_last_answer_alone_can_be_learnt(chatml):
    found = chatml(CONVERSATION, "last")
    assert answers(chatml.tokenizer, found) == [f"Madrid{END}"]
    assert found.tokens == chatml(CONVERSATION, "all").tokens


def test_what_follows_the_last_answer_is_not_part_of_the_example(chatml):
    more = chat("u:One?", "a:Two", "u:Three?")
    assert chatml(more, "all").to_last_answer() == chatml(chat("u:One?", "a:Two"), "all").to_last_answer()


def test_a_template_that_marks_answers_says_the_same():
    marked = tokenizing(MARKED)
    assert marked(CONVERSATION, "all") == tokenizing(CHATML)(CONVERSATION, "all")
    assert answers(marked.tokenizer, marked(CONVERSATION, "last")) == [f"Madrid{END}"]


def test_a_template_without_words_before_an_answer_gives_the_answer_with_its_space():
    inst = tokenizing(INST)
    found = inst(chat("u:One?", "a:Two", "u:Three?", "a:Four"), "all")
    assert answers(inst.tokenizer, found) == [f" Two{END}", f" Four{END}"]


def test_a_tokenizer_without_places_of_its_letters_gives_the_same():
    slow = transformers.ByT5Tokenizer()
    slow.chat_template = INST
    assert not slow.is_fast
    found = AnswerTokenizer(slow, Path("folder"))(chat("u:One?", "a:Two", "u:Three?", "a:Four"), "all")
    assert answers(slow, found) == [" Two</s>", " Four</s>"]


words = st.text(st.sampled_from(list("ab \n.?é\u2028P")), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(st.tuples(words, words), min_size=1, max_size=3))
def test_the_tokens_are_the_templates_and_the_answers_their_letters(chatml, turns):
    told = chat(*(part for asked, said in turns for part in (f"u:{asked}", f"a:{said}")))
    found = chatml(told, "all")
    assert (
        list(found.tokens)
        == chatml.tokenizer.apply_chat_template(list(told.turns), return_dict=True)["input_ids"]
    )
    for (_, said), got in zip(turns, answers(chatml.tokenizer, found), strict=True):
        # A token across the border begins with the newline before the answer.
        assert got in (f"{said}{END}", f"\n{said}{END}")


@settings(max_examples=100, deadline=None)
@given(prompt=st.text(st.sampled_from(list("ab \n.P")), max_size=12), completion=words)
def test_a_completion_is_learnt_from_its_first_letter_to_the_end_token(chatml, prompt, completion):
    found = chatml(Completion(prompt, completion), "all")
    tokenizer = chatml.tokenizer
    assert found.tokens[-1] == tokenizer.eos_token_id
    assert list(found.tokens[:-1]) == tokenizer(prompt + completion)["input_ids"]
    (got,) = answers(tokenizer, found)
    alone = tokenizer(prompt)["input_ids"]
    if list(found.tokens[: len(alone)]) == alone:  # as the model meets it when it is asked
        assert got == f"{completion}{END}"
    else:  # a token holds the end of one and the start of the other
        assert got.endswith(f"{completion}{END}")
        first = list(found.is_answer).index(True)
        assert len(tokenizer.decode(found.tokens[: first + 1])) > len(prompt)


def test_a_token_across_the_border_is_the_answers(chatml):
    found = chatml(Completion("The capital is ", "Paris."), "all")
    (got,) = answers(chatml.tokenizer, found)
    assert got == f" Paris.{END}"


@pytest.mark.parametrize("text", ["  Paris", "\n\nParis ", "Paris"])
def test_spans_that_leave_white_space_out_change_nothing(chatml, text):
    from tokenizers import processors

    trimmed = chat_tokenizer()
    trimmed.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    spans = trimmed("a  b", return_offsets_mapping=True)["offset_mapping"]
    assert sum(stop - start for start, stop in spans) < len("a  b")
    for told in (chat("u:One?", f"a:{text}", "u:Two?", f"a:{text}"), Completion("The capital is.", text)):
        assert AnswerTokenizer(trimmed, Path("folder"))(told, "all") == chatml(told, "all")


def test_an_end_token_that_the_tokenizer_puts_itself_stands_once():
    from tokenizers import processors

    tokenizer = chat_tokenizer()
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<|im_start|> $A {END}", special_tokens=[("<|im_start|>", 0), (END, end)]
    )
    found = AnswerTokenizer(tokenizer, Path("folder"))(Completion("The capital is ", "Paris."), "all")
    assert tokenizer.decode(found.tokens) == f"<|im_start|>The capital is Paris.{END}"
    assert answers(tokenizer, found) == [f" Paris.{END}"]


def test_without_a_template_the_line_says_what_to_do():
    with pytest.raises(
        ConfigError, match=r"^folder: its tokenizer has no chat template.*-Instruct.*`chat_template"
    ):
        tokenizing(None)(CONVERSATION, "all")


def test_a_template_of_ones_own_takes_the_place_of_the_tokenizers():
    mine = AnswerTokenizer(chat_tokenizer(None), Path("folder"), CHATML)
    assert mine(CONVERSATION, "all") == tokenizing(CHATML)(CONVERSATION, "all")


def test_what_a_template_refuses_names_the_row():
    with pytest.raises(DataError, match=r"^a.jsonl, line 1 is not a conversation .* must alternate"):
        tokenizing(INST)(chat("u:One?", "u:Two?", "a:Three"), "all")


def test_a_template_that_rewrites_turns_is_refused_but_for_the_last_answer():
    thinking = tokenizing(THINKING)
    with pytest.raises(
        DataError, match=r'^a.jsonl, line 1: .* otherwise when more follow.*`answers = "last"`'
    ):
        thinking(CONVERSATION, "all")
    found = answers(thinking.tokenizer, thinking(CONVERSATION, "last"))
    assert found == [f"<think>\n\n</think>\n\nMadrid{END}"]


def test_bytes_have_a_plain_template():
    found = in_bytes(chat("u:Où?", "a:Là", "u:Ah", "a:Oh"), "all")
    assert bytes(found.tokens).decode() == "user: Où?\nassistant: Là\nuser: Ah\nassistant: Oh\n"
    learnt = bytes(byte for byte, here in zip(found.tokens, found.is_answer, strict=True) if here)
    assert learnt.decode() == "Là\nOh\n"
    last = in_bytes(chat("u:Où?", "a:Là", "u:Ah", "a:Oh"), "last")
    assert sum(last.is_answer) == len("Oh\n")
    completed = in_bytes(Completion("1 + 1 =", " 2"), "all")
    assert bytes(completed.tokens) == b"1 + 1 = 2\n"
    assert list(completed.is_answer) == [False] * 7 + [True] * 3


def example(pattern: str) -> Answered:
    """Tokens 0, 1, 2 …, a capital an answer."""
    return Answered(list(range(len(pattern))), [letter.isupper() for letter in pattern])


def letters(kept: Answered | None, pattern: str) -> str | None:
    """The pattern's letters that were kept, answers capital."""
    if kept is None:
        return None
    pairs = zip(kept.tokens, kept.is_answer, strict=True)
    return "".join(pattern[token].upper() if learnt else pattern[token].lower() for token, learnt in pairs)


@pytest.mark.parametrize(
    ("rule", "pattern", "most", "wanted"),
    [
        ("end", "qqAAqAq", 9, "qqAAqA"),  # nothing after the last answer is kept
        ("end", "qqAAqAq", 6, "qqAAqA"),
        ("end", "qqAAqAq", 5, "qqAA"),
        ("end", "qqAAqAq", 3, "qqA"),
        ("end", "qqAAqAq", 2, None),
        ("start", "qqAAqAq", 5, "qAAqA"),
        ("start", "qqAAqAq", 4, "aAqA"),  # nothing comes before the first token that is left
        ("start", "qqqqA", 1, None),
        ("drop", "qqAAqAq", 6, "qqAAqA"),
        ("drop", "qqAAqAq", 5, None),
        ("end", "Aqq", 9, None),
        ("end", "AAq", 9, "aA"),
    ],
)
def test_examples_are_cut_by_rule(rule, pattern, most, wanted):
    assert letters(AnswerRule(truncate=rule).cut(example(pattern), most), pattern) == wanted
