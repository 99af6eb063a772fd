"""One live module that takes the weights of any candidate, without a copy of the model in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from m2m.errors import CheckpointError, ConfigError, MixtureError
from m2m.ops import accumulation_dtype, weighted_sum_into
from m2m.scoring.live.staging import sum_from_host
from m2m.support.arrays import Floats


class OtherSum(Protocol):
    """A tensor of merged models that is a sum of other terms than the experts' own tensors.

    Attributes:
        nbytes: Memory that the terms take while they are summed.
    """

    nbytes: int

    def write(self, outs: Sequence[Tensor], weights: Floats, threads: int | None) -> None:
        """Merge with experts' weights [M, N] into M contiguous tensors in host memory, each [*shape]."""


@dataclass(frozen=True)
class _Slot:
    """One tensor of the module and what may go into it.

    Attributes:
        names: Its names, several where tensors are tied.
        holders: The module's parameter or buffer objects, several where tensors are tied. each [*shape]
        order: The axes in the order they lie in memory.
        live: The module's own memory, axes in that order. [*S]
        base: θ₀'s tensor, axes likewise. [*S]
        experts: The experts' tensors, axes likewise; all with the module, or all in host memory. [N] of [*S]
        other: What merged tensors are sums of instead of the experts'; None if they are not.
    """

    names: tuple[str, ...]
    holders: tuple[Tensor, ...]
    order: tuple[int, ...]
    live: Tensor
    base: Tensor
    experts: tuple[Tensor, ...]
    other: OtherSum | None

    def write(self, outs: Sequence[Tensor], alpha: Tensor, threads: int | None) -> None:
        """Merge into tensors that lie like `live`; those that are never averaged are copied."""
        if not self.live.is_floating_point():
            for out in outs:
                out.copy_(self.experts[0])
        elif self.other is not None:
            self._write_other(self.other, outs, alpha, threads)
        else:
            together = self.experts[0].device == self.live.device
            merge = weighted_sum_into if together else sum_from_host
            merge(outs, self.experts, alpha, threads=threads)

    def _write_other(
        self, other: OtherSum, outs: Sequence[Tensor], alpha: Tensor, threads: int | None
    ) -> None:
        if self.live.device.type == "cpu" and list(self.order) == sorted(self.order):
            other.write(outs, alpha.numpy(), threads)
            return
        merged = [torch.empty(self.holders[0].shape, dtype=self.live.dtype) for _ in outs]
        other.write(merged, alpha.numpy(), threads)
        for out, tensor in zip(outs, merged, strict=True):
            out.copy_(tensor.permute(self.order))

    def hold(self, memory: Tensor) -> None:
        """Let the module use this memory."""
        for holder in self.holders:
            holder.data = memory.permute(self.back())

    def back(self) -> list[int]:
        """Return where each axis of the tensor lies in `live`."""
        return sorted(range(len(self.order)), key=self.order.__getitem__)


