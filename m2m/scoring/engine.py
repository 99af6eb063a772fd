"""The ways to score many candidates, and which one is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from m2m.checkpoint import Checkpoint
from m2m.errors import ConfigError
from m2m.scoring.live.device import CPU, device_errors
from m2m.scoring.live.live_model import LiveModel, OtherSum, checked_weights
from m2m.scoring.live.mapped import check_mapped, mapped_state
from m2m.scoring.live.resident import AHEAD, walk
from m2m.scoring.live.stacked import LARGEST, StackedWalk
from m2m.scoring.live.staging import STAGED_BYTES, moved_state
from m2m.scoring.streamed import StreamedWalk
from m2m.scoring.tasks.batched_scorer import BatchedScorer
from m2m.scoring.tasks.bench import Bench
from m2m.scoring.tasks.scorer import Scorer, Scores
from m2m.support.progress import Progress
from m2m.support.units import format_bytes

MODES = ("resident", "streamed", "stacked")


@dataclass(frozen=True)
class Choice:
    """How candidates are scored.

    Attributes:
        mode: One of `MODES`.
        why: The reason, for people.
        ahead: Candidates a pass over the experts, where the mode is resident.
        copied: Whether the experts are copied to the device once, where that is not the CPU.
    """

    mode: str
    why: str
    ahead: int = 1
    copied: bool = False


@dataclass(frozen=True)
class Job:
    """What is to be scored.

    Attributes:
        bench: Builds the module.
        base: The base model.
        experts: The experts by name, with the base's tensors. [N]
        weights: Merging weights, a row a candidate. [M, N]
        scorers: The tasks.
        memory: Bytes that may be used, of the device.
        threads: CPU threads of the merge; None for the kernel's own choice.
        spill: Folder for activations that a streamed pass cannot keep; None: the system's.
        progress: Told how far a streamed pass is.
        device: Where candidates are merged and scored.
        passes: Least passes over the experts when streamed, each with a part of the candidates.
        names: What messages of a streamed pass call the candidates. [M]
        sums: Tensors of merged models that are other sums than the experts' tensors', as adapters make them.
    """

    bench: Bench
    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    weights: Sequence[Sequence[float]]
    scorers: Sequence[Scorer]
    memory: int
    threads: int | None = None
    spill: Path | None = None
    progress: Progress | None = None
    device: torch.device = CPU
    passes: int = 1
    names: Sequence[str] | None = None
    sums: Mapping[str, OtherSum] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of one model."""
        return sum(tensor.nbytes for tensor in self.base.tensors.values())

    @property
    def whole(self) -> list[str]:
        """Names of the tasks that need a whole model, as their examples do not come in batches."""
        return [scorer.task for scorer in self.scorers if not isinstance(scorer, BatchedScorer)]

    @property
    def dense(self) -> int:
        """How many experts are whole models of their own."""
        return len({expert.path for expert in self.experts.values()} - {self.base.path})

    @property
    def forming(self) -> int:
        """Bytes that the terms of other sums take, one tensor at a time."""
        return max((each.nbytes for each in self.sums.values()), default=0)


