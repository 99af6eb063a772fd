"""How experts' task vectors lie to each other, measured from their checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from analysis.orthogonality.confounders import (
    AnchorEffect,
    Chance,
    Corrected,
    anchor_effect,
    anchor_matrix,
    chance,
    correct,
)
from analysis.orthogonality.geometry import Geometry, Level, group, of_adapters, of_look, together
from analysis.orthogonality.subspaces import Angles, subspace_angles
from analysis.orthogonality.suspicion import counted_twice, suspicions
from analysis.results import Reasons
from m2m.checkpoint import Checkpoint, verify
from m2m.checkpoint.differences import differences
from m2m.errors import CheckpointError, InputError
from m2m.merging.look import look_at_task_vectors
from m2m.merging.lora import Adapter, is_adapter
from m2m.merging.lora.gram import lora_gram
from m2m.mixture import Mixture
from m2m.pipeline.run_folder import RunFolder
from m2m.support.arrays import Floats
from m2m.support.progress import Progress

NAME = "orthogonality"
_ZERO = "a task vector is zero"
_ADAPTERS = "factors of adapters do not tell it"
_CHANCE = f"{_ZERO}, or {_ADAPTERS}; nothing is tested of a task vector and itself"
_NOISE = f"rounding to the stored type hides it, or {_ADAPTERS}"
#: Why a number may not be there.
REASONS: Reasons = {
    "cosine": _ZERO,
    "plain": _ZERO,
    "anchored": _ZERO,
    "predicted": _ZERO,
    "removed": _ZERO,
    "spread_of_equal_elements": "there are no elements",
    "spread": _CHANCE,
    "chance_spread": _CHANCE,
    "dimension": _CHANCE,
    "z": _CHANCE,
    "z_by_tensor": f"{_ZERO}; nothing is tested of a task vector and itself",
    "corrected": _NOISE,
    "norms": _NOISE,
    "norms_low": _NOISE,
    "norms_high": _NOISE,
    "norm_corrected": _NOISE,
    "norm_low": _NOISE,
    "norm_high": _NOISE,
    "low": _NOISE,
    "high": _NOISE,
    "corrected_low": _NOISE,
    "corrected_high": _NOISE,
    "signal": f"the stored types round nothing, the task vector is zero, or {_ADAPTERS}",
    "norm_ratio": f"the base is zero, or {_ADAPTERS}",
    "largest": _ADAPTERS,
    "zeros": f"there are no elements, or {_ADAPTERS}",
    "sign_agreement": f"no element moved in both, or {_ADAPTERS}",
    "subspaces": "subspaces were not asked for, or no matrix moved in two experts",
    "anchors": "no anchored experts were given",
}


@dataclass(frozen=True)
class OrthogonalityStudy:
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
) -> OrthogonalityStudy:
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
        progress: Called with (bytes looked at, bytes in all, what is going on).

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
        warnings.extend(line for model in checkpoints for line in differences(opened, model))
        twice = counted_twice(looks)
        warnings.extend(f"{name} is {kept} once more, and counted once" for name, kept in twice.items())
        return {look.name: of_look(look) for look in looks if look.name not in twice}

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
    said = list(dict.fromkeys(warnings))
    return OrthogonalityStudy(opened.path, called, groups, said, rank, angles, effect, seed)


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


def of_run(
    root: str | Path,
    *,
    rank: int = 0,
    memory: str | int = "256MiB",
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> OrthogonalityStudy:
    """Measure the experts of a run's first training seed.

    Args:
        root: The run folder; the run must have finished.
        rank: Dimensions of the subspaces of each matrix to compare; 0 for none.
        memory: Most memory that reading may add to what the process holds.
        threads: Workers; as many as there are usable cores when not given.
        seed: Seed of the random starts of subspaces.
        progress: Called with (bytes looked at, bytes in all, what is going on).

    Returns:
        The study.

    Raises:
        InputError: If the folder is not a finished run.
        CheckpointError: If the base or an expert is not what its manifest says it was when it was written.
    """  # noqa: DOC502 - raised by what is called
    folder = RunFolder(Path(root))
    results = folder.read_results("datasets", "seed")
    if not results or not folder.base.exists():
        raise InputError(f"{root} is not a finished run folder: it has no {folder.results.name} or no base")
    names = results["datasets"]
    experts = [folder.model(Mixture.subset(names, [name]), results["seed"]) for name in names]
    for model in (folder.base, *experts):
        verify(model)
    return orthogonality(
        folder.base,
        experts,
        names=names,
        rank=rank,
        memory=memory,
        threads=threads,
        seed=seed,
        progress=progress,
    )


def to_json(study: OrthogonalityStudy) -> dict[str, Any]:
    """Lay the whole model's numbers out for JSON, in the order of `experts`; null if not defined."""
    whole, by_chance, corrected = study.whole, study.chance, study.corrected
    return {
        "base": study.base.name,
        "experts": study.experts,
        "warnings": study.warnings,
        "elements": whole.elements,
        "gram": whole.gram,
        "cosine": whole.cosine,
        "chance": {
            "spread_of_equal_elements": by_chance.naive,
            "spread": by_chance.spread,
            "dimension": by_chance.dimension,
            "z": by_chance.z,
            "z_by_tensor": by_chance.by_tensor,
        },
        "corrected": None if corrected is None else vars(corrected),
        "norms": whole.norms,
        "norm_ratio": whole.norm_ratio,
        "largest": whole.largest,
        "zeros": whole.zeros,
        "sign_agreement": whole.sign_agreement,
        "subspaces": _subspaces(study),
        "anchors": None if study.anchors is None else asdict(study.anchors),
    }


