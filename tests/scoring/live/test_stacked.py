"""Many candidates in one batched program: the scores of one by one, or a stated reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from m2m import ops
from m2m.errors import InputError, MixtureError
from m2m.scoring import LiveModel, Scores, score_resident
from m2m.scoring.live.stacked import score_stacked
from m2m.scoring.tasks.scorer import BatchedScorer, TaskBatch

State = dict[str, Tensor]
WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(3), size=7)


class Net(nn.Module):
    """A tied pair, a channels-last weight, normalisation with buffers; float64."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(4)
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4)
        self.outer.weight = self.inner.weight
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.norm(self.conv(x)).mean(dim=(2, 3))
        return self.outer(torch.relu(self.inner(pooled)))


class Branching(Net):
    """Its way depends on its data."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


class Paired(Net):
    """Returns a tuple."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class LateBranching(Net):
    """Its way depends on its data where the batch is a short one."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if len(x) == 4 or y.sum() > 0 else -y


class Pictures(BatchedScorer):
    """Ten pictures, four a batch."""

    def __init__(self, task: str = "pictures", broken: bool = False) -> None:
        self.task, self.split, self.version, self.count = task, "validation", "1", 10
        self.metrics = {"loss": False, "accuracy": True}
        generator = torch.Generator().manual_seed(5)
        self._x = torch.randn(10, 1, 6, 6, dtype=torch.float64, generator=generator)
        self._y = torch.randint(4, (10,), generator=generator)
        self._broken = broken

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        chosen = torch.arange(10) if examples is None else torch.as_tensor(examples)
        for at in chosen.split(4):
            yield TaskBatch({"x": self._x[at]}, {"y": self._y[at]})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        logits = output if isinstance(output, Tensor) else output[0]
        y = batch.reference["y"]
        loss = nn.functional.cross_entropy(logits, y, reduction="none")
        return {"loss": loss / 0 if self._broken else loss, "accuracy": (logits.argmax(-1) == y).double()}


def state(seed: int, kind: type[Net] = Net) -> State:
    torch.manual_seed(seed)
    return {name: value.clone() for name, value in kind().state_dict().items()}


BASE, EXPERTS = state(0), [state(seed) for seed in (1, 2, 3)]


def test_stacked_weights_are_bitwise_the_weighted_sum() -> None:
    model = Net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stacked = LiveModel(model, BASE, EXPERTS).merge_stacked(WEIGHTS)
    assert stacked.keys() == BASE.keys()
    for name, got in stacked.items():
        if got.is_floating_point():
            assert torch.equal(got, ops.weighted_sum([e[name] for e in EXPERTS], WEIGHTS)), name
        else:
            assert torch.equal(got, BASE[name].expand(7, *BASE[name].shape)), name
    assert stacked["inner.weight"] is stacked["outer.weight"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("chunk", [1, 2, 7, 50, None])
def test_scores_are_those_of_one_by_one(chunk: int | None) -> None:
    scorers = [Pictures(), Pictures("again")]
    model = Net()
    modes = [module.training for module in model.modules()]
    walk = score_stacked(model, BASE, EXPERTS, WEIGHTS, scorers, chunk=chunk)
    got = list(walk)
    wanted = score_resident(Net(), BASE, EXPERTS, WEIGHTS, scorers)
    assert [m for m, _ in got] == list(range(7))
    for (_, ours), theirs in zip(got, wanted, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            # sums of at most 36 terms a layer, three layers, in another order: far below 1e-12
            assert np.allclose(one.values["loss"], other.values["loss"], rtol=1e-12, atol=0)
            assert one.values["accuracy"].tolist() == other.values["accuracy"].tolist()
    assert [module.training for module in model.modules()] == modes
    assert walk.chunk == min(chunk or 7, 7)
    assert (f"asked for {chunk} at once" if chunk else "the model has 97 numbers") in walk.why


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Branching, "data-dependent control flow"), (Paired, "returns tuple, which has no logits")],
)
@pytest.mark.parametrize("chunk", [None, 4])
def test_a_model_without_batched_program_goes_one_by_one(
    kind: type[Net], reason: str, chunk: int | None
) -> None:
    walk = score_stacked(kind(), BASE, EXPERTS, WEIGHTS, [Pictures()], chunk=chunk)
    got = [scores[0].values["loss"].tolist() for _, scores in walk]
    assert walk.chunk == 1
    assert walk.why.startswith("the model has no batched program: ")
    assert reason in walk.why
    assert got == [
        row[0].values["loss"].tolist() for row in score_resident(kind(), BASE, EXPERTS, WEIGHTS, [Pictures()])
    ]


class Attending(Net):
    """Attends by an operation that has no batched form."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)[:, None, None]
        return nn.functional.scaled_dot_product_attention(y, y, y)[:, 0, 0]


def test_a_model_that_would_run_in_a_loop_goes_one_by_one_unless_asked() -> None:
    wanted = [
        row[0].values["loss"] for row in score_resident(Attending(), BASE, EXPERTS, WEIGHTS, [Pictures()])
    ]
    for chunk, taken in ((None, 1), (4, 4)):
        walk = score_stacked(Attending(), BASE, EXPERTS, WEIGHTS, [Pictures()], chunk=chunk)
        assert walk.chunk == taken
        assert ("run in a loop" in walk.why) == (chunk is None)
        assert "\n" not in walk.why
        assert len(walk.why) < 120  # torch's own warning is a paragraph
        got = [scores[0].values["loss"] for _, scores in walk]
        assert np.allclose(got, wanted, rtol=1e-12, atol=0)


def test_large_models_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2m.scoring.live.stacked.LARGEST", 96)
    walk = score_stacked(Net(), BASE, EXPERTS, WEIGHTS, [Pictures()])
    assert (walk.chunk, walk.why) == (1, "the model has 97 numbers, stacks pay up to 96")


def test_a_later_batch_may_have_no_batched_program() -> None:
    walk = score_stacked(LateBranching(), BASE, EXPERTS, WEIGHTS, [Pictures()], chunk=3)
    got = [(m, scores[0].values["loss"].tolist()) for m, scores in walk]
    wanted = score_resident(LateBranching(), BASE, EXPERTS, WEIGHTS, [Pictures()])
    assert got == [(m, row[0].values["loss"].tolist()) for m, row in enumerate(wanted)]
    assert walk.chunk == 1


def test_a_task_without_batches_goes_one_by_one() -> None:
    class Whole:
        task, split, version, metrics = "whole", "validation", "1", {"loss": False}

        def __call__(self, model: nn.Module) -> Scores:
            return Scores({"loss": np.zeros(2)})

    walk = score_stacked(Net(), BASE, EXPERTS, WEIGHTS, [Pictures(), Whole()])
    assert (walk.chunk, walk.why) == (1, "task whole does not come in batches")
    assert len(list(walk)) == 7


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="a chunk of at least one candidate, got 0"):
        score_stacked(Net(), BASE, EXPERTS, WEIGHTS, [Pictures()], chunk=0)
    with pytest.raises(MixtureError, match=r"weights must be \[M, 3\]"):
        score_stacked(Net(), BASE, EXPERTS, WEIGHTS[:, :2], [Pictures()])
    with pytest.raises(InputError, match=r"task pictures \(validation\): loss of example 0 is inf"):
        list(score_stacked(Net(), BASE, EXPERTS, WEIGHTS, [Pictures(broken=True)], chunk=3))
