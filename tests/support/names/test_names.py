"""Names: what cannot be a folder, a label or a column is refused, and what people call datasets is not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError, MixtureError
from m2m.support.names import (
    LONGEST,
    alike,
    check_names,
    fault,
    folder_fault,
    label_fault,
    short_names,
    split_label,
)

GOOD = (
    "wiki_en", "python-3.11", "código", "コード", "Wikipedia (en)", "Common Crawl", "c4", "0", "a.b", "C#",
    "50%", "O'Reilly", "x" * LONGEST, "train_the_pile_arxiv", "a..b", "math:algebra", "é", "~x",
)  # fmt: skip
BAD = (
    "", " ", ".", "..", "../../../evil", "/tmp/evil", "a/b", "a\\b", "a\0b", "a\nb", "a\tb", "\x7f",
    " a", "a ",
    "a+b", "c++", "a=1", "a,b", "-a", "@a", "=1+1", "+a", ".a", "x" * (LONGEST + 1), "é" * LONGEST, "\ud800",
    "a\u200bb", "\u2028", "a\u00a0b", "$x$", "members", "candidate", None, 3, True,
)  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_people_call_datasets_can_be_used(name: str) -> None:
    check_names([name], "dataset")


@pytest.mark.parametrize("name", BAD, ids=repr)
def test_what_cannot_be_used_is_said_in_one_line(name: object) -> None:
    with pytest.raises(ConfigError) as caught:
        check_names(["fine", name], "dataset")
    assert "dataset" in str(caught.value)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


def test_a_suggested_name_can_be_used() -> None:
    with pytest.raises(ConfigError, match="'allenai_c4'"):
        check_names(["allenai/c4"], "dataset")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Math", "math"), ("café", unicodedata.normalize("NFD", "café")), ("straße", "STRASSE")],
)
def test_names_that_some_file_system_takes_for_one_are_refused(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match="case or Unicode form"):
        check_names([one, "other", other], "dataset")


@given(st.text())
def test_a_good_name_stays_in_its_folder_and_its_label(name: str) -> None:
    if fault(name) is None:
        assert label_fault(name) is None
        assert folder_fault(name) is None
        assert split_label(name) == [name]
        assert "/" not in name
        assert name not in (".", "..")
        assert len(name.encode()) < 256


@given(st.text(), st.text())
def test_what_is_alike_has_one_form(one: str, other: str) -> None:
    for form in ("NFC", "NFD"):
        assert alike(unicodedata.normalize(form, one)) == alike(one)
    assert alike(alike(one)) == alike(one)
    if one.casefold() == other.casefold():
        assert alike(one) == alike(other)


@pytest.mark.parametrize("label", ["", "+", "a+", "+a", "a++b", "a+a", "a + a", " "])
def test_a_label_that_is_none_is_refused(label: str) -> None:
    with pytest.raises(MixtureError, match="wanted different names"):
        split_label(label)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/code", "y/law"], ["code", "law"]),
        (["run/experts/cpp/seed0", "run/experts/law/seed0"], ["cpp", "law"]),
        (["cpp/seed0", "law/seed0", "other/web"], ["cpp", "law", "other"]),
        (["cpp/seed0", "cpp/seed1", "law/seed0"], ["cpp_seed0", "cpp_seed1", "law_seed0"]),
        (["one/cpp/s", "two/cpp/s", "one/law/s"], ["one_cpp", "two_cpp", "one_law"]),
        (["/a/x/m", "/b/x/m", "m"], ["a_x", "b_x", "m"]),
        (["a", "b/../a", "./a"], ["a", "a", "a"]),
        ([], []),
    ],
)
def test_paths_are_named_by_what_tells_them_apart(paths: list[str], names: list[str]) -> None:
    assert short_names(paths) == names


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "seed0"]), min_size=1, max_size=4).map("/".join),
        unique=True,
        min_size=1,
    )
)
def test_different_paths_of_one_depth_have_different_names(paths: list[str]) -> None:
    deep = [path for path in paths if path.count("/") == paths[0].count("/")]
    assert len(set(short_names(deep))) == len(deep)
