"""Write a merge of adapters as adapters: one for the recipe, or one a candidate."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from m2m.checkpoint.checkpoint import Checkpoint, read_tensor
from m2m.checkpoint.folder import new_folder
from m2m.checkpoint.header import TORCH_NAMES, TensorInfo
from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.checkpoint.writer import Entry
from m2m.errors import CheckpointError, RecipeError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.adapter import Factors
from m2m.merging.lora.adapter_file import plain_config, write_adapter
from m2m.merging.lora.terms import resolve_terms
from m2m.merging.methods.weighted import WeightedSum
from m2m.merging.plan.resolve import Candidates, point_weights
from m2m.merging.plan.tensors import WeightBlock
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.stream.report import MergeReport
from m2m.support.arguments import argument
from m2m.support.process_memory import anonymous_bytes, peak_resident_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Wide enough to hold every factor of at most 32 bits exactly; only the folded weights are rounded.
_DTYPE = "F32"


def write_adapters(
    recipe: Recipe,
    models: Mapping[ModelRef, Checkpoint],
    out: Path,
    *,
    dtype: str | None = None,
    candidates: Candidates | None = None,
) -> MergeReport:
    """Write a recipe over adapters of one base model as an adapter, or as one a candidate."""
    # RecipeError if the result is not the base model plus products of factors; CheckpointError if an adapter
    # does not fit the base model, or holds more than factors.
    started = time.perf_counter()
    names = [""] if candidates is None else list(candidates)
    rows = _weights_by_tensor(recipe, models, candidates)
    experts = _experts(recipe, models)
    joined = [
        join_adapters(experts, {tensor: block[m] for tensor, block in rows.items()})
        for m in range(len(names))
    ]
    with new_folder(out) as work:
        for name, adapter in zip(names, joined, strict=True):
            (work / name).mkdir(exist_ok=True)
            write_adapter(adapter, work / name, dtype or _DTYPE, {"m2m.recipe": json.dumps(recipe.to_dict())})
        for model in models.values():
            model.check_unchanged()
    return _report(out, names, joined, started)


def _experts(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> list[AdaptedCheckpoint]:
    experts = []
    for expert in recipe.slices[0].experts:
        model = models[expert.model]
        if not isinstance(model, AdaptedCheckpoint):
            raise RecipeError(
                f"{expert.model} is a whole model, not an adapter: the merge cannot be written as one"
            )
        experts.append(model)
    return experts


def _weights_by_tensor(
    recipe: Recipe, models: Mapping[ModelRef, Checkpoint], candidates: Candidates | None
) -> dict[str, WeightBlock]:
    # Merging weights by tensor [M, N]; every tensor is checked, the ones that no adapter changes too.
    rule = recipe.rule
    if not isinstance(rule, WeightedSum):
        raise RecipeError(
            f"merge_method {recipe.method} is no weighted sum, so what it makes of adapters is no product of "
            f"low rank: leave {argument('as_adapter')} out to write the merged model itself"
        )
    if any(part.ranges or part.module for part in recipe.slices):
        raise RecipeError("only whole adapters can be written as an adapter, not slices or modules of them")
    on_task_vectors = rule.on_task_vectors(with_base=recipe.slices[0].base is not None)
    inputs = [models[ref] for ref in recipe.slices[0].inputs]
    found = {}
    for output in recipe.outputs(models[recipe.donor].names):
        rows = point_weights(recipe, rule, output, candidates)
        terms = resolve_terms(inputs, output.inputs, rows, on_task_vectors=on_task_vectors)
        for row, weights in zip(rows, terms.weights, strict=True):
            check_sums_to_base(output.name, weights[: len(terms.dense)], row)
        found[output.name] = rows
    return found


def _report(out: Path, names: Sequence[str], joined: Sequence[JoinedAdapter], started: float) -> MergeReport:
    read = sum(
        block.factors.a.nbytes + block.factors.b.nbytes
        for adapter in joined
        for blocks in adapter.blocks.values()
        for block in blocks
    )
    folders = tuple(out / name for name in names)
    return MergeReport(
        out=out,
        folders=folders,
        tensors=2 * len(joined[0].blocks),
        wall_s=time.perf_counter() - started,
        read_bytes=read,
        written_bytes=sum((folder / ADAPTER_NAMES[0]).stat().st_size for folder in folders),
        resumed_bytes=0,
        peak_rss_bytes=peak_resident_bytes(),
        peak_anon_bytes=anonymous_bytes(),
        threads=1,
        slot_bytes=0,
    )


class WeightedFactors(NamedTuple):
    """One adapter's part of a joined module.

    Attributes:
        factors: Its factors.
        weight: Its merging weight α.
    """

    factors: Factors
    weight: float


class _Side(NamedTuple):
    # A (axis 0: adapters below each other) or B (axis 1: side by side) of a joined module.
    blocks: Sequence[WeightedFactors]
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
        fan_in_fan_out: What the configuration says of it; PEFT asks each layer.
        about: `base_model_name_or_path` and `task_type` of the experts.
    """

    blocks: Mapping[str, Sequence[WeightedFactors]]
    fan_in_fan_out: bool
    about: Mapping[str, Any]

    def entries(self, dtype: str) -> list[Entry]:
        """The adapter's tensors: names as PEFT writes them, and shapes."""
        return [Entry(name, dtype, side.shape) for name, side in self._sides().items()]

    def tensor(self, name: str, dtype: str) -> Tensor:
        """A or B of a module, by its name in `entries`; each number is rounded to `dtype` once."""
        import torch

        from m2m.merging.methods.exact import round_once

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
        """What `adapter_config.json` holds."""
        ranks = {
            module: sum(block.factors.rank for block in blocks) for module, blocks in self.blocks.items()
        }
        return plain_config(ranks, self.about, self.fan_in_fan_out)


