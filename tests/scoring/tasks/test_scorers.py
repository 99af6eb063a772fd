from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.linear_setup import LinearSetup, linear_setup
from torch import nn

from m2m.errors import ConfigError, InputError
from m2m.scoring import FunctionScorer, Scores, TargetScorer, score_model
from m2m.setups.protocol import Examples, Target, load_state


def live(setup: LinearSetup) -> nn.Module:
    return load_state(setup.build(), setup.base_state(Path()))


def test_a_target_is_scored_example_by_example() -> None:
    setup = linear_setup(seed=1)
    model = live(setup)
    for split in ("validation", "test"):
        x, y = getattr(setup.targets["target"], split).tensors
        scorer = TargetScorer(setup, "target", split)
        [scores] = score_model(model, [scorer])
        wanted = ((x @ setup.base_state(Path())["theta"] - y) ** 2 / 2).numpy()
        np.testing.assert_allclose(scores.values["loss"], wanted, rtol=1e-12)
        assert scores.count == 7  # not a whole number of batches
        assert scores.mean("loss") == float(np.mean(scores.values["loss"]))
        assert (scorer.task, scorer.split, scorer.version) == ("target", split, "linear-1")
        assert scorer.metrics == {"loss": False}


def test_any_part_of_the_examples_can_be_scored_in_any_order() -> None:
    setup = linear_setup(seed=1)
    model, scorer = live(setup), TargetScorer(setup, "target")
    whole = scorer(model).values["loss"]
    part = [5, 0, 6, 2, 3]  # more than a batch
    # Five products a row; which rows share a batch may change how they are summed, in float64.
    np.testing.assert_allclose(scorer.score(model, part).values["loss"], whole[part], rtol=1e-12)
    assert scorer.count == len(whole) == 7
    assert [len(batch.reference["0"]) for batch in scorer.batches(part)] == [4, 1]
    assert torch.equal(
        torch.cat([batch.inputs["x"] for batch in scorer.batches([6, 1])]),
        setup.targets["target"].validation.tensors[0][[6, 1]],
    )


class Watched(LinearSetup):
    def build(self) -> nn.Module:
        model = super().build()
        model.register_forward_pre_hook(check_mode)
        return model


def check_mode(model: nn.Module, inputs: object) -> None:
    assert torch.is_inference_mode_enabled()
    assert not any(module.training for module in model.modules())


def test_every_submodule_gets_its_own_mode_back() -> None:
    plain = linear_setup(seed=2)
    setup = Watched(plain.datasets, plain.targets)
    model = live(setup)
    model.add_module("frozen", nn.Dropout().eval())
    model.train()
    model.get_submodule("frozen").eval()
    score_model(model, [TargetScorer(setup, "target", "test")])
    assert model.training
    assert not model.get_submodule("frozen").training
    assert not torch.is_inference_mode_enabled()


def test_unknown_targets_splits_and_empty_ones_are_refused() -> None:
    setup = linear_setup(seed=3)
    with pytest.raises(ConfigError, match=r"no target 'x'; the set-up has \['target'\]"):
        TargetScorer(setup, "x", "test")
    with pytest.raises(ConfigError, match="on 'validation' or 'test', got 'train'"):
        TargetScorer(setup, "target", "train")
    nothing = Examples((torch.zeros(0, 5), torch.zeros(0)))
    setup.targets = {"target": Target(nothing, nothing)}
    with pytest.raises(ConfigError, match="target 'target' has no test examples"):
        TargetScorer(setup, "target", "test")


