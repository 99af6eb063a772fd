"""sce: select the elements that vary most, weight experts by their energy there, erase minority signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.merging.compiled import ExpertSpec, SelectSpec
from m2m.merging.methods.parameters import Settings, flag, number
from m2m.merging.methods.selection import Selecting
from m2m.merging.methods.spec import Inputs

if TYPE_CHECKING:
    from torch import Tensor, dtype


@dataclass(frozen=True, kw_only=True)
class SelectCalculateErase(Selecting):
    """Contract, float64, n ascending: mean = (Σ τ_n)/N, variance = (Σ (τ_n − mean)²)/N.

    The k = floor(select_topk·#{variance ≠ 0}) elements of largest variance are selected (bits of the float64
    variance, ties by index); select_topk = 1 selects all. Energies E_n = ordered sum of τ_n² over the
    selection, η_n = E_n / ΣE (ΣE added in ascending n; 1/N if zero). Sign e of Σ τ_n is elected as in the
    task-vector family; the change is Σ η_n τ_n / Σ η_n over the selected experts that agree, 0 where the
    divisor is 0.
    """

    def select_spec(self, settings: Sequence[Settings], shape: Sequence[int]) -> SelectSpec:
        del shape
        first = settings[0]
        experts = [ExpertSpec(trim="all") for _ in first.each]
        return SelectSpec(
            combine="energy",
            tie_is_plus=first.definition == "mergekit",
            share=first.number("select_topk"),
            experts=experts,
            outputs=[([1.0] * len(experts), 1.0) for _ in settings],
        )

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import add_to_base, ascending_sum, ordered_sum, task_vectors
        from m2m.merging.methods.task_vectors import elected_sign

        assert inputs.base is not None
        vectors = [vector.double() for vector in task_vectors(inputs.base, inputs.experts)]
        selected = _select(vectors, settings.number("select_topk"))
        vectors = [torch.where(selected, vector, 0.0) for vector in vectors]
        energies = [ordered_sum(vector * vector) for vector in vectors]
        total = sum(energies)
        shares = [energy / total if total > 0 else 1 / len(energies) for energy in energies]
        sign = elected_sign(ascending_sum(vectors), settings.definition)
        change, divisor = torch.zeros_like(vectors[0]), torch.zeros_like(vectors[0])
        for vector, share in zip(vectors, shares, strict=True):
            agree = torch.sign(vector) == sign
            change = change + torch.where(agree, share * vector, 0.0)
            divisor = divisor + agree.double() * share
        change = torch.where(divisor == 0, 0.0, change / torch.where(divisor == 0, 1.0, divisor))
        return add_to_base(inputs.base, change, out_dtype)


def _select(vectors: list[Tensor], share: float) -> Tensor:
    # The share, of elements whose variance is not zero, that varies most between experts, as a mask. [*S]
    import torch

    from m2m.merging.methods.exact import ascending_sum, largest, magnitude_bits, share_count

    if share == 1:
        return torch.ones_like(vectors[0], dtype=torch.bool)
    mean = ascending_sum(vectors) / len(vectors)
    variance = ascending_sum([(vector - mean) * (vector - mean) for vector in vectors]) / len(vectors)
    return largest(magnitude_bits(variance), share_count(share, int((variance != 0).sum())))


SCE = SelectCalculateErase(
    name="sce",
    base="required",
    parameters=(number("select_topk", "shared", 1.0, low=0, high=1), flag("int8_mask", False, effect=False)),
    space="task vectors",
    source="Wan et al., FuseChat, 2024, arXiv 2408.07990",
    differences=(
        "an exact tie of signs merges nothing, `definition: mergekit` elects +; divisors have no clamp; "
        "equal weights replace energies only if all are zero (mergekit: below a sum of 1e-6, "
        "as small task vectors have)"
    ),
)

METHODS = (SCE,)
