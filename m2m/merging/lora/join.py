"""Many adapters as one: their factors side by side, so that the one adapter adds exactly the weighted sum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import TORCH_NAMES, TensorInfo
from m2m.checkpoint.writer import Entry
from m2m.errors import CheckpointError, RecipeError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.adapter import Factors

if TYPE_CHECKING:
    from torch import Tensor


class Block(NamedTuple):
    """One adapter's part of a joined module.

    Attributes:
        factors: Its factors.
        weight: Its merging weight α.
    """

    factors: Factors
    weight: float


class _Side(NamedTuple):
    # A (axis 0: adapters below each other) or B (axis 1: side by side) of a joined module.
    blocks: Sequence[Block]
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        rank = sum(block.factors.rank for block in self.blocks)
        factors = self.blocks[0].factors
        return (factors.b.shape[0], rank) if self.axis else (rank, factors.a.shape[1])

    def parts(self) -> Iterator[Tensor]:
        for factors, weight in self.blocks:
            yield _read(factors.b) * (weight * factors.scale) if self.axis else _read(factors.a)


class JoinedAdapter(NamedTuple):
    r"""One adapter in place of N.

    For each module, with ranks adding up,

    .. math:: B = [\alpha_1 s_1 B_1 | \dots | \alpha_N s_N B_N], \quad A = [A_1; \dots; A_N], \quad
        BA = \sum_n \alpha_n s_n B_n A_n ,

    and a scale of one (`lora_alpha` = r, by pattern where ranks differ).

    Attributes:
        blocks: What each module is made of; adapters without weight are left out.
        fan_in_fan_out: Whether the base model stores weights as [in, out].
        about: `base_model_name_or_path` and `task_type` of the experts.
    """

    blocks: Mapping[str, Sequence[Block]]
    fan_in_fan_out: bool
    about: Mapping[str, Any]

    def entries(self, dtype: str) -> list[Entry]:
        """List the tensors of the adapter.

        Args:
            dtype: Their type, by its safetensors name.

        Returns:
            Names as PEFT writes them, and shapes.
        """
        return [Entry(name, dtype, side.shape) for name, side in self._sides().items()]

    def tensor(self, name: str, dtype: str) -> Tensor:
        """Form one tensor of the adapter.

        Args:
            name: Its name, as in `entries`.
            dtype: Its type; each number is rounded to it once.

        Returns:
            A or B of a module.
        """
        import torch

        from m2m.merging.methods.twins.rounding import round_once

        side, out = self._sides()[name], getattr(torch, TORCH_NAMES[dtype])
        return torch.cat([round_once(part, out) for part in side.parts()], dim=side.axis)

    def _sides(self) -> dict[str, _Side]:
        sides = {}
        for module, blocks in self.blocks.items():
            leaf = "lora_embedding_{}" if blocks[0].factors.embedding else "lora_{}.weight"
            for axis, letter in enumerate("AB"):
                sides[f"base_model.model.{module}.{leaf.format(letter)}"] = _Side(blocks, axis)
        return sides

    def config(self) -> dict[str, Any]:
        """Write the adapter's configuration.

        Returns:
            What `adapter_config.json` holds.
        """
        ranks = {
            module: sum(block.factors.rank for block in blocks) for module, blocks in self.blocks.items()
        }
        rank = max(ranks.values())
        # PEFT reads patterns as regular expressions; `^` keeps a name from matching the end of a longer one.
        pattern = {f"^{module}": own for module, own in ranks.items() if own != rank}
        return {
            **self.about,
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": rank,
            "rank_pattern": pattern,
            "alpha_pattern": pattern,
            "use_rslora": False,
            "use_dora": False,
            "fan_in_fan_out": self.fan_in_fan_out,
            "target_modules": list(ranks),
            "bias": "none",
            "lora_dropout": 0.0,
            "init_lora_weights": True,
            "inference_mode": True,
        }


def join_adapters(
    experts: Sequence[AdaptedCheckpoint], weights: Mapping[str, Sequence[float]]
) -> JoinedAdapter:
    """Put adapters of one base model side by side.

    Args:
        experts: The adapters on their base model. [N]
        weights: Merging weights α of the experts, by tensor of the base model. each [N]

    Returns:
        The joined adapter.

    Raises:
        CheckpointError: If an adapter holds whole tensors or biases, or they lay weights out differently.
        RecipeError: If nothing is left to join.
    """
    for expert in experts:
        for name in (*expert.adapter.full, *expert.adapter.biases):
            raise CheckpointError(
                f"{expert.adapter.file}: holds {name!r} whole, no product of factors: write a model instead"
            )
    configs = [expert.adapter.config for expert in experts]
    if len({config.fan_in_fan_out for config in configs}) > 1:
        raise CheckpointError(f"{configs[0].path} and another adapter differ in fan_in_fan_out")
    blocks: dict[str, list[Block]] = {}
    for name in dict.fromkeys(name for expert in experts for name in expert.modules):
        pairs = zip(experts, weights[name], strict=True)
        own = [(*expert.modules[name], weight) for expert, weight in pairs if name in expert.modules]
        used = [Block(factors, weight) for _, factors, weight in own if weight != 0]
        if used:
            blocks[own[0][0]] = used
    if not blocks:
        raise RecipeError("all merging weights are zero: there is no adapter to write")
    return JoinedAdapter(blocks, configs[0].fan_in_fan_out, configs[0].about)


def check_sums_to_base(tensor: str, dense: Sequence[float], points: Sequence[float]) -> None:
    """Refuse merging weights under which the result is not the base model plus products.

    Normalising costs at most one rounding of the sum, one of each weight and one of their sum: below 4u Σ|α|.

    Args:
        tensor: The tensor, for errors.
        dense: Weights of the tensors that are read; there must be one, the base model's, of weight one.
        points: α. [N]

    Raises:
        RecipeError: If it is not.
    """
    used = [weight for weight in dense if weight != 0]
    slack = 4 * 2.0**-53 * max(1.0, math.fsum(map(abs, points)))
    if len(used) != 1 or abs(used[0] - 1) > slack:
        raise RecipeError(
            f"tensor {tensor!r}: the merged model is {used} times models plus products, and an adapter "
            "can only add to its base model: use task_arithmetic, or linear weights that sum to one, over "
            "adapters of one model"
        )


def _read(info: TensorInfo) -> Tensor:
    tensor = read_tensor(info).double()
    if not tensor.isfinite().all():
        index = int((~tensor.isfinite()).reshape(-1).nonzero()[0])
        raise CheckpointError(f"{info.file}: {info.name!r} is NaN or infinite at index {index}")
    return tensor
