from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from m2m.checkpoint import save
from m2m.errors import DataError
from m2m.scoring.tasks import ClassificationScorer


class Net(nn.Module):
    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        return x + shift


def write(folder: Path, **tensors: Tensor) -> Path:
    save(tensors, folder / "data")
    return (folder / "data" / "model.safetensors").rename(folder / "examples.safetensors")


X, SHIFT = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(5, 3)
LABEL = X.argmax(1)


def test_tensors_are_classified(tmp_path: Path) -> None:
    wrong = LABEL.clone()
    wrong[1] = (wrong[1] + 1) % 3
    scorer = ClassificationScorer.read(write(tmp_path, x=X, shift=SHIFT, label=wrong), None, limit=None)
    scores = scorer(Net())
    assert scores.values["accuracy"].tolist() == [1, 0, 1, 1, 1]
    wanted = -X.double().log_softmax(1)[torch.arange(5), wrong]
    torch.testing.assert_close(torch.from_numpy(scores.values["loss"]), wanted, rtol=1e-5, atol=1e-6)
    assert scorer.score(Net(), [1, 4]).values["accuracy"].tolist() == [0, 1]
    assert (scorer.task, scorer.count) == ("classify:examples.safetensors", 5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": X, "shift": SHIFT}, "wanted class numbers from 0 in a tensor `label`"),
        ({"x": X, "shift": SHIFT, "label": LABEL.float()}, "wanted class numbers from 0"),
        ({"x": X, "shift": SHIFT, "label": LABEL - 1}, "wanted class numbers from 0"),
        ({"x": X[:4], "label": LABEL}, r"as many examples, got \{.*'x': 4"),
        ({"label": LABEL}, r"wanted inputs and labels"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ClassificationScorer.read(write(tmp_path, **tensors), None, limit=None)


def test_a_label_the_model_does_not_know_is_named() -> None:
    scorer = ClassificationScorer("t", {"x": X, "shift": SHIFT}, LABEL + 3)
    with pytest.raises(DataError, match=r"label [345], but the model knows 3 classes"):
        scorer(Net())
