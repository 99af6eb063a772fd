"""The ways to score many candidates, and which one is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from m2m.checkpoint import Checkpoint
from m2m.errors import ConfigError
from m2m.evaluate.bench import Bench
from m2m.evaluate.live_model import LiveModel, checked_weights
from m2m.evaluate.mapped import mapped_state
from m2m.evaluate.resident import AHEAD, walk
from m2m.evaluate.scorer import Scorer, Scores
from m2m.evaluate.streamed import score_streamed
from m2m.units import format_bytes

MODES = ("resident", "streamed")


@dataclass(frozen=True)
class Choice:
    """How candidates are scored.

    Attributes:
        mode: One of `MODES`.
        why: The reason, for people.
        ahead: Candidates a pass over the experts, where the mode is resident.
        memory: Bytes that may be used.
    """

    mode: str
    why: str
    ahead: int = 1
    memory: int = 0


def choose(base: Checkpoint, experts: int, memory: int, mode: str = "auto") -> Choice:
    """Choose by what fits: resident if base, experts and live module do, streamed if not.

    Experts are mapped, not copied, so a budget that the live module fits in is enough where resident is asked
    for; but then every pass reads them from the disk.

    Args:
        base: The base model.
        experts: Number of experts N.
        memory: Bytes that may be used.
        mode: `auto`, or one of `MODES`.

    Returns:
        The choice.

    Raises:
        ConfigError: If there is no such mode, or no mode fits.
    """
    if mode not in ("auto", *MODES):
        raise ConfigError(f"no mode {mode!r}; there are auto, {', '.join(MODES)}")
    size = sum(tensor.nbytes for tensor in base.tensors.values())
    files, one = (experts + 1) * size, 2 * size  # a live module, and the next candidate's weights
    used = one + (files if mode == "auto" else 0)
    what = f"base, {experts} experts, live module" if mode == "auto" else "live module"
    budget = f"the budget is {format_bytes(memory)}"
    if mode == "streamed" or (mode == "auto" and used > memory):
        return Choice(
            "streamed",
            f"whole models: {what} and a candidate take {format_bytes(used)}, the budget "
            f"is {format_bytes(memory)}",
            memory=memory,
        )
    if used > memory:
        why = f"{what} and a candidate take {format_bytes(used)}"
        raise ConfigError(f"not enough memory to hold whole models: {why}, {budget}")
    ahead = 1 + min(AHEAD - 1, (memory - used) // size if size else AHEAD)
    total = format_bytes(used + (ahead - 1) * size)
    return Choice("resident", f"{what} and {ahead} candidates a pass take {total}, {budget}", ahead)


def score_in_mode(
    choice: Choice,
    bench: Bench,
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    weights: ArrayLike,
    scorers: Sequence[Scorer],
    threads: int | None = None,
) -> Iterator[tuple[int, list[Scores]]]:
    """Score the merged model of every candidate the chosen way.

    Args:
        choice: The way.
        bench: Builds the module.
        base: The base model.
        experts: The experts by name, with the base's tensors. [N]
        weights: Merging weights, a row a candidate. [M, N]
        scorers: The tasks.
        threads: CPU threads of the merge; None for the kernel's own choice.

    Returns:
        Walks over (candidate number, one `Scores` a task).
    """
    if choice.mode == "streamed":
        done = score_streamed(
            bench.build, base, [*experts.values()], weights, scorers, memory=choice.memory, threads=threads
        )
        return iter(enumerate(done.scores))
    states = [mapped_state(expert) for expert in experts.values()]
    live = LiveModel(bench.build(), mapped_state(base), states, list(experts))
    return walk(live, checked_weights(weights, len(states)), scorers, threads, choice.ahead)