def choose(job: Job, mode: str = "auto") -> Choice:
    """Choose by what fits: whole models if base, experts and live module do, else streamed.

    On the CPU experts are mapped, not copied, so a budget that the live module fits in is enough where
    resident is asked for; but then every pass reads them from the disk, which streaming does once for all.
    On a device experts that do not fit stay in host memory, and pass through for every merge.

    Args:
        job: What is to be scored.
        mode: `auto`, or one of `MODES`.

    Returns:
        The choice.

    Raises:
        ConfigError: If there is no such mode, or the one that is left does not fit the budget, the device or
            a task.
    """
    if mode not in ("auto", *MODES):
        raise ConfigError(f"no mode {mode!r}; there are auto, {', '.join(MODES)}")
    if mode == "streamed":
        return _streamed(job, "asked for")
    used, what, copied = _whole_models(job, mode)
    budget = f"the budget is {format_bytes(job.memory)}"
    if used > job.memory:
        why = f"{what} and a candidate take {format_bytes(used)}, {budget}"
        if mode == "auto":
            return _streamed(job, why)
        raise ConfigError(f"not enough memory for mode {mode}: {why}")
    small = sum(tensor.elements for tensor in job.base.tensors.values()) <= LARGEST
    if mode == "stacked" or (mode == "auto" and small and not job.whole and len(job.weights) > 1):
        return Choice("stacked", "", copied=copied)
    ahead = 1 + min(AHEAD - 1, (job.memory - used) // job.size if job.size else AHEAD)
    total = format_bytes(used + (ahead - 1) * job.size)
    return Choice("resident", f"{what} and {ahead} candidates a pass take {total}, {budget}", ahead, copied)


def _whole_models(job: Job, mode: str) -> tuple[int, str, bool]:
    # Bytes of whole models and one candidate, what these are, and whether experts are copied to a device.
    live, count = 2 * job.size + job.forming, len(job.experts)
    if job.device == CPU:
        if mode != "auto":
            return live, "live module", False
        return live + (job.dense + 1) * job.size, f"base, {count} experts, live module", False
    if not job.sums and live + count * job.size <= job.memory:
        return live + count * job.size, f"on {job.device}: {count} experts, live module", True
    return (
        live + STAGED_BYTES,
        f"on {job.device}: live module, pieces of {count} experts in host memory",
        False,
    )


def _streamed(job: Job, why: str) -> Choice:
    if job.device != CPU:
        raise ConfigError(
            f"candidates are streamed block by block on the CPU only, not on {job.device}: {why}; use "
            "--device cpu, or --mode resident or stacked with memory for live module and a candidate"
        )
    if job.sums:
        raise ConfigError(
            f"adapters need a whole model, so candidates cannot be streamed block by block: {why}; use "
            "--mode resident with memory for live module and a candidate, or write each adapted expert with "
            "`m2m merge` first"
        )
    if job.whole:
        raise ConfigError(
            f"the task {job.whole[0]} needs a whole model, so candidates cannot be streamed block by block: "
            f"{why}; --mode resident needs memory for live module and a candidate only"
        )
    return Choice("streamed", why)


def score_in_mode(choice: Choice, job: Job) -> tuple[Choice, Iterator[tuple[int, list[Scores]]]]:
    """Score the merged model of every candidate the chosen way.

    Args:
        choice: The way.
        job: What is to be scored.

    Returns:
        What is really done and why, and a walk over (candidate number, one `Scores` a task): a
        `StreamedWalk`, with its counts, where that is the way.
    """
    if choice.mode == "streamed":
        return choice, StreamedWalk(
            job.bench.build_empty, job.base, [*job.experts.values()], job.weights, job.scorers,
            memory=job.memory, threads=job.threads, progress=job.progress, spill=job.spill,
            passes=job.passes, names=job.names,
        )  # fmt: skip
    with device_errors(job.device):
        choice, scored = _started(choice, job)
    return choice, _guarded(scored, job.device)


def _started(choice: Choice, job: Job) -> tuple[Choice, Iterator[tuple[int, list[Scores]]]]:
    # Whole models, in memory or on the device.
    matrix = checked_weights(job.weights, len(job.experts))
    live = open_live(job, copied=choice.copied)
    if choice.mode == "stacked":
        stacked = StackedWalk(live, matrix, job.scorers, None, job.threads)
        return Choice("stacked" if stacked.chunk > 1 else "resident", stacked.why), stacked
    return choice, walk(live, matrix, job.scorers, job.threads, choice.ahead)


def open_live(job: Job, *, copied: bool = False) -> LiveModel:
    """Build the module and map what goes into it.

    Args:
        job: What is to be scored.
        copied: Whether the experts are copied to the device.

    Returns:
        The live model.
    """
    states = [mapped_state(expert) for expert in job.experts.values()]
    if copied:
        states = [moved_state(state, job.device) for state in states]
    base, names = mapped_state(job.base), list(job.experts)
    return LiveModel(job.bench.build(), base, states, names, job.device, job.sums)


def _guarded(
    scored: Iterator[tuple[int, list[Scores]]], device: torch.device
) -> Iterator[tuple[int, list[Scores]]]:
    with device_errors(device):
        for found in scored:
            check_mapped()
            yield found
