"""Measure how experts' task vectors lie to each other, from their checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from analysis.orthogonality.anchors import AnchorEffect, anchor_effect, anchor_matrix
from analysis.orthogonality.chance import Chance, chance
from analysis.orthogonality.geometry import Geometry, of_adapters, of_look, together
from analysis.orthogonality.grouping import Level, group
from analysis.orthogonality.rounding import Corrected, correct
from analysis.orthogonality.subspaces import Angles, subspace_angles
from analysis.orthogonality.suspicion import config_differences, suspicions
from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError, InputError
from m2m.merging.look import look_at_task_vectors
from m2m.merging.lora import Adapter, is_adapter
from m2m.merging.lora.gram import lora_gram
from m2m.support.progress import Progress


@dataclass(frozen=True)
class Study:
    """How N task vectors lie to each other.

    Attributes:
        base: The base model.
        experts: Names of the experts. [N]
        groups: Sums by level (`whole`, `layer`, `kind`, `tensor`) and name.
        warnings: Why numbers may not mean what they seem to.
        rank: Dimensions of the subspaces that were compared; 0 for none.
        angles: How those lie to each other.
        anchors: The effect of shared training data, where anchored experts were given.
        seed: Seed of the random starts.
    """

    base: Path
    experts: tuple[str, ...]
    groups: dict[Level, dict[str, Geometry]]
    warnings: list[str]
    rank: int = 0
    angles: list[Angles] = field(default_factory=list)
    anchors: AnchorEffect | None = None
    seed: int = 0

    @property
    def whole(self) -> Geometry:
        """Sums over the whole model."""
        return self.groups["whole"]["whole"]

    @property
    def chance(self) -> Chance:
        """What cosines chance alone would give the whole model."""
        return chance(self.whole)

    @property
    def corrected(self) -> Corrected | None:
        """The whole model's norms and cosines without rounding noise."""
        return correct(self.whole)


def orthogonality(
    base: str | Path,
    experts: Sequence[str | Path],
    *,
    names: Sequence[str] | None = None,
    rank: int = 0,
    anchored: Sequence[str | Path] = (),
    share: float | None = None,
    memory: str | int = "256MiB",
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Study:
    """Measure cosines, norms, signs and, if wanted, subspaces of experts' task vectors.

    The files are read once, in bounded memory; subspaces read matrices several times more.

    Args:
        base: Checkpoint of the base model.
        experts: Checkpoints of the experts, or LoRA adapters of the base. [N]
        names: What to call them; the last parts of their paths when not given. [N]
        rank: Dimensions of the subspaces of each matrix to compare; 0 for none.
        anchored: Experts of the same datasets trained partly on common data, in the same order. [N] or empty
        share: β, what of its own data each of those was trained on.
        memory: Most memory that reading may add to what the process holds.
        threads: Workers; as many as there are usable cores when not given.
        seed: Seed of the random starts of subspaces.
        progress: Is told bytes looked at, bytes in all and what is going on.

    Returns:
        The study.

    Raises:
        CheckpointError: If a checkpoint is malformed, changes meanwhile or does not hold the base's tensors,
            or adapters and whole models are mixed.
        InputError: If options do not fit each other.
    """  # noqa: DOC502 - raised by what is called
    paths = [Path(path) for path in experts]
    called = tuple(names or _names(paths))
    _check(paths, called, rank, anchored, share)
    lora = [is_adapter(path) for path in [*paths, *anchored]]
    if any(lora) and (not all(lora) or rank):
        where = next(path for path, is_lora in zip([*paths, *anchored], lora, strict=True) if is_lora)
        what = "subspaces are of whole checkpoints" if all(lora) else "the others are whole checkpoints"
        raise CheckpointError(f"{where}: is an adapter, {what}; write the adapted model first (passthrough)")
    opened = Checkpoint(base)
    used: list[Checkpoint | Adapter] = [opened]
    warnings: list[str] = []

    def sums(models: Sequence[str | Path]) -> dict[str, Geometry]:
        if all(lora):
            adapters = [Adapter(path) for path in models]
            used.extend(adapters)
            return _of_adapters(adapters)
        checkpoints = [Checkpoint(path) for path in models]
        used.extend(checkpoints)
        looks = look_at_task_vectors(opened, checkpoints, memory=memory, threads=threads, progress=progress)
        warnings.extend(config_differences(opened, checkpoints))
        return {look.name: of_look(look) for look in looks}

    groups = group(sums(paths))
    whole = groups["whole"]["whole"]
    warnings += suspicions(called, whole, correct(whole))
    effect = None
    if share is not None:
        effect = anchor_effect(whole.gram, together(sums(list(anchored)).values()).gram, share)
    angles = (
        list(subspace_angles(opened, [Checkpoint(path) for path in paths], rank, seed=seed)) if rank else []
    )
    for model in used:
        model.check_unchanged()
    return Study(opened.path, called, groups, warnings, rank, angles, effect, seed)


def _check(
    paths: Sequence[Path],
    names: Sequence[str],
    rank: int,
    anchored: Sequence[str | Path],
    share: float | None,
) -> None:
    if not paths:
        raise InputError("no experts: name at least one checkpoint")
    if len(names) != len(paths) or len(set(names)) != len(names):
        raise InputError(f"{len(paths)} experts need as many different names, got {list(names)}")
    if rank < 0:
        raise InputError(f"subspaces need a rank of at least 1 (0 for none), got {rank}")
    if bool(anchored) != (share is not None):
        raise InputError("anchored experts and their own share go together: give both or neither")
    if anchored and len(anchored) != len(paths):
        raise InputError(f"{len(anchored)} anchored experts for {len(paths)} plain ones; wanted one for each")
    if share is not None:
        anchor_matrix(len(paths), share)


def _names(paths: Sequence[Path]) -> list[str]:
    short = [PurePath(path).name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _of_adapters(adapters: Sequence[Adapter]) -> dict[str, Geometry]:
    elements = {
        module: factors.b.shape[0] * factors.a.shape[1]
        for adapter in adapters
        for module, factors in adapter.factors.items()
    }
    return of_adapters(lora_gram(adapters), elements)