class LiveModel:
    """A module, its base weights and N experts, all checked against each other once.

    Args:
        model: The module to write into.
        base: θ₀, tensor by name.
        experts: The experts' states, with the base's names, shapes and dtypes. [N]
        names: What messages call the experts; their numbers if not given. [N]
        device: Where the module is moved to, and candidates are merged; None: where it is. The states may
            be there too, or in host memory.
        sums: By the base's names, tensors of merged models that are other sums than the experts' tensors'.

    Attributes:
        model: The module.
        experts: N.

    Raises:
        CheckpointError: If a state does not fit, is not finite, or integer or tied tensors differ;
            names the expert, the tensor, what was got and what was wanted.
    """

    def __init__(
        self,
        model: nn.Module,
        base: Mapping[str, Tensor],
        experts: Sequence[Mapping[str, Tensor]],
        names: Sequence[str] | None = None,
        device: torch.device | None = None,
        sums: Mapping[str, OtherSum] | None = None,
    ) -> None:
        self.model = model
        self.experts = len(experts)
        tied = _tied_tensors(model)
        if device is not None:
            tied = _moved(model, tied, device)
        _check_names("the base model", base, tied)
        who = [f"expert {name}" for name in names or range(len(experts))]
        other = sums or {}
        for name, expert in zip(who, experts, strict=True):
            _check_like_base(name, expert, base, other)
        named = dict(zip(who, experts, strict=True))
        self._slots = [_slot(tensors, holders, base, named, other) for tensors, holders in tied.items()]
        self._ahead: list[list[Tensor]] = []
        self._in_memory: Tensor | None = None

    def merge(self, weights: ArrayLike, threads: int | None = None) -> None:
        """Write the merged model θ̃ = Σ_n α_n θ_n into the module.

        The bits are those of `m2m.weighted_sum`, so also those of merging to disk and loading. Integer and
        bool tensors are the experts' common ones.

        Args:
            weights: Merging weights α of one candidate. [1, N]
            threads: CPU threads of the sum; None for the kernel's own choice.
        """
        alpha = torch.from_numpy(checked_weights(weights, self.experts))
        for slot in self._slots:
            slot.hold(slot.live)
            slot.write([slot.live], alpha, threads)

    def merge_ahead(self, weights: ArrayLike, threads: int | None = None) -> None:
        """Merge several candidates in one pass over the experts, for `show` to put them into the module.

        Takes memory for K models, which is kept for the next call; what was merged last is not merged again.
        The bits are those of `merge`.

        Args:
            weights: Merging weights α, a row a candidate. [K, N]
            threads: CPU threads of the sum; None for the kernel's own choice.
        """
        alpha = torch.from_numpy(checked_weights(weights, self.experts))
        if self._in_memory is not None and torch.equal(alpha, self._in_memory):
            return
        self._in_memory = None  # until all of it is there
        self.make_room(len(alpha))
        for at, slot in enumerate(self._slots):
            slot.write([model[at] for model in self._ahead[: len(alpha)]], alpha, threads)
        self._in_memory = alpha

    def make_room(self, candidates: int) -> None:
        """Take the memory that `merge_ahead` needs, where it is not there yet.

        Args:
            candidates: K.
        """
        while len(self._ahead) < candidates:
            self._ahead.append([torch.empty_like(slot.live) for slot in self._slots])

    def show(self, candidate: int) -> None:
        """Let the module use the weights of a candidate of the last `merge_ahead`; nothing is copied.

        Args:
            candidate: Its row.
        """
        for slot, memory in zip(self._slots, self._ahead[candidate], strict=True):
            slot.hold(memory)

    def merge_stacked(self, weights: ArrayLike, threads: int | None = None) -> dict[str, Tensor]:
        """Merge several candidates in one pass into tensors of their own; the module stays as it is.

        The bits are those of `merge`.

        Args:
            weights: Merging weights α, a row a candidate. [K, N]
            threads: CPU threads of the sum; None for the kernel's own choice.

        Returns:
            By name, the candidates' tensors along a new first axis. each [K, *shape]
        """
        alpha = torch.from_numpy(checked_weights(weights, self.experts))
        state = {}
        for slot in self._slots:
            memory = slot.live.new_empty((len(alpha), *slot.live.shape))
            slot.write(memory.unbind(), alpha, threads)
            stacked = memory.permute(0, *(1 + axis for axis in slot.back()))
            state.update(dict.fromkeys(slot.names, stacked))
        return state

    def restore(self) -> None:
        """Give the module its own memory back, with the base weights θ₀ in it."""
        for slot in self._slots:
            slot.hold(slot.live)
            slot.live.copy_(slot.base)


