"""The vision set-up: EfficientNet-Lite0's trunk is trained and merged, under frozen heads.

A batch is (images uint8 [B, 3, R, R], class numbers int64 [B], label spaces int64 [B]). The classes of all
label spaces stand side by side, and an example's space says which of them are allowed, so digits and icons
may share a batch. The heads, one linear classifier a label space, are fitted once on features of the base
trunk. They play the part of CLIP's zero-shot heads in the merging literature (Ilharco et al., arXiv
2212.04089): experts of different label spaces share every trained parameter, so that averaging them means
something.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor, nn

from m2m.errors import FitError
from m2m.setups.efficientnet import EfficientNetTrunk
from m2m.setups.kept_tensors import keep_tensors, kept_tensors
from m2m.setups.protocol import Batch, Examples, Target
from m2m.setups.vision_images import SPACES, LabelledImages
from m2m.support.arrays import Floats
from m2m.support.progress import Progress

#: λ of the penalty ½λ‖W‖² on standardised features, for a mean loss in nat.
PENALTY = 1e-2
#: Largest component of the gradient that counts as zero.
TOLERANCE = 1e-6
#: Iterations allowed at a time; the problem is convex and needs fewer.
ITERATIONS = 1000
#: Times that the iterations may begin anew where the last ones ended, before the head is given up.
ROUNDS = 3


def fit_head(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Fit logistic regression to features [E, D]: weight [K, D], bias [K], float32. Deterministic."""
    raw = features.double().numpy()
    mean, scale = raw.mean(0), raw.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    weight, bias = _minimum((raw - mean) / scale, np.eye(classes)[labels.numpy()])
    weight = weight / scale
    return torch.from_numpy(weight).float(), torch.from_numpy(bias - weight @ mean).float()


