"""The task-vector family: trim each task vector, weight it, perhaps elect a sign, add the sum to the base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from m2m.errors import RecipeError
from m2m.merging.compiled import ExpertSpec, SelectSpec
from m2m.merging.methods.linear import WEIGHT
from m2m.merging.methods.parameters import Parameter, Settings, flag, number
from m2m.merging.methods.selection import Selecting
from m2m.merging.methods.spec import Inputs
from m2m.merging.methods.weighted import normaliser

if TYPE_CHECKING:
    from torch import Tensor, dtype

#: Which elements of a task vector are kept: the largest, a random share, the largest but for outliers, or at
#: random by rank.
Trim = Literal["magnitude", "random", "outliers", "rank"]

_DENSITY = number("density", "model", 1.0, low=0, high=1)
_GAMMA = number("gamma", "model", 0.01, low=0, high=1)
_EPSILON = number("epsilon", "model", 0.15, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class TaskVectorMethod(Selecting):
    """Contract, each step float64 and rounded, n ascending, starting from 0.0: c_n = w_n·scale_n.

    v_n = c_n·τ_n where kept, else 0; S = Σ v_n. Without election m = S and d = Σ w_n (correctly rounded).
    With election the sign e of S is elected, the experts with sign v_n = e agree, m = Σ v_n and d = Σ w_n
    over those; sign 0 = 0, so at S = 0 nothing is merged (`mergekit`: e = +1). With normalize m ← m / d
    where d ≠ 0. Then m ← m·λ and the output is θ₀ + m, rounded once.

    Attributes:
        trim: Which elements of a task vector are kept.
        elect: Whether experts against the elected sign are left out.
    """

    trim: Trim
    elect: bool

    @property
    def draws(self) -> bool:
        return self.trim in ("random", "rank")

    def row_length(self, shape: Sequence[int]) -> int | None:
        # DELLA ranks within rows: what shares the first index, or a vector as a whole.
        if self.trim != "rank":
            return None
        return max(math.prod(shape if len(shape) < 2 else shape[1:]), 1)  # 1 of a tensor without elements

    def check(self, settings: Settings) -> None:
        weights = settings.numbers("weight")
        if settings.flag("normalize") and not self.elect:
            normaliser(weights, settings)
        if settings.flag("normalize") and self.elect and min(weights) < 0 < max(weights):
            raise RecipeError(
                f"weights {weights} have both signs, so agreeing ones could cancel; set normalize: false"
            )
        if self.trim != "rank":
            return
        for density, epsilon in zip(settings.numbers("density"), settings.numbers("epsilon"), strict=True):
            low, high = keep_range(density, epsilon, settings.definition)
            if low < 0 or high > 1:
                raise RecipeError(
                    f"density {density:g} with epsilon {epsilon:g} gives keep probabilities "
                    f"[{low:g}, {high:g}], not within [0, 1]"
                )

    def select_spec(self, settings: Sequence[Settings], shape: Sequence[int]) -> SelectSpec:
        first = settings[0]
        total = math.prod(shape)
        return SelectSpec(
            combine="elect" if self.elect else "sum",
            tie_is_plus=first.definition == "mergekit",
            normalise=first.flag("normalize") and self.elect,
            factor=first.number("lambda"),
            row=self.row_length(shape) or 1,
            experts=[expert_spec(self.trim, first, n, total) for n in range(len(first.each))],
            outputs=[(one.numbers("weight"), self._divisor(one)) for one in settings],
        )

    def _divisor(self, settings: Settings) -> float:
        if self.elect or not settings.flag("normalize"):
            return 1.0
        return normaliser(settings.numbers("weight"), settings)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import add_to_base, ascending_sum, task_vectors

        assert inputs.base is not None
        weights = settings.numbers("weight")
        values = []
        for position, vector in enumerate(task_vectors(inputs.base, inputs.experts)):
            kept = trim_task_vector(vector, self.trim, settings, position)
            change = (weights[position] * kept.scale) * vector.double()
            values.append(torch.where(kept.mask, change, 0.0))
        change, divisor = _elected(values, weights, settings) if self.elect else (ascending_sum(values), None)
        if settings.flag("normalize"):
            change = change / (normaliser(weights, settings) if divisor is None else divisor)
        return add_to_base(inputs.base, change * settings.number("lambda"), out_dtype)


def keep_range(density: float, epsilon: float, definition: str) -> tuple[float, float]:
    """Keep probability of the smallest and of the largest element in DELLA's MAGPRUNE."""
    # `density` is their mean, `epsilon` their difference (paper) or half of it (mergekit).
    if density in (0, 1):
        return density, density
    half = epsilon / 2 if definition == "paper" else epsilon
    return density - half, density + half


