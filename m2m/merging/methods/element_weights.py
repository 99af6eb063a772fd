"""Averages with a weight an element, from an estimate of it beside each expert: fisher, adam_merge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.checkpoint.header import MERGEABLE
from m2m.checkpoint.locate import MOMENTS_NAME
from m2m.errors import CheckpointError
from m2m.merging.compiled import FisherPass, PreconditionedPass
from m2m.merging.methods.parameters import Parameter, Settings, number
from m2m.merging.methods.spec import Elementwise, Inputs
from m2m.merging.methods.weighted import normalised, normaliser

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.checkpoint.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo
    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.tensors import PlannedTensor
    from m2m.merging.plan.window import Window

_FISHER, _MOMENTS = "Fisher estimate", "second moments"
#: What is shown of tensors that a note names.
_MOST_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class Fisher(Elementwise):
    """Contract, float64, n ascending from 0.0: g_n = w_n·max(F_n, floor); Σ g_n·θ_n / Σ g_n, rounded once."""

    def check(self, settings: Settings) -> None:
        normaliser(settings.numbers("weight"), settings)

    def more_inputs(
        self, settings: Settings, experts: Sequence[TensorInfo], open_file: Callable[[str], Checkpoint]
    ) -> tuple[TensorInfo, ...]:
        # The diagonal Fisher estimates: in files like checkpoints, one number for every weight of an expert.
        found = []
        for values, expert in zip(settings.each, experts, strict=True):
            path = str(values["fisher"])
            estimate = _estimate(_FISHER, path, open_file(path), expert)
            if estimate is None:
                raise CheckpointError(f"{path}: holds no {_FISHER} of tensor {expert.name!r}")
            found.append(estimate)
        return tuple(found)

    def passes(self, window: Window) -> Iterator[StreamPass]:
        tensors: list[tuple[float, list[float]]] = [
            (0.0, [])
            if tensor.copied
            else (tensor.settings[0].number("floor"), tensor.settings[0].numbers("weight"))
            for tensor in window.tensors
        ]
        yield FisherPass(window.core, window.first, tensors=tensors, allow_nonfinite=window.allow_nonfinite)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import round_once

        numerator = torch.zeros(inputs.experts[0].shape, dtype=torch.float64)
        denominator = torch.zeros_like(numerator)
        for n, (expert, fisher, weight) in enumerate(
            zip(inputs.experts, inputs.estimates, settings.numbers("weight"), strict=True)
        ):
            _check_estimate(_FISHER, fisher, expert, n, settings)
            share = weight * fisher.double().clamp(min=settings.number("floor"))
            numerator = numerator + share * expert.double()
            denominator = denominator + share
        return round_once(numerator / denominator, out_dtype)


@dataclass(frozen=True, kw_only=True)
class AdamMerge(Elementwise):
    """θ₀ + λ M⁻¹ Σ p_n M_n τ_n: each task vector back to a sum of gradients, all forward in one metric.

    Contract, each step float64 and rounded, n ascending from 0.0: p = w / Σw, M_n = √v_n + eps, M = √(Σ
    p_n·v_n) + eps, m = Σ (p_n·(M_n / M))·τ_n; the output is θ₀ + m·λ, rounded once. Experts of weight zero
    are left out. Where no expert has moments of a tensor it was not trained, and M_n / M is 1.
    """

    def check(self, settings: Settings) -> None:
        normaliser(settings.numbers("weight"), settings)

    def more_inputs(
        self, settings: Settings, experts: Sequence[TensorInfo], open_file: Callable[[str], Checkpoint]
    ) -> tuple[TensorInfo, ...]:
        used = [
            (expert, _moments_file(values.get("moments"), expert))
            for values, expert in zip(settings.each, experts, strict=True)
            if values["weight"]
        ]
        found = [_estimate(_MOMENTS, path, open_file(path), expert) for expert, path in used]
        without = [path for (_, path), moments in zip(used, found, strict=True) if moments is None]
        if without and len(without) < len(found):
            raise CheckpointError(
                f"{without[0]}: holds no {_MOMENTS} of tensor {used[0][0].name!r}, which another expert has: "
                "wanted experts that train the same tensors"
            )
        return tuple(moments for moments in found if moments is not None)

    def notes(self, tensors: Iterable[PlannedTensor]) -> tuple[str, ...]:
        without = [t.entry.name for t in tensors if not t.copied and not _has_moments(t)]
        if not without:
            return ()
        more = ", …" if len(without) > _MOST_NAMES else ""
        return (
            f"{len(without)} tensors without {_MOMENTS} are merged as by task_arithmetic: "
            f"{', '.join(without[:_MOST_NAMES])}{more}",
        )

    def passes(self, window: Window) -> Iterator[StreamPass]:
        tensors: list[tuple[bool, float, float, list[float]]] = []
        for tensor in window.tensors:
            if tensor.copied:
                tensors.append((False, 0.0, 0.0, []))
                continue
            settings = tensor.settings[0]
            shares = normalised(settings.numbers("weight"), settings)
            tensors.append((_has_moments(tensor), settings.number("eps"), settings.number("lambda"), shares))
        yield PreconditionedPass(
            window.core, window.first, tensors=tensors, allow_nonfinite=window.allow_nonfinite
        )

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        from m2m.merging.methods.exact import add_to_base, ascending_sum, task_vectors

        assert inputs.base is not None
        shares = normalised(settings.numbers("weight"), settings)
        used = [n for n, share in enumerate(shares) if share]
        moments = [inputs.estimates[n] for n in used] if inputs.estimates else []
        for n, own in zip(used, moments, strict=False):
            _check_estimate(_MOMENTS, own, inputs.experts[n], n, settings)
        vectors = task_vectors(inputs.base, inputs.experts, beside=moments)
        ratios = _metric_ratios(moments, [shares[n] for n in used], settings.number("eps"))
        change = ascending_sum(
            [(shares[n] * ratios.get(at, 1.0)) * vectors[n].double() for at, n in enumerate(used)]
        )
        return add_to_base(inputs.base, change * settings.number("lambda"), out_dtype)


def _metric_ratios(moments: Sequence[Tensor], shares: Sequence[float], eps: float) -> dict[int, Tensor]:
    # M_n / M by position, float64 each [*S]; none without moments.
    from m2m.merging.methods.exact import ascending_sum, square_root

    if not moments:
        return {}
    wide = [own.double() for own in moments]
    mean = ascending_sum([share * own for share, own in zip(shares, wide, strict=True)])
    metric = square_root(mean) + eps
    return {n: (square_root(own) + eps) / metric for n, own in enumerate(wide)}


def _has_moments(tensor: PlannedTensor) -> bool:
    # Sources: the base model's, the experts', then the moments of those experts that have a weight.
    return len(tensor.sources) > 1 + len(tensor.settings[0].each)


def _moments_file(named: object, expert: TensorInfo) -> str:
    if named is not None:
        return str(named)
    beside = expert.file.parent / MOMENTS_NAME
    if not beside.is_file():
        raise CheckpointError(
            f"{beside}: is not there, though adam_merge needs the {_MOMENTS} of Adam: train with "
            "save_moments, make the file with m2m moments, or name it as moments in the model's parameters"
        )
    return str(beside)


def _estimate(what: str, path: str, file: Checkpoint, expert: TensorInfo) -> TensorInfo | None:
    found = file.tensors.get(file.tied.get(expert.name, expert.name))
    if found is None:
        return None
    if found.shape != expert.shape or found.dtype not in MERGEABLE:
        raise CheckpointError(
            f"{path}: {what} {expert.name!r} is {found.dtype} of shape {list(found.shape)}, "
            f"wanted floats of shape {list(expert.shape)} as in {expert.file}"
        )
    return found


def _check_estimate(what: str, estimate: Tensor, expert: Tensor, n: int, settings: Settings) -> None:
    if estimate.shape != expert.shape or bool((estimate < 0).any()):
        raise CheckpointError(
            f"{what} {n} of {settings.tensor} must be {tuple(expert.shape)} and not negative, got "
            f"{tuple(estimate.shape)}, smallest {estimate.min().item() if estimate.numel() else None}"
        )


FISHER = Fisher(
    name="fisher",
    base="ignored",
    parameters=(
        number("weight", "model", 1.0, low=0),
        Parameter("fisher", "model", "text", required=True),
        number("floor", "shared", 1e-6, low=0, open_low=True),
    ),
    space="weights",
    source="Matena, Raffel, Merging models with Fisher-weighted averaging, 2022, arXiv 2111.09832, eq. 4",
    differences="not in mergekit",
)

ADAM_MERGE = AdamMerge(
    name="adam_merge",
    base="required",
    parameters=(
        number("weight", "model", 1.0, low=0),
        Parameter("moments", "model", "text"),
        number("eps", "shared", 1e-8, low=0, open_low=True),
        number("lambda", "shared", 1.0),
    ),
    space="task vectors",
    source="first order of AdamW's steps, each expert in its own metric; docs/theory.md, ours",
    differences="not in mergekit",
)

METHODS = (FISHER, ADAM_MERGE)
