"""The Scheffé-corrected proxy: one short 50/50 run a pair of datasets gives the residual of every mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from analysis.interaction.second_order import pair_sum
from m2m.errors import InputError


@dataclass(frozen=True)
class ScheffeCorrection:
    """Δ(λ) as the quadratic Σ_{k<j} λ_k λ_j u_kj that is exact at all pair midpoints.

    H. Scheffé's {N, 2} lattice (J. R. Stat. Soc. B 20, 1958), in weight space.

    Attributes:
        pairs: u_kj for k < j, in the order of `itertools.combinations`. [N(N−1)/2, P]
    """

    pairs: Tensor

    def residual(self, weights: Sequence[float]) -> Tensor:
        """Say what to add to the merged model.

        Args:
            weights: The mixture λ. [N]

        Returns:
            Σ_{k<j} λ_k λ_j u_kj. [P]
        """
        return pair_sum(self.pairs, torch.tensor(weights, dtype=self.pairs.dtype))


def scheffe_correction(midpoints: Mapping[tuple[int, int], Tensor], count: int) -> ScheffeCorrection:
    """Fit the correction to the residuals of all pairs at (½, ½): u_kj = 4 Δ(½, ½).

    Args:
        midpoints: Measured residual θ*(½, ½) − ½(θ_k + θ_j) of each pair k < j. each [P]
        count: Number of datasets N.

    Returns:
        The correction.

    Raises:
        InputError: If a pair is missing.
    """
    wanted = list(combinations(range(count), 2))
    missing = [pair for pair in wanted if pair not in midpoints]
    if missing or not wanted:
        raise InputError(
            f"the correction needs the residual of every pair of datasets; missing {missing[:5]}"
        )
    return ScheffeCorrection(torch.stack([4 * midpoints[pair] for pair in wanted]))