def to_tables(study: OrthogonalityStudy) -> dict[str, pd.DataFrame]:
    """Lay out a row a pair of experts and a group, a row an expert and a group, and subspaces if any."""
    groups = [
        (level, name, geometry) for level, named in study.groups.items() for name, geometry in named.items()
    ]
    pairs = [row for key in groups for row in _pair_rows(study, *key)]
    experts = [row for key in groups for row in _expert_rows(study, *key)]
    columns = ["level", "group", "a", "b", "cosine"]
    tables = {
        "": pd.DataFrame(pairs, columns=None if pairs else columns),
        "experts": pd.DataFrame(experts),
    }
    if study.angles:
        tables["subspaces"] = pd.DataFrame(_angle_rows(study))
    return tables


def _pair_rows(
    study: OrthogonalityStudy, level: str, name: str, geometry: Geometry
) -> Iterator[dict[str, Any]]:
    by_chance, corrected = chance(geometry), correct(geometry)
    cosine, signs = geometry.cosine, geometry.sign_agreement
    for i, j in combinations(range(len(study.experts)), 2):
        yield {
            "level": level,
            "group": name,
            "a": study.experts[i],
            "b": study.experts[j],
            "elements": geometry.elements,
            "product": geometry.gram[i, j],
            "cosine": cosine[i, j],
            "corrected": _at(getattr(corrected, "cosine", None), i, j),
            "corrected_low": _at(getattr(corrected, "low", None), i, j),
            "corrected_high": _at(getattr(corrected, "high", None), i, j),
            "chance_spread": _at(by_chance.spread, i, j),
            "dimension": _at(by_chance.dimension, i, j),
            "z": _at(by_chance.z, i, j),
            "z_by_tensor": by_chance.by_tensor[i, j],
            "sign_agreement": _at(signs, i, j),
        }


def _expert_rows(
    study: OrthogonalityStudy, level: str, name: str, geometry: Geometry
) -> Iterator[dict[str, Any]]:
    corrected = correct(geometry)
    for n, expert in enumerate(study.experts):
        yield {
            "level": level,
            "group": name,
            "expert": expert,
            "elements": geometry.elements,
            "norm": geometry.norms[n],
            "norm_corrected": _at(getattr(corrected, "norms", None), n),
            "norm_low": _at(getattr(corrected, "norms_low", None), n),
            "norm_high": _at(getattr(corrected, "norms_high", None), n),
            "norm_ratio": _at(geometry.norm_ratio, n),
            "largest": _at(geometry.largest, n),
            "zeros": _at(geometry.zeros, n),
            "signal": _at(getattr(corrected, "signal", None), n),
        }


def _angle_rows(study: OrthogonalityStudy) -> list[dict[str, Any]]:
    return [
        {
            "tensor": angles.tensor,
            "side": angles.side,
            "a": study.experts[angles.pair[0]],
            "b": study.experts[angles.pair[1]],
            "rank": len(angles.cosines),
            "overlap": angles.overlap,
            "chance": angles.chance,
            "largest_cosine": angles.cosines[0],
            "energy": angles.energy,
        }
        for angles in study.angles
    ]


def _subspaces(study: OrthogonalityStudy) -> dict[str, Any] | None:
    if not study.angles:
        return None
    sides = {side: [row for row in study.angles if row.side == side] for side in ("output", "input")}
    return {"rank": study.rank} | {
        side: {
            "matrices": len({row.tensor for row in rows}),
            "mean_overlap": sum(row.overlap for row in rows) / len(rows),
            "mean_chance": sum(row.chance for row in rows) / len(rows),
        }
        for side, rows in sides.items()
    }


def _at(values: Floats | None, *index: int) -> float | None:
    return None if values is None else float(values[index])