def expert_spec(trim: Trim, settings: Settings, expert: int, total: int) -> ExpertSpec:
    """How one expert's task vector of so many elements is trimmed and scaled, in numbers."""
    from m2m.merging.methods.draws import keep_threshold, philox_key

    values = settings.each[expert]
    density, rescale = float(values["density"]), settings.flag("rescale")
    paper = settings.definition == "paper"
    if density in (0, 1):
        return ExpertSpec(trim="all" if density else "none")
    if trim in ("magnitude", "outliers"):
        dropped, kept = kept_ranks(trim, density, float(values.get("gamma", 0)), total)
        return ExpertSpec(trim="largest", dropped=dropped, kept=kept, keeps_norm=rescale)
    key, keeps_norm = philox_key(settings.seed, expert, settings.tensor), rescale and not paper
    if trim == "random":
        return ExpertSpec(
            trim="draw",
            scale=1 / density if rescale and paper else 1.0,
            keeps_norm=keeps_norm,
            key=key,
            keep_below=keep_threshold(density),
        )
    low, high = keep_range(density, float(values["epsilon"]), settings.definition)
    return ExpertSpec(
        trim="ranked",
        keeps_norm=keeps_norm,
        key=key,
        low=low,
        high=high,
        to_ends=not paper,
        single=density,
        inverse_scale=rescale and paper,
    )


def kept_ranks(trim: Trim, density: float, gamma: float, total: int) -> tuple[int, int]:
    """How many of the largest of `total` elements are dropped, and how many of the next are kept."""
    # For `outliers`, `gamma` is the share of the largest to drop; what is to be kept goes first.
    kept = int(density * total)
    if trim == "magnitude":
        return 0, min(max(1, kept), total)
    return min(int(gamma * total), total - kept), kept


class Kept(NamedTuple):
    """A trimmed task vector: mask [*S], and float64 factor on kept elements, one [] or one each [*S]."""

    mask: Tensor
    scale: Tensor


def trim_task_vector(vector: Tensor, trim: Trim, settings: Settings, expert: int) -> Kept:
    """Trim one expert's τ [*S] in the task vector type; masks are exact: selection on bits, integer draws."""
    import torch

    density = float(settings.each[expert]["density"])
    one = torch.ones((), dtype=torch.float64)
    if density == 1:
        return Kept(torch.ones_like(vector, dtype=torch.bool), one)
    mask, probability = _mask(vector, trim, density, settings, expert)
    if not settings.flag("rescale"):
        return Kept(mask, one)
    if probability is not None and settings.definition == "paper":
        return Kept(mask, torch.where(probability > 0, 1 / probability, one))
    return Kept(mask, one * _norm_ratio(vector, mask))


def _mask(
    vector: Tensor, trim: Trim, density: float, settings: Settings, expert: int
) -> tuple[Tensor, Tensor | None]:
    # The mask and, for random rules, the keep probability (float64, [] or [*S]).
    import torch

    from m2m.merging.methods.exact import largest, magnitude_bits, share_count

    total = vector.numel()
    bits = magnitude_bits(vector)
    if trim == "magnitude":
        return largest(bits, max(1, share_count(density, total)) if density > 0 and total else 0), None
    if trim == "outliers":
        kept = share_count(density, total)
        # The target number kept wins over the share of outliers to drop.
        dropped = min(share_count(float(settings.each[expert]["gamma"]), total), total - kept)
        return largest(bits, dropped + kept) & ~largest(bits, dropped), None
    probability = torch.tensor(density, dtype=torch.float64)
    if trim == "rank":
        probability = rank_probabilities(
            bits, density, float(settings.each[expert]["epsilon"]), settings.definition
        )
    return _draw(vector, probability, settings, expert), probability


def rank_probabilities(bits: Tensor, density: float, epsilon: float, definition: str) -> Tensor:
    """Keep probabilities q, float64, by rank of magnitude bits in each row. [*S]."""
    # MAGPRUNE of DELLA, arXiv 2406.11617, section 3.1. A row is one output unit: what shares the first index;
    # a vector is one row. With rank r = 0 for the largest of C and bounds low, high from `keep_range`: the
    # paper's q = high − (high − low)·r/C; mergekit's q = low + (high − low)·(C−1−r)/(C−1), the density for C
    # = 1. In float64: the product first, then the quotient, then the sum.
    import torch

    from m2m.merging.methods.exact import ranks

    low, high = keep_range(density, epsilon, definition)
    rows = bits.flatten(1) if bits.dim() > 1 else bits.reshape(1, -1)
    rank, columns = ranks(rows).double(), rows.shape[1]
    if definition == "paper":
        probability = high - (high - low) * rank / columns
    elif columns > 1:
        probability = low + (high - low) * (columns - 1 - rank) / (columns - 1)
    else:
        probability = torch.full_like(rank, density)
    return probability.reshape(bits.shape)


