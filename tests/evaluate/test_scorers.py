from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import LinearSetup, linear_setup
from torch import nn

from m2m.errors import ConfigError, InputError
from m2m.evaluate import FunctionScorer, Scores, TargetScorer, score_model
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
            r"a value for each example, got \{'accuracy': 1, 'loss': 2\}",
        ),
        ({"accuracy": [], "loss": []}, "a value for each example, got"),
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


@pytest.mark.parametrize("result", ["[1.0, 2.0]", "torch.tensor([1, 2])", "torch.ones(2).cumsum(0).half()"])
def test_arrays_are_per_example_values(tmp_path: Path, result: str) -> None:
    assert task(tmp_path, result)(nn.Linear(1, 1)).values["each"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("'much'", "each must be numbers, got 'much'"),
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
