"""Every public verb refuses arguments of wrong types, one by one, before anything is written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import analysis
import m2m
from m2m.cli.entry import PROGRAM
from m2m.errors import ConfigError
from m2m.exporting import Sources
from m2m.scoring.tasks import TaskOptions
from m2m.support.checked import Natural, Positive, checked

#: Verbs about this machine have no function.
OF_THE_MACHINE = {"data", "doctor"}
NAMES = [*(verb.replace("-", "_") for verb in PROGRAM.verbs if verb not in OF_THE_MACHINE), "race", "dry_run"]
VERBS = {name: getattr(m2m, name) for name in NAMES} | {
    f"analysis.{name}": getattr(analysis, name) for name in analysis.__all__
}
#: Values that are wrong unless an annotation has one of these words.
WRONG: list[tuple[object, set[str]]] = [
    (object(), set()),
    ([object()], set()),
    ({"a": object()}, {"Any"}),
    ({5: "a"}, {"Any"}),
    (b"bytes", set()),
    (5j, set()),
    (float("nan"), set()),
    (None, {"None", "Candidates"}),
    (True, {"bool"}),
    (5, {"int", "float", "Positive", "Natural"}),
    (-1, {"int", "float"}),
    ("neither", {"str", "Candidates"}),
]


def parameters_of(verb: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(verb).parameters


def wrong_calls(verb: Callable[..., Any]) -> Iterator[tuple[str, dict[str, object]]]:
    """Calls with one wrong argument each, and its name; what else must be given is of the right type."""
    needed = {
        name: ["x"] if re.match("Sequence|Experts", each.annotation) else "x"
        for name, each in parameters_of(verb).items()
        if each.default is inspect.Parameter.empty
    }
    for name, each in parameters_of(verb).items():
        words = set(re.findall(r"\w+", each.annotation))
        for value, fitting in WRONG:
            if not words & fitting:
                yield name, needed | {name: value}


@pytest.mark.parametrize("name", VERBS)
def test_a_wrong_type_is_refused_by_the_argument_s_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = list(wrong_calls(VERBS[name]))
    assert {argument for argument, _ in calls} == set(parameters_of(VERBS[name]))
    for argument, call in calls:
        with pytest.raises(ConfigError, match=rf"^{argument}\b.* must be .*, got "):
            VERBS[name](**call)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"limit": "x"}, {"stride": 0}, {"lm_eval_tasks": 5}])
def test_options_of_tasks_are_checked_where_they_are_made(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))} must be "):
        TaskOptions(**options)


@pytest.mark.parametrize("sources", [{"paths": 5}, {"paths": {"a": 5}}, {"sizes": {"a": 0}}, {"digits": 0}])
def test_what_a_trainer_needs_is_checked_where_it_is_made(sources: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(sources))}.* must be "):
        Sources(**sources)


@checked()
def example(
    shares: Mapping[str, Sequence[float]] | None = None,
    way: Literal["here", "there"] = "here",
    names: Sequence[str] = (),
    count: Positive = 1,
    seed: Natural | None = None,
) -> str:
    """Take arguments of all kinds."""
    return f"{shares} {way} {names} {count} {seed}"


def test_what_fits_passes_unchanged() -> None:
    weights = np.array([0.5, 0.5])
    assert example({"a": weights}, "there", ("x", "y"), 2**31 - 1, seed=0).endswith("('x', 'y') 2147483647 0")
    assert example(None) == "None here () 1 None"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shares": {"a": [1, "b"]}}, r"shares['a'][1] must be a number, got 'b'"),
        ({"shares": {"a": float("inf")}}, r"shares['a'] must be a list of a number, got inf"),
        ({"way": "ther"}, r"way must be one of 'here', 'there', got 'ther' (did you mean 'there'?)"),
        ({"names": "ab"}, r"names must be a list of text, got 'ab': write ['ab']"),
        ({"names": ["a", None]}, r"names[1] must be text, got None"),
        ({"count": 0}, r"count must be a whole number of at least 1, got 0"),
        ({"count": 2**31}, r"count must be at most 2147483647, got 2147483648"),
        ({"seed": 1.0}, r"seed must be a whole number of at least 0, got 1.0"),
    ],
)
def test_the_message_says_where_what_and_what_was_wanted(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        example(**arguments)


def test_a_call_of_the_wrong_shape_is_python_s_to_refuse() -> None:
    with pytest.raises(TypeError, match=r"example\(\) got an unexpected keyword argument 'names_'"):
        example(names_=[])  # type: ignore[call-arg]
