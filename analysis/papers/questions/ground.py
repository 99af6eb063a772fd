"""What the questions are asked of: one run whose every mixture is trained, and models scored beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from analysis.papers.experiment import Place, Size
from analysis.papers.subsets import SubsetTruth
from analysis.papers.sums import scored_sums
from analysis.validate.grid import Grid, read_grid
from analysis.validate.workshop import Workshop
from m2m.data import cache_dir
from m2m.mixture import Mixture
from m2m.scoring import Targets, load_targets, model_state, score_model
from m2m.scoring.bench import setup_bench
from m2m.setups.protocol import Setup, load_state
from m2m.support.arrays import Floats
from m2m.support.devices import one_thread


@dataclass(frozen=True)
class Ground:
    """A finished run, and what it takes to train and score further models as its own were.

    Attributes:
        shop: The run, and its worker processes.
        known: Its set-up and targets.
    """

    shop: Workshop
    known: Targets

    @classmethod
    def of(cls, truth: SubsetTruth, place: Place, size: Size) -> Ground:
        """Run an experiment of all subsets, or go on with it, and open it.

        Args:
            truth: The experiment.
            place: Where the question works: what it trains lies there.
            size: How large.

        Returns:
            The run.
        """
        config, folder = truth.run(place, size)
        results, root = folder.read_results(), Path(folder.read_identity()["root"])
        known = load_targets(config.setup, root, cache_dir())
        models = place.work / folder.root.name  # of a question alone
        grid = read_grid(folder, results)
        shop = Workshop(folder, config, root, grid, results, models, place.executor, place.progress)
        return cls(shop, known)

    @property
    def grid(self) -> Grid:
        """The run's own scores."""
        return self.shop.grid

    @property
    def setup(self) -> Setup:
        """Its model and data."""
        return self.known.setup

    @property
    def beside(self) -> Path:
        """Folder for models that several questions share."""
        return self.shop.models.parents[1] / "questions" / self.shop.models.name

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """θ₀, tensor by name."""
        return model_state(self.shop.folder.base, self.shop.folder.base)

    @cached_property
    def _module(self) -> nn.Module:
        return self.setup.build()

    def truth(self, mixtures: Sequence[int] | None = None) -> Floats:
        """Return trained scores, a layer a training seed, of some mixtures by number. [S, T, M]."""
        grid = self.grid
        layers = np.stack([grid.trained, *([] if grid.again is None else [grid.again])])
        return layers if mixtures is None else layers[:, :, list(mixtures)]

    def state(self, mixture: Mixture, *, seed: int | None = None) -> dict[str, Tensor]:
        """Read a model that the run trained, whole, of its first seed if none is given."""
        chosen = self.shop.config.run.seed if seed is None else seed
        return model_state(self.shop.folder.base, self.shop.folder.model(mixture, chosen))

    def read(self, folder: Path) -> dict[str, Tensor]:
        """Read a model that was written beside the run, whole."""
        return model_state(self.shop.folder.base, folder)

    def merged(self, mixture: Mixture, scale: float = 1.0) -> dict[str, Tensor]:
        """Return θ₀ + s Σ λ_k (θ_k − θ₀), summed in float64, in the types of the base model."""
        experts = [self.state(single) for single in self.shop.singles]

        def moved(name: str, start: Tensor) -> Tensor:
            if not start.is_floating_point():
                return start
            steps = (expert[name].double() - start.double() for expert in experts)
            way = sum((share * step for share, step in zip(mixture.weights, steps, strict=True)), start=0.0)
            return (start.double() + scale * way).to(start.dtype)

        return {name: moved(name, tensor) for name, tensor in self.base.items()}

    def score(self, state: Mapping[str, Tensor], split: str = "validation") -> Floats:
        """Score a model on every target, higher is better. [T]."""
        bench = setup_bench(self.known, self.grid.targets, split)
        with one_thread():
            scores = score_model(load_state(self._module, state), bench.scorers)
        return np.array(self.shop.values(scores, self.shop.tasks))

    def sums(self, weights: ArrayLike, models: Mapping[str, Path], what: str) -> Floats:
        """Score weighted sums of checkpoints on every target, higher is better.

        Args:
            weights: A row a sum, of any sign. [J, K]
            models: Checkpoint folder of each model by name. [K]
            what: What to tell.

        Returns:
            Means of the metrics that decide. [T, J]
        """
        shop, targets = self.shop, self.grid.targets
        rows = np.asarray(weights, dtype=np.float64)
        out = np.empty((len(targets), len(rows)))
        for number, scores in scored_sums(
            rows, models, shop.folder.base, self.known, targets, what, shop.progress
        ):
            out[:, number] = shop.values(scores, shop.tasks)
        return out

    def folders(self, mixtures: Sequence[Mixture]) -> dict[str, Path]:
        """Return the first seed's checkpoint folders by label, and the base model's as `base`."""
        seed = self.shop.config.run.seed
        own = {mixture.label: self.shop.folder.model(mixture, seed) for mixture in mixtures}
        return own | {"base": self.shop.folder.base}


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the Euclidean distance of two models, over all floating-point tensors."""
    parts = [
        torch.sum((tensor.double() - other[name].double()) ** 2)
        for name, tensor in one.items()
        if tensor.is_floating_point()
    ]
    return float(torch.sqrt(torch.stack(parts).sum()))