def join_adapters(
    experts: Sequence[AdaptedCheckpoint], weights: Mapping[str, Sequence[float]]
) -> JoinedAdapter:
    """Put adapters of one base model side by side."""
    # `weights` are α by tensor of the base model, each [N]. CheckpointError if an adapter holds whole tensors
    # or biases; RecipeError if nothing is left to join.
    for expert in experts:
        if expert.adapter.config.dora or expert.adapter.config.parameters:
            raise CheckpointError(
                f"{expert.adapter.config.path}: scales rows (use_dora) or adapts fused parameters "
                "(target_parameters), which is no product of two factors: write a model instead"
            )
        for name in (*expert.adapter.full, *expert.adapter.biases):
            raise CheckpointError(
                f"{expert.adapter.file}: holds {name!r} whole, no product of factors: write a model instead"
            )
    configs = [expert.adapter.config for expert in experts]
    blocks: dict[str, list[WeightedFactors]] = {}
    for name in dict.fromkeys(name for expert in experts for name in expert.modules):
        pairs = zip(experts, weights[name], strict=True)
        own = [(*expert.modules[name], weight) for expert, weight in pairs if name in expert.modules]
        used = [WeightedFactors(factors, weight) for _, factors, weight in own if weight != 0]
        if used:
            blocks[own[0][0]] = used
    if not blocks:
        raise RecipeError("all merging weights are zero: there is no adapter to write")
    in_out = any(config.fan_in_fan_out for config in configs)
    return JoinedAdapter(blocks, in_out, configs[0].about)


def check_sums_to_base(tensor: str, dense: Sequence[float], points: Sequence[float]) -> None:
    """Refuse merging weights under which the result is not the base model plus products."""
    # `dense` are the weights of what is read: one, the base model's, must be 1. Normalising the α in `points`
    # costs at most one rounding of the sum, one of each weight and one of their sum: below 4u Σ|α|.
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