def _minimum(features: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Find weight [K, D] and bias [K] from features [E, D] and the truth, one-hot [E, K], or `FitError`."""
    (count, size), classes = features.shape, truth.shape[1]

    def loss_and_gradient(point: Floats) -> tuple[float, Floats]:
        weight, bias = point[classes:].reshape(classes, size), point[:classes]
        log_share = log_softmax(features @ weight.T + bias, axis=1)
        excess = (np.exp(log_share) - truth) / count
        slope = excess.T @ features + PENALTY * weight
        loss = -(truth * log_share).sum() / count + PENALTY / 2 * np.square(weight).sum()
        return float(loss), np.concatenate([excess.sum(0), slope.ravel()])

    options = {"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 0.0}
    point = np.zeros(classes * (size + 1))
    for _ in range(ROUNDS):
        found = minimize(loss_and_gradient, point, jac=True, method="L-BFGS-B", options=options)
        point, steepest = found.x, float(np.abs(found.jac).max())
        if steepest <= TOLERANCE:
            return point[classes:].reshape(classes, size), point[:classes]
    raise FitError(
        f"the head of {classes} classes cannot be fitted to the features of {count} images: its gradient is "
        f"still {steepest:.2g}, wanted at most {TOLERANCE:g}; what every expert shares must not depend on "
        f"where an optimiser stopped"
    )


#: Class number of each label space's first class, and after them the number of all classes.
OFFSETS = dict(zip([*SPACES, "end"], accumulate((len(c) for c in SPACES.values()), initial=0), strict=True))
METRICS: Mapping[str, bool] = {"accuracy": True, "loss": False}
BATCH_SIZE = 128


class VisionModel(nn.Module):
    """A trunk that is trained, and heads that are not: they are no part of its state.

    Args:
        blocks: Blocks of the trunk.
        head: Weight [K, D] and bias [K] over the classes of all label spaces.
    """

    head_weight: Tensor
    head_bias: Tensor

    def __init__(self, blocks: int, head: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.trunk = EfficientNetTrunk(blocks)
        self.register_buffer("head_weight", head[0], persistent=False)
        self.register_buffer("head_bias", head[1], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images, uint8 [B, 3, R, R]: logits [B, K] over the classes of all label spaces."""
        return F.linear(self.trunk(images), self.head_weight, self.head_bias)


class VisionSetup:
    """A trunk, its datasets and its targets, behind `m2m.setups.protocol.Setup`.

    Args:
        datasets: Training examples by dataset name.
        targets: Targets by name.
        blocks: Blocks of the trunk.
        read_base: Makes the state of the base trunk; called when it is first needed.
        base_key: Content hash of what `read_base` reads.
        cache: Folder where fitted heads are kept.
    """

    def __init__(
        self,
        datasets: Mapping[str, Examples],
        targets: Mapping[str, Target],
        blocks: int,
        read_base: Callable[[], Mapping[str, Tensor]],
        base_key: str,
        cache: Path,
    ) -> None:
        self.datasets = datasets
        self.targets = targets
        self.metrics = METRICS
        self.batch_size = BATCH_SIZE
        self.version = _content_hash(datasets, targets, f"{blocks} {base_key} {PENALTY}")
        self._blocks = blocks
        self._read_base = read_base
        self._cache = cache
        self._allowed = torch.zeros(len(SPACES), OFFSETS["end"], dtype=torch.bool)
        for number, (space, classes) in enumerate(SPACES.items()):
            self._allowed[number, OFFSETS[space] : OFFSETS[space] + len(classes)] = True

    def build(self) -> nn.Module:
        """Make a `VisionModel` with fitted heads; its trunk is still to be loaded."""
        return VisionModel(self._blocks, self._head)

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Read the pretrained trunk, float32."""
        return {f"trunk.{name}": tensor for name, tensor in self._read_base().items()}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of each example among the classes of its label space, in nat: [B]."""
        return F.cross_entropy(self._possible(model(**self.inputs(batch)), batch), batch[1], reduction="none")

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Give the model the images."""
        return {"images": batch[0]}

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Judge logits [B, K] among the classes of each example's label space: accuracy, loss in nat, [B]."""
        logits = self._possible(output, batch)
        correct = (logits.argmax(dim=1) == batch[1]).to(logits.dtype)
        return {"accuracy": correct, "loss": F.cross_entropy(logits, batch[1], reduction="none")}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Describe each example by the trunk's pooled features: [B, D]."""
        features: Tensor = model.get_submodule("trunk")(batch[0])
        return features

    def _possible(self, logits: Tensor, batch: Batch) -> Tensor:
        # [B, K]; the classes of other label spaces are impossible.
        return logits.masked_fill(~self._allowed.to(logits.device)[batch[2]], -torch.inf)

    @cached_property
    def _head(self) -> tuple[Tensor, Tensor]:
        """Fit all heads, or load them: kept in a file so that every process has the same bits."""
        path = self._cache / "vision" / f"head-{self.version}.pt"
        if path.is_file():
            head = kept_tensors(path)
        else:
            head = self._fit_heads()
            keep_tensors(head, path)
        return head["weight"], head["bias"]

    @torch.no_grad()
    def _fit_heads(self) -> dict[str, Tensor]:
        trunk = EfficientNetTrunk(self._blocks)
        trunk.load_state_dict(dict(self._read_base()))
        weight, bias = torch.zeros(OFFSETS["end"], trunk.features), torch.zeros(OFFSETS["end"])
        for number, (space, classes) in enumerate(SPACES.items()):
            examples = [e for e in self.datasets.values() if int(e.tensors[2][0]) == number]
            if not examples:
                continue
            images, labels, _ = joined(examples).tensors
            features = torch.cat([trunk(chunk) for chunk in torch.split(images, BATCH_SIZE)])
            rows = slice(OFFSETS[space], OFFSETS[space] + len(classes))
            weight[rows], bias[rows] = fit_head(features, labels - OFFSETS[space], len(classes))
        return {"weight": weight, "bias": bias}


def as_examples(pool: LabelledImages, space: str) -> Examples:
    """Number labels among the classes of all spaces; fields (images, class numbers, label spaces)."""
    spaces = torch.full((len(pool),), list(SPACES).index(space))
    return Examples((pool.images, pool.labels + OFFSETS[space], spaces))


def joined(several: Sequence[Examples]) -> Examples:
    """Put examples of the same fields together, in order."""
    return Examples(tuple(torch.cat(same) for same in zip(*(each.tensors for each in several), strict=True)))


def _content_hash(datasets: Mapping[str, Examples], targets: Mapping[str, Target], model: str) -> str:
    digest = hashlib.sha256(f"vision {model} {METRICS}".encode())
    named = [*datasets.items()]
    for name, target in targets.items():
        named += [(f"{name} validation", target.validation), (f"{name} test", target.test)]
    for name, examples in named:
        digest.update(f"\n{name} {[tuple(field.shape) for field in examples.tensors]}\n".encode())
        for field in examples.tensors:
            digest.update(field.numpy().tobytes())
    return digest.hexdigest()[:32]
