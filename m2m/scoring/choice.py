"""The ways to score many candidates, and which one is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m2m.errors import ConfigError
from m2m.scoring.live.device import CPU
from m2m.scoring.live.resident import AHEAD
from m2m.scoring.live.stacked import LARGEST
from m2m.scoring.live.staging import STAGED_BYTES
from m2m.scoring.means import Means
from m2m.scoring.models import Models
from m2m.scoring.tasks.scorer import BatchedScorer, Scorer
from m2m.support.arguments import argument
from m2m.support.units import format_bytes


@dataclass(frozen=True)
class Choice:
    """How candidates are scored."""

    #: One of `Mode` but `auto`; `none` where nothing was left to score.
    mode: str
    #: The reason, for people.
    why: str
    #: Candidates a pass over the experts, where the mode is resident.
    ahead: int = 1
    #: Whether the experts are copied to the device once, where that is not the CPU.
    copied: bool = False


def choose(models: Models, scorers: Sequence[Scorer], candidates: int, means: Means, memory: int) -> Choice:
    """Choose by what fits in `memory` bytes: whole models if base, experts and live module do, else streamed.

    On the CPU experts are mapped, not copied, so a budget that the live module fits in is enough where
    resident is asked for; but then every pass reads them from the disk, which streaming does once for all.
    On a device experts that do not fit stay in host memory, and pass through for every merge.

    Args:
        models: What candidates are merged of.
        scorers: The tasks.
        candidates: How many there are.
        means: What is asked for; its memory is not looked at.
        memory: Bytes of the device that may be used.

    Returns:
        The choice.

    Raises:
        ConfigError: If the mode that is left does not fit the budget, the device or a task.
    """
    mode = means.mode
    if mode == "streamed":
        return _streamed(models, scorers, means, "asked for")
    size = size_of(models)
    used, what, copied = _whole_models(models, means, memory)
    budget = f"the budget is {format_bytes(memory)}"
    if used > memory:
        why = f"{what} and a candidate take {format_bytes(used)}, {budget}"
        if mode == "auto":
            return _streamed(models, scorers, means, why)
        raise ConfigError(f"not enough memory for mode {mode}: {why}")
    small = sum(tensor.elements for tensor in models.base.tensors.values()) <= LARGEST
    if mode == "stacked" or (mode == "auto" and small and not _unbatched(scorers) and candidates > 1):
        return Choice("stacked", "", copied=copied)
    ahead = 1 + min(AHEAD - 1, (memory - used) // size if size else AHEAD)
    total = format_bytes(used + (ahead - 1) * size)
    return Choice("resident", f"{what} and {ahead} candidates a pass take {total}, {budget}", ahead, copied)


def size_of(models: Models) -> int:
    """Bytes of one model."""
    return sum(tensor.nbytes for tensor in models.base.tensors.values())


def _unbatched(scorers: Sequence[Scorer]) -> list[str]:
    # The tasks that need a whole model, as their examples do not come in batches.
    return [scorer.task for scorer in scorers if not isinstance(scorer, BatchedScorer)]


def _whole_models(models: Models, means: Means, memory: int) -> tuple[int, str, bool]:
    # Bytes of whole models and one candidate, what these are, and whether experts are copied to a device.
    size, count = size_of(models), len(models.experts)
    live = 2 * size + max((each.nbytes for each in models.sums.values()), default=0)
    if means.device == CPU:
        if means.mode != "auto":
            return live, "live module", False
        dense = len({expert.path for expert in models.experts.values()} - {models.base.path})
        return live + (dense + 1) * size, f"base, {count} experts, live module", False
    if not models.sums and live + count * size <= memory:
        return live + count * size, f"on {means.device}: {count} experts, live module", True
    return (
        live + STAGED_BYTES,
        f"on {means.device}: live module, pieces of {count} experts in host memory",
        False,
    )


def _streamed(models: Models, scorers: Sequence[Scorer], means: Means, why: str) -> Choice:
    if means.device != CPU:
        raise ConfigError(
            f"candidates are streamed block by block on the CPU only, not on {means.device}: {why}; use "
            f"{argument('device', 'cpu')}, or {argument('mode', 'resident')} or stacked with "
            "memory for live module and a candidate"
        )
    if models.sums:
        raise ConfigError(
            f"adapters need a whole model, so candidates cannot be streamed block by block: {why}; use "
            f"{argument('mode', 'resident')} with memory for live module and a candidate, or "
            "write each adapted expert with "
            "`m2m merge` first"
        )
    if whole := _unbatched(scorers):
        raise ConfigError(
            f"the task {whole[0]} needs a whole model, so candidates cannot be streamed block by block: "
            f"{why}; {argument('mode', 'resident')} needs memory for live module and a candidate only"
        )
    return Choice("streamed", why)