class Fixed:
    """A scorer that gives what it is told to."""

    task, split, version, metrics = "fixed", "test", "1", {"accuracy": True, "loss": False}

    def __init__(self, **values: list[float]) -> None:
        self.values = {metric: np.array(value) for metric, value in values.items()}

    def __call__(self, model: nn.Module) -> Scores:
        return Scores(self.values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"accuracy": [1.0]},
            r"task fixed \(test\): got the metrics \['accuracy'\], wanted \['accuracy', 'loss'\]",
        ),
        (
            {"accuracy": [1.0], "loss": [1.0, 2.0]},
            r"a value for each of 1 examples, got \{'accuracy': 1, 'loss': 2\}",
        ),
        ({"accuracy": [], "loss": []}, "a value for each of 0 examples, got"),
        ({"accuracy": [1.0], "loss": [[1.0]]}, r"loss must be one float an example, got \[1, 1\] float64"),
        ({"accuracy": [1.0], "loss": [1.0j]}, r"loss must be one float an example, got \[1\] complex128"),
        (
            {"accuracy": [1.0, 0.0], "loss": [0.0, 1e200]},
            r"example 1 is 1e\+200, wanted at most 1e\+150",
        ),
        ({"accuracy": [1.0, 0.0], "loss": [1.0, np.nan]}, "loss of example 1 is nan"),
        ({"accuracy": [1.0, 0.0], "loss": [np.inf, 1.0]}, "loss of example 0 is inf"),
    ],
)
def test_scores_that_are_none_are_refused(values: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_model(nn.Identity(), [Fixed(**values)])


TASK = """
import torch
METRICS = {"norm": False, "each": True}

def score(model):
    assert not model.training and torch.is_inference_mode_enabled()
    return {"norm": model.weight.norm().item(), "each": RESULT}
"""


def task(folder: Path, result: str, name: str = "task.py") -> FunctionScorer:
    (folder / name).write_text(TASK.replace("RESULT", result))
    return FunctionScorer(f"{name}:score", folder)


def test_a_users_function_scores_the_live_model(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    scorer = task(tmp_path, "3")
    [scores] = score_model(model, [scorer])
    assert scores.values["norm"].tolist() == [model.weight.norm().item()]
    assert scores.values["each"].tolist() == [3.0]
    assert (scorer.task, scorer.split, scorer.metrics) == (
        "task.py:score",
        "validation",
        {"norm": False, "each": True},
    )
    assert model.training
    other = task(tmp_path, "4", "other.py")
    assert other.version != scorer.version, "another content is another task"


@pytest.mark.parametrize(
    "result",
    [
        "[1.0, 2.0]",
        "torch.tensor([1, 2])",
        "torch.ones(2).cumsum(0).half()",
        "torch.ones(2).cumsum(0).bfloat16()",
    ],
)
def test_arrays_are_per_example_values(tmp_path: Path, result: str) -> None:
    assert task(tmp_path, result)(nn.Linear(1, 1)).values["each"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("'much'", "each must be numbers, got 'much'"),
        ("['0.5']", r"each must be numbers, got \['0.5'\]"),
        ("[None]", "each must be numbers"),
        ("[1.0, [2.0]]", "each must be numbers"),
        ("1j", "each must be numbers, got 1j"),
        ("torch.ones(2, dtype=torch.complex64)", "each must be numbers"),
        ("torch.ones(2).to_sparse()", "each must be numbers"),
        ("__import__('numpy').ma.masked_array([1.0], mask=[True])", "each must be numbers"),
        ("{'a': 1.0}", "each must be numbers"),
        ("[2**53 + 1]", r"each has whole numbers beyond 2\^53"),
        ("[[1.0]]", r"each must have one axis, got shape \[1, 1\]"),
    ],
)
def test_results_that_are_no_scores_are_refused(tmp_path: Path, result: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(tmp_path, result)(nn.Linear(1, 1))


def test_a_task_without_directions_or_with_other_metrics_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("def score(model):\n    return {'loss': 1.0}\n")
    with pytest.raises(ConfigError, match=r"bare.py:score: its file must say .* got None"):
        FunctionScorer("bare.py:score", tmp_path)
    (tmp_path / "wrong.py").write_text(
        "METRICS = {'acc': True}\ndef score(model):\n    return {'loss': 1.0}\n"
    )
    with pytest.raises(
        ConfigError, match=r"wrong.py:score must return the metrics \['acc'\], got \['loss'\]"
    ):
        FunctionScorer("wrong.py:score", tmp_path)(nn.Identity())


class Judged(LinearSetup):
    """A set-up that judges as it is told to."""

    judgement = staticmethod(lambda loss: {"loss": loss})

    def judge(self, output: torch.Tensor, batch: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = self.judgement(super().judge(output, batch)["loss"])
        return found


@pytest.mark.parametrize(
    ("judgement", "message"),
    [
        (
            lambda loss: {"loss": loss.mean()},
            "loss of batch 0 must be a tensor of one real number",
        ),
        (lambda loss: {"loss": loss.mean()[None]}, r"a value for each of 7 examples, got \{'loss': 2\}"),
        (lambda loss: {"loss": loss[:, None]}, r"got \[4, 1\] torch.float64"),
        (lambda loss: {"loss": loss * 1j}, "got .*complex128"),
        (lambda loss: {"loss": loss.tolist()}, r"got \["),
        (
            lambda loss: {"loss": loss} if len(loss) == 4 else {"loss": loss, "more": loss},
            r"batch 1 is judged by \['loss', 'more'\], the first one by \['loss'\]",
        ),
    ],
)
def test_a_judgement_is_one_number_an_example(judgement: Any, message: str) -> None:
    plain = linear_setup(seed=1)
    setup = Judged(plain.datasets, plain.targets)
    setup.judgement = judgement
    with pytest.raises(InputError, match=message):
        score_model(live(plain), [TargetScorer(setup, "target")])


LEAVING = """
import os, random, sys, tempfile
import numpy, torch
METRICS = {"loss": False}

def leave(model):
    sys.exit(0)

def fail(model):
    return {"loss": 1 / 0}

def cancel(model):
    raise GeneratorExit

def end(model):
    os._exit(0)

def copy(model):
    return {"loss": os.fork() and os.waitstatus_to_exitcode(os.wait()[1])}

def copy_well(model):
    if os.fork() == 0:
        os._exit(3)
    return {"loss": os.waitstatus_to_exitcode(os.wait()[1])}

def spoil(model):
    os.chdir(tempfile.gettempdir())
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_grad_enabled(not torch.is_grad_enabled())
    torch.use_deterministic_algorithms(True)
    return {"loss": 1.0}

def draw(model):
    return {"loss": [torch.rand(()).item(), numpy.random.rand(), random.random()]}

def change(model):
    model.weight.data[0, 0] += 1
    return {"loss": 1.0}

def replace(model):
    model.weight = torch.nn.Parameter(model.weight.clone())
    return {"loss": 1.0}
"""


def leaving(folder: Path, name: str) -> FunctionScorer:
    (folder / "leaving.py").write_text(LEAVING)
    return FunctionScorer(f"leaving.py:{name}", folder)


def test_what_a_users_function_raises_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"leaving.py:leave calls sys.exit\(0\).*leaving.py, line 7, in leave\)"
    ):
        leaving(tmp_path, "leave")(nn.Linear(1, 1))
    with pytest.raises(ConfigError, match=r"fails: ZeroDivisionError.*leaving.py, line 10, in fail\)"):
        leaving(tmp_path, "fail")(nn.Linear(1, 1))
    with pytest.raises(ConfigError, match=r"leaving.py:cancel fails: GeneratorExit"):
        leaving(tmp_path, "cancel")(nn.Linear(1, 1))
    with pytest.raises(ConfigError, match=r"leaving.py:end calls os._exit\(0\)"):
        leaving(tmp_path, "end")(nn.Linear(1, 1))


def test_a_copy_of_the_process_does_not_go_on_with_our_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ending = os._exit
    assert leaving(tmp_path, "copy")(nn.Linear(1, 1)).values["loss"].tolist() == [2]
    assert "leaving.py:copy forks, and the copy of m2m returned from it" in capfd.readouterr().err
    assert leaving(tmp_path, "copy_well")(nn.Linear(1, 1)).values["loss"].tolist() == [3]
    assert capfd.readouterr().err == ""
    assert os._exit is ending


def test_what_the_process_shares_is_given_back(tmp_path: Path) -> None:
    def shared() -> tuple[object, ...]:
        return (
            os.getcwd(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        )  # fmt: skip

    before = shared()
    leaving(tmp_path, "spoil")(nn.Linear(1, 1))
    assert shared() == before


def test_draws_are_the_same_for_every_model_and_nobody_elses(tmp_path: Path) -> None:
    scorer = leaving(tmp_path, "draw")
    states = torch.get_rng_state(), random.getstate()
    first, second = (scorer(nn.Identity()).values["loss"].tolist() for _ in range(2))
    assert first == second
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


@pytest.mark.parametrize("name", ["change", "replace"])
def test_a_task_that_changes_the_model_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"leaving.py:{name} changes the model"):
        leaving(tmp_path, name)(nn.Linear(3, 2).bfloat16())
