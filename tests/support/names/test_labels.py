"""Laws of labels: other mixtures, other labels, keys and folders; a label says which mixture it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from m2m.errors import MixtureError
from m2m.mixture import Mixture, all_subsets, shown_label, weights_label
from m2m.pipeline.run_folder import RunFolder
from m2m.support.names import alike, fault, folder_fault, label_fault
from m2m.testing.strategies import mixtures

#: Letters that labels are made of, and that folders stumble over, come up often.
_LETTERS = st.text(st.sampled_from("ab0.=+-/ ,e"), min_size=1, max_size=8) | st.text(min_size=1, max_size=8)

#: Merging weights of any sign and size, some of them neighbours.
_WEIGHTS = st.sampled_from([0.0, -0.0, 0.25, 0.2500000001, 1 / 3]) | st.floats(
    allow_nan=False, allow_infinity=False
)


def names(rule: object, longest: int = 1) -> st.SearchStrategy[list[str]]:
    """Draw dataset names that a rule allows, none like another."""
    name = _LETTERS.flatmap(lambda text: st.integers(1, longest).map(lambda times: text * times))
    allowed = name.filter(lambda text: rule(text) is None)  # type: ignore[operator]
    return st.lists(allowed, min_size=1, max_size=5, unique_by=alike)


@st.composite
def pairs(draw: st.DrawFn, rule: object, longest: int = 1) -> tuple[Mixture, Mixture]:
    """Draw two mixtures over the same datasets, now and then neighbours in their last digits."""
    datasets = draw(names(rule, longest))
    one = draw(mixtures(datasets))
    if draw(st.booleans()) and len(one.members) > 1:
        first, second, *_ = [at for at, weight in enumerate(one.weights) if weight > 0]
        moved = list(one.weights)
        step = draw(st.sampled_from([2.0**-52, 1e-12, 1e-7]))
        moved[first], moved[second] = moved[first] + step, moved[second] - step
        assume(moved[second] > 0)
        return one, Mixture(one.datasets, tuple(moved))
    return one, draw(mixtures(datasets))


@given(pairs(label_fault))
@example((Mixture(("a", "b"), (0.25, 0.75)), Mixture(("a", "b"), (0.2500000001, 0.7499999999))))
@example((Mixture(("a", "b"), (0.5, 0.5)), Mixture(("a", "b"), (0.5 + 1e-11, 0.5 + 1e-11))))
def test_labels_and_keys_are_injective(pair: tuple[Mixture, Mixture]) -> None:
    one, other = pair
    same = one == other
    assert (one.label == other.label) is same
    assert (alike(one.label) == alike(other.label)) is same
    assert (one.key == other.key) is same


@given(pairs(label_fault, longest=60))
def test_other_mixtures_have_other_folders_inside_the_run(pair: tuple[Mixture, Mixture]) -> None:
    one, other = pair
    root = Path("/runs/mine")
    folders = [RunFolder(root).model(mixture, 0).relative_to(root) for mixture in (one, other)]
    assert (alike(str(folders[0])) == alike(str(folders[1]))) is (one == other)
    for folder in folders:
        room, name, seed = folder.parts
        assert room in ("experts", "mixtures")
        assert seed == "seed0"
        assert folder_fault(name) is None
        assert (root / folder).resolve().is_relative_to(root)


@given(st.data())
def test_a_label_says_which_mixture_it_is(data: st.DataObject) -> None:
    datasets = data.draw(names(label_fault))
    mixture = data.draw(mixtures(datasets))
    assert Mixture.parse(mixture.label, datasets) == mixture


@given(st.integers(1, 4).flatmap(lambda n: st.tuples(*[st.lists(_WEIGHTS, min_size=n, max_size=n)] * 2)))
@example(([1 / 3], [0.333333]))
def test_labels_of_merging_weights_are_injective(rows: tuple[list[float], list[float]]) -> None:
    one, other = rows
    letters = "abcd"[: len(one)]
    assert (weights_label(letters, one) == weights_label(letters, other)) is (one == other)


def test_ordinary_labels_are_what_they_were() -> None:
    assert [mixture.label for mixture in all_subsets("ab")] == ["a", "b", "a+b"]
    assert Mixture(("a", "b"), (0.25, 0.75)).label == "a=0.25+b=0.75"
    assert Mixture(("a", "b", "c"), (0.125, 0.875, 0.0)).label == "a=0.125+b=0.875"
    assert Mixture.normalised({"a": 3, "b": 3, "c": 3}).label == "a+b+c"
    assert Mixture.normalised({"a": 1, "b": 2}).shown == "a=0.333333+b=0.666667"


def test_keys_are_what_they_were() -> None:
    assert Mixture(("a", "b"), (0.25, 0.75)).key == "359617837bba4647"
    assert Mixture(("a", "b"), (1.0, -0.0)).key == Mixture(("a", "b"), (1.0, 0.0)).key


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("a+x", r"unknown datasets \['x'\]"),
        ("a+a", "'a' is there twice"),
        ("a=0.5+a=0.5", "'a=0.5' is there twice"),
        ("a=0.5+a=0.25+b=0.25", "different names"),
        ("a=0.5+b", "a weight a name"),
        ("a=0.5+b=half", "a weight a name"),
        ("a=0.5+b=0.25", "must sum to 1"),
        ("a=nan+b=1", "finite"),
        ("a=0.5+x=0.5", "out of"),
        ("", "wanted different names"),
    ],
)
def test_a_label_of_no_mixture_is_refused(label: str, said: str) -> None:
    with pytest.raises(MixtureError, match=said):
        Mixture.parse(label, "ab")


@pytest.mark.parametrize(
    "datasets", [("math", "code", "math+code", "z"), ("a=1", "b"), ("", "b"), ("a\n", "b")]
)
def test_names_that_would_make_labels_ambiguous_make_no_mixture(datasets: tuple[str, ...]) -> None:
    with pytest.raises(MixtureError, match="dataset name"):
        Mixture.subset(datasets, datasets[:1])


def test_forty_long_names_fit_into_a_folder(tmp_path: Path) -> None:
    datasets = [f"dataset number {number:02} {'x' * 100}" for number in range(40)]
    mixture = Mixture.subset(datasets, datasets)
    folder = RunFolder(tmp_path).model(mixture, 0)
    folder.mkdir(parents=True)
    assert math.isclose(sum(mixture.weights), 1)
    assert fault(folder.parent.name) is None


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("a=0.24999999999999994+b=0.75", "a=0.25+b=0.75"),
        ("a=2.5e-01+b=-0.333333333333", "a=0.25+b=-0.333333"),
        ("a=6e-18+b=0.9999999+c=-1e-09", "b=1"),
        ("a=1e-09", "a=0"),
        ("a+b", "a+b"),
        ("what++ever", "what++ever"),
    ],
)
def test_labels_are_rounded_for_people(label: str, shown: str) -> None:
    assert shown_label(label) == shown