def _draw(vector: Tensor, probability: Tensor, settings: Settings, expert: int) -> Tensor:
    import numpy as np
    import torch

    from m2m.merging.methods.draws import draw_words, keep_threshold, philox_key

    words = draw_words(philox_key(settings.seed, expert, settings.tensor), 0, vector.numel())
    drawn = torch.from_numpy(words.astype(np.int64)).reshape(vector.shape)
    if probability.dim() == 0:
        return drawn < keep_threshold(probability.item())
    # ldexp and floor are exact, so this is `keep_threshold` element by element.
    return drawn < torch.floor(probability * 2.0**32).long()


def _norm_ratio(vector: Tensor, mask: Tensor) -> float:
    from m2m.merging.methods.exact import ordered_sum

    size = vector.double().abs()
    kept = ordered_sum(size * mask)
    return ordered_sum(size) / kept if kept > 0 else 1.0


def elected_sign(total: Tensor, definition: str) -> Tensor:
    """Elect a sign an element (TIES-Merging, arXiv 2306.01708, section 3, step 2): −1, 0 or +1. [*S]."""
    # `total` is the sum of the experts' values, float64. `paper` gives 0 at an exact tie, `mergekit` +1.
    import torch

    return torch.where(total >= 0, 1.0, -1.0).double() if definition == "mergekit" else torch.sign(total)


def _elected(values: list[Tensor], weights: list[float], settings: Settings) -> tuple[Tensor, Tensor]:
    import torch

    from m2m.merging.methods.exact import ascending_sum

    sign = elected_sign(ascending_sum(values), settings.definition)
    agree = [torch.sign(value) == sign for value in values]
    change = ascending_sum([torch.where(a, value, 0.0) for a, value in zip(agree, values, strict=True)])
    divisor = ascending_sum([a.double() * weight for a, weight in zip(agree, weights, strict=True)])
    return change, torch.where(divisor == 0, 1.0, divisor)


def _family(
    name: str,
    trim: Trim,
    *,
    elect: bool,
    normalize: bool,
    rescale: bool,
    source: str,
    differences: str = "",
    extra: tuple[Parameter, ...] = (),
) -> TaskVectorMethod:
    return TaskVectorMethod(
        name=name,
        base="required",
        parameters=(
            WEIGHT,
            _DENSITY,
            *extra,
            flag("normalize", normalize),
            flag("rescale", rescale),
            number("lambda", "shared", 1.0),
            flag("int8_mask", False, effect=False),
        ),
        space="task vectors",
        source=source,
        differences=differences,
        trim=trim,
        elect=elect,
    )


_TIES = "Yadav et al., TIES-Merging, 2023, arXiv 2306.01708"
_DARE = "Yu et al., Language models are super Mario, 2024, arXiv 2311.03099"
_DELLA = "Deep, Bhardwaj, Poria, DELLA-Merging, 2024, arXiv 2406.11617"
_BREADCRUMBS = "Davari, Belilovsky, Model breadcrumbs, 2023, arXiv 2312.06795"
_ELECT = "an exact tie of signs merges nothing, `definition: mergekit` elects +"
_SCALE = "kept elements are scaled by 1/density; `definition: mergekit` matches the L1 norm of the draw"
_RANKS = (
    "keep probabilities span density ± epsilon/2 and each kept element is scaled by 1/probability; "
    "`definition: mergekit` spans ± epsilon and matches the L1 norm"
)
_DRAWS = "draws come from the recipe's seed, not from torch's global generator"

METHODS = (
    _family("ties", "magnitude", elect=True, normalize=True, rescale=False, source=_TIES, differences=_ELECT),
    _family(
        "dare_linear",
        "random",
        elect=False,
        normalize=False,
        rescale=True,
        source=_DARE,
        differences=f"{_SCALE}; {_DRAWS}",
    ),
    _family(
        "dare_ties",
        "random",
        elect=True,
        normalize=False,
        rescale=True,
        source=f"{_DARE}; {_TIES}",
        differences=f"{_SCALE}; {_ELECT}; {_DRAWS}",
    ),
    _family(
        "breadcrumbs",
        "outliers",
        elect=False,
        normalize=False,
        rescale=False,
        source=_BREADCRUMBS,
        extra=(_GAMMA,),
    ),
    _family(
        "breadcrumbs_ties",
        "outliers",
        elect=True,
        normalize=False,
        rescale=False,
        source=f"{_BREADCRUMBS}; {_TIES}",
        differences=_ELECT,
        extra=(_GAMMA,),
    ),
    _family(
        "della",
        "rank",
        elect=True,
        normalize=True,
        rescale=True,
        source=_DELLA,
        differences=f"{_RANKS}; {_ELECT}; {_DRAWS}",
        extra=(_EPSILON,),
    ),
    _family(
        "della_linear",
        "rank",
        elect=False,
        normalize=False,
        rescale=True,
        source=_DELLA,
        differences=f"{_RANKS}; {_DRAWS}",
        extra=(_EPSILON,),
    ),
)