def checked_weights(weights: ArrayLike, experts: int) -> Floats:
    """Read the candidates' merging weights.

    Args:
        weights: A row a candidate. [M, N]
        experts: N.

    Returns:
        The weights as float64. [M, N]

    Raises:
        MixtureError: If they are not M rows of N finite numbers.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != experts:
        raise MixtureError(
            f"weights must be [M, {experts}], a row a candidate; got shape {list(matrix.shape)}"
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise MixtureError(f"weights of candidate {bad[0]} must be finite, got {matrix[bad[0]].tolist()}")
    return matrix


def _tied_tensors(model: nn.Module) -> dict[tuple[str, ...], tuple[Tensor, ...]]:
    # By their names, the objects that share one memory; `keep_vars` gives the objects themselves.
    groups: dict[tuple[int, ...], list[str]] = {}
    state = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        place = (tensor.data_ptr(), *tensor.shape, *tensor.stride()) if tensor.numel() else (id(tensor),)
        groups.setdefault(place, []).append(name)
    return {tuple(names): tuple(state[name] for name in names) for names in groups.values()}


def _moved(
    model: nn.Module, tied: Iterable[tuple[str, ...]], device: torch.device
) -> dict[tuple[str, ...], tuple[Tensor, ...]]:
    # Moving gives objects that share one memory a memory each, and buffers new objects.
    empty = next((name for name, tensor in model.state_dict().items() if tensor.is_meta), None)
    if empty is not None and device.type != "meta":
        raise ConfigError(f"the module's {empty!r} is on the meta device: it must be made with memory")
    model.to(device)
    state = model.state_dict(keep_vars=True)
    moved = {names: tuple(state[name] for name in names) for names in tied}
    for first, *others in moved.values():
        for other in others:
            other.data = first.data
    return moved


def _check_names(who: str, base: Mapping[str, Tensor], tied: Iterable[tuple[str, ...]]) -> None:
    missing = [names[0] for names in tied if not any(name in base for name in names)]
    unknown = sorted(set(base) - {name for names in tied for name in names})
    if missing or unknown:
        raise CheckpointError(f"{who} does not fit the module: missing {missing[:5]}, unknown {unknown[:5]}")


def _check_like_base(
    who: str, expert: Mapping[str, Tensor], base: Mapping[str, Tensor], sums: Mapping[str, OtherSum]
) -> None:
    missing, unknown = sorted(set(base) - set(expert)), sorted(set(expert) - set(base))
    if missing or unknown:
        raise CheckpointError(f"{who} is not like the base: missing {missing[:5]}, unknown {unknown[:5]}")
    for name, wanted in base.items():
        if name not in sums or expert[name].shape != wanted.shape:
            _check_kind(f"{who}, tensor {name}", expert[name], wanted)
        _check_finite(f"{who}, tensor {name}", expert[name])


def _check_kind(where: str, got: Tensor, wanted: Tensor) -> None:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise CheckpointError(
            f"{where}: got {list(got.shape)} {got.dtype}, wanted {list(wanted.shape)} {wanted.dtype}"
        )


def _check_finite(where: str, tensor: Tensor) -> None:
    # What is not finite makes the sum so; the sum is one pass, and overflows only where a look is due anyway.
    if not tensor.is_floating_point() or torch.isfinite(tensor.sum(dtype=accumulation_dtype(tensor.dtype))):
        return
    if not (finite := torch.isfinite(tensor)).all():
        index = (~finite).nonzero()[0].tolist()
        raise CheckpointError(f"{where}: element {index} is {tensor[tuple(index)].item()}")


def _slot(
    names: tuple[str, ...],
    holders: tuple[Tensor, ...],
    base: Mapping[str, Tensor],
    experts: Mapping[str, Mapping[str, Tensor]],
    sums: Mapping[str, OtherSum],
) -> _Slot:
    live = holders[0].detach()
    source, *others = [name for name in names if name in base]
    first, *_ = experts.values()
    for who, expert in experts.items():
        for other in others:
            if not torch.equal(expert[source], expert[other]):
                raise CheckpointError(f"{who}: {source} and {other} are tied in the module but differ")
        if not live.is_floating_point() and not torch.equal(expert[source], first[source]):
            raise CheckpointError(
                f"{who}, tensor {source}: {live.dtype} is never averaged, but differs from another expert's"
            )
    _check_kind(f"the base model, tensor {source}", base[source], live)
    order = tuple(sorted(range(live.dim()), key=live.stride, reverse=True))
    lying = [
        tensor.permute(order).contiguous()
        for tensor in (base[source], *(e[source] for e in experts.values()))
    ]
    return _Slot(names, holders, order, live.permute(order), lying[0], tuple(lying[1:]), sums.get(source))
