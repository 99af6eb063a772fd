"""What targets and datasets have in common is what sets of word runs say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.setups.rows import near_duplicates, word_runs
from m2m.setups.rows.contamination import contamination_of
from m2m.setups.rows.items import Item
from m2m.setups.rows.near_duplicates import RunIndex
from m2m.setups.rows.overlap import Judged, Overlap
from m2m.setups.rows.word_runs import NumberSet, template_of, texts_of
from m2m.setups.rows.words import scale_of, words_of

Run = tuple[str, ...]


def parts(words: Sequence[str], length: int) -> list[Run]:
    """All runs of a length, in order."""
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]


def template_by_sets(items: Sequence[Item]) -> set[Run]:
    """The twin of `template_of`."""
    holders: Counter[Run] = Counter()
    for item in items[:1000]:
        texts = [words_of(text) for text in item.texts]
        holders.update({run for words in texts for run in parts(words, 8 * scale_of(words))})
    return {run for run, many in holders.items() if many >= 10 and many * 10 > min(len(items), 1000)}


def own_by_sets(text: str, template: set[Run]) -> set[Run]:
    """The twin of `Texts.own`, of one text."""
    words = words_of(text)
    fewest, length = 8 * scale_of(words), 13 * scale_of(words)
    starts = [at for at, run in enumerate(parts(words, fewest)) if run in template]
    taken = {place for at in starts for place in range(at, at + fewest)}
    runs = parts(words, length)
    if own := {run for at, run in enumerate(runs) if not taken & set(range(at, at + length))}:
        return own
    stretches: list[list[str]] = [[]]
    for place, word in enumerate(words):
        if place in taken:
            stretches.append([])
        else:
            stretches[-1].append(word)
    longest = max(stretches, key=len)
    return {tuple(longest)} if len(longest) >= fewest else set()


@dataclass(frozen=True)
class Sets:
    """A dataset and what many of its items have in common, for the twins below."""

    items: Sequence[Item]

    def has(self, run: Run) -> bool:
        """Whether a run is anywhere in the dataset."""
        return any(run in parts(words_of(text), len(run)) for item in self.items for text in item.texts)

    def overlap(self, split: Judged) -> Overlap:
        """The twin of `Search`, but for its example."""
        template = template_by_sets(self.items) | template_by_sets(split.items)
        keys = {item.key for item in self.items}
        compared = shared = in_answers = runs = shared_runs = short = 0
        for item in split.items:
            asked, said = (own_by_sets(text, template) for text in item.texts)
            own = asked | said
            held = {run for run in own if self.has(run)}
            compared += bool(own)
            shared += bool(held) or bool(own and item.key in keys)
            in_answers += bool(held & said)
            runs, shared_runs = runs + len(own), shared_runs + len(held)
            short += not own and item.key in keys
        return Overlap(
            split.target, split.split, "d", len(split.items), compared, shared, in_answers, runs, shared_runs,
            short,
        )  # fmt: skip


def near_by_sets(datasets: Sequence[Sequence[Item]]) -> list[list[int]]:
    """The twin of `RunIndex`: near-duplicates of each dataset in each dataset."""
    own: dict[tuple[int, int], set[Run]] = {}
    for number, items in enumerate(datasets):
        template = template_by_sets(items)
        for at, item in enumerate(items):
            own[number, at] = {run for text in item.texts for run in own_by_sets(text, template)}
    first: dict[tuple[Run, int], list[tuple[int, int]]] = {}
    for place, runs in own.items():
        for run in runs:
            first.setdefault((run, place[0]), []).append(place)
    counts = [[0] * len(datasets) for _ in datasets]
    for place, runs in own.items():
        for other in range(len(datasets)):
            common = Counter(
                holder
                for run in runs
                for holder in first.get((run, other), [])[: near_duplicates.HOLDERS]
                if holder != place
            )
            counts[place[0]][other] += any(
                Fraction(many, len(runs)) >= Fraction(4, 5) for many in common.values()
            )
    return counts


WORDS = ["one", "Two,", "three", "4", "five\n", "(six)", "sept", "otto", "neun", "dix"]
#: From Su Shi, Red Cliff: 16 characters.
SONG = "山高月小水落石出清风徐来水波不兴"
BLOCKS = st.one_of(
    st.sampled_from(
        [
            " ".join(WORDS),
            " ".join(WORDS[:8]),
            " ".join(WORDS[::-1]),
            "山高月小水落石出清风徐来水波不兴",
            "हिन्दी में",
        ]
    ),
    st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join),
)
TEXTS = st.lists(BLOCKS, max_size=4).map(" ".join)


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """Items, perhaps with a template around them, some of them again."""
    found = draw(st.lists(st.tuples(TEXTS, TEXTS), max_size=14))
    found += found[: draw(st.integers(0, 4))]
    before = draw(st.sampled_from(["", "Below is an instruction that describes a task in words: "]))
    origins = draw(st.booleans())
    return [
        Item(before + asked, said, f"line {at}", asked[:3] if origins else "")
        for at, (asked, said) in enumerate(found)
    ]


@settings(deadline=None)
@given(items(), items(), st.integers(1, 60))
def test_an_overlap_is_what_sets_of_runs_say(dataset: list[Item], judged: list[Item], together: int) -> None:
    split = Judged("t", "test", judged)
    with mock.patch.object(word_runs, "_TOGETHER", together):
        (found,) = contamination_of({"d": lambda: dataset}, [split]).overlaps
    expected = Sets(dataset).overlap(split)
    counts = {name: value for name, value in vars(found).items() if name != "example"}
    assert counts == {name: value for name, value in vars(expected).items() if name != "example"}
    assert (found.example is not None) == bool(found.shared or found.short)


@settings(deadline=None)
@given(st.lists(items(), min_size=1, max_size=3), st.integers(1, 60), st.integers(1, 4))
def test_near_duplicates_are_what_sets_of_runs_say(
    datasets: list[list[Item]], together: int, holders: int
) -> None:
    with (
        mock.patch.object(word_runs, "_TOGETHER", together),
        mock.patch.object(near_duplicates, "_TOGETHER", together),
        mock.patch.object(near_duplicates, "HOLDERS", holders),
    ):
        read = {str(number): lambda found=found: found for number, found in enumerate(datasets)}
        found = contamination_of(read, []).duplicates
        expected = near_by_sets(datasets)
    for number, (of, counts) in enumerate(zip(found, expected, strict=True)):
        assert of.within == counts[number]
        assert of.across == {str(other): n for other, n in enumerate(counts) if n and other != number}
        assert (of.example is not None) == any(counts)


def says(numbers: str) -> str:
    """A text of its own: a word for each number."""
    return " ".join(f"word{number}" for number in numbers.split())


def counted(many: range) -> str:
    return says(" ".join(map(str, many)))


def measured(dataset: Sequence[Item], judged: Sequence[Item]) -> Overlap:
    return contamination_of({"d": lambda: dataset}, [Judged("t", "test", judged)]).overlaps[0]


def test_a_pair_is_named_by_file_and_line_and_the_words_it_has_in_common() -> None:
    dataset = [Item("", counted(range(at, at + 40)), f"d.jsonl, line {at}") for at in (1000, 0)]
    judged = [Item("", counted(range(15, 28)), "t.jsonl, line 1"), Item("", counted(range(30, 60)), "line 2")]
    found = measured(dataset, judged)
    assert (found.shared, found.shared_runs, found.runs) == (1, 1, 19)
    assert found.example is not None
    assert (found.example.item, found.example.other) == ("t.jsonl, line 1", "d.jsonl, line 0")
    assert found.example.words == says("15 16 17 18 19 20 21 22")


def test_a_template_is_none_though_its_end_stands_before_the_same_word() -> None:
    before = "Below is an instruction that describes a task, write a response that completes it: "
    dataset = [Item(f"{before}Why {counted(range(at * 30, at * 30 + 20))}", "") for at in range(200)]
    judged = [Item(f"{before}Why {counted(range(-30 * at - 20, -30 * at))}", "") for at in range(5)]
    assert measured(dataset, judged).shared == 0
    assert measured(dataset[:8], judged).shared == 5  # of 8 items it is not known
    assert measured(dataset, [*judged, Item("", counted(range(300, 320)))]).shared == 1


def test_what_a_tenth_of_a_dataset_has_is_no_template() -> None:
    licence = counted(range(20))
    dataset = [Item("", f"{licence} {counted(range(at * 99, at * 99 + 50))}") for at in range(1, 41)]
    others = [Item("", counted(range(at * 99, at * 99 + 50))) for at in range(101, 461)]
    assert measured([*dataset, *others], [Item("", licence)]).shared == 1
    assert measured([*dataset, *others[:-1]], [Item("", licence)]).shared == 0


def test_short_items_count_apart_and_only_as_they_are() -> None:
    dataset = [Item("2 + 3 =", "5", "d, line 1"), Item("", "Save\n the changes"), Item("", counted(range(9)))]
    judged = [Item("2 - 3 =", "5"), Item("", "Save the changes "), Item("2 + 3 =", "5"), Item("", "save it")]
    found = measured(dataset, judged)
    assert (found.compared, found.shared, found.short) == (0, 0, 2)
    assert measured(dataset, [Item(counted(range(9)), "")]).shared == 1
    assert measured(dataset, [Item(counted(range(8)), "")]).shared == 1  # all of its words
    assert measured(dataset, [Item(counted(range(1, 11)), "")]).shared == 0


def test_the_same_message_in_another_language_is_the_same() -> None:
    dataset = [Item("Spanish: Save", "Guardar", "es.po, line 3", origin="Save")]
    judged = [Item("Galician: Save", "Gardar", "gl.po, line 3", origin="Save")]
    found = measured(dataset, judged)
    assert found.short == 1
    assert found.example is not None
    assert (found.example.item, found.example.other) == ("gl.po, line 3", "es.po, line 3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't PANIC, now!", ["don", "t", "panic", "now"]),
        ("def snake_case(x2): return x2 + 1", ["def", "snake", "case", "x2", "return", "x2", "1"]),
        ("Straße, ÉTÉ été", ["straße", "été", "été"]),
        ("水落石出。A 3", ["水", "落", "石", "出", "a", "3"]),
        ("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है"]),
        ("ﬁne １２", ["fine", "12"]),
    ],
)
def test_words_are_letters_and_digits_of_any_script(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_script_without_blanks_is_compared_in_runs_of_twice_as_many() -> None:
    text = "".join(chr(0x4E00 + at) for at in range(60))
    assert measured([Item("", text)], [Item("", text[10:36])]).shared == 1
    assert measured([Item("", text[:25])], [Item("", text)]).shared == 0
    found = measured([Item("", text)], [Item("", text[10:35])])  # its 25 characters are one run
    assert (found.shared, found.runs) == (1, 1)


def test_runs_beyond_the_limit_are_thinned_and_copies_still_found() -> None:
    items = [Item("", counted(range(at * 1000, at * 1000 + 500)), f"line {at}") for at in range(20)]
    items += [Item("", counted(range(first, last)), "copy") for first, last in ((3000, 3490), (4000, 4300))]
    index = RunIndex(most=2000)
    index.begin("a", items)
    for texts in texts_of(items):
        index.add(texts.own(NumberSet(template_of(items))))
    assert index.every == 8
    (found,) = index.duplicates()
    assert (found.within, found.across) == (3, {})  # both of one pair, and the shorter one of the other
    assert found.example is not None
    assert (found.example.item, found.example.other) == ("line 3", "copy")


def test_half_letters_and_nothing_at_all_are_no_trouble() -> None:
    found = measured([Item("", "\ud800 a" * 20), Item("", "")], [Item("", "\ud800"), Item("", "…")])
    assert (found.items, found.compared) == (2, 0)
    assert measured([], []).runs == 0


def test_notes_name_what_is_more_than_a_hundredth() -> None:
    dataset = [Item("", counted(range(at * 50, at * 50 + 40)), f"d, line {at}") for at in range(300)]
    judged = [*dataset[:2], *(Item("", f"short {at}") for at in range(98))]
    found = contamination_of({"d": lambda: dataset}, [Judged("t", "test", judged)])
    note, advice = found.notes()
    assert "take it out of one of the two" in advice
    assert note.startswith("target t: dataset d has some of it: test: 2 of 100 documents share 13 words in")
    assert "d, line 0 and d, line 0: “word0 word1" in note
    fewer = contamination_of({"d": lambda: dataset}, [Judged("t", "test", [*judged[1:], *judged[2:5]])])
    assert not list(fewer.notes())
    assert [row[:3] for row in fewer.overlap_rows()] == [["t, test", "d", "102"]]
    assert type(found).from_json(found.to_json()) == found
