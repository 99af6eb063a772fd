"""Frozen tensors, tensors stored twice, and one expert under two names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.orthogonality import OrthogonalityStudy, orthogonality
from m2m.checkpoint import save

State = dict[str, torch.Tensor]


def study_of(folder: Path, base: State, experts: list[State]) -> OrthogonalityStudy:
    for number, state in enumerate([base, *experts]):
        save({name: value.clone() for name, value in state.items()}, folder / f"m{number}")
    return orthogonality(folder / "m0", [folder / f"m{number + 1}" for number in range(len(experts))])


def trained(base: State, names: tuple[str, ...], seed: int, size: float = 0.02) -> State:
    """Add noise to some tensors; the others stay frozen."""
    generator = torch.Generator().manual_seed(seed)
    moves = {name: size * torch.randn(base[name].shape, generator=generator) for name in names}
    return base | {name: (base[name].float() + move).to(base[name].dtype) for name, move in moves.items()}


def half_trained(dtype: torch.dtype) -> tuple[State, list[State]]:
    generator = torch.Generator().manual_seed(0)
    sizes = {"embed": (1000, 40, 1.0), "layers.0.w": (60, 60, 0.05), "layers.1.w": (60, 60, 0.05)}
    base = {n: (size * torch.randn(a, b, generator=generator)).to(dtype) for n, (a, b, size) in sizes.items()}
    return base, [trained(base, ("layers.0.w", "layers.1.w"), seed, 0.002) for seed in (1, 2)]


def test_frozen_tensors_bring_no_rounding(tmp_path: Path) -> None:
    base, experts = half_trained(torch.bfloat16)
    study = study_of(tmp_path / "all", base, experts)
    alone = [{name: state[name] for name in ("layers.0.w", "layers.1.w")} for state in (base, *experts)]
    wanted = study_of(tmp_path / "trained", alone[0], alone[1:])
    found, without = study.corrected, wanted.corrected
    assert found is not None
    assert without is not None
    # The frozen embedding is 85 % of the elements; its roundings are three times the two layers' energy.
    assert np.isfinite(found.norms).all()
    for name in ("norms", "norms_low", "norms_high", "cosine", "low", "high", "signal"):
        np.testing.assert_allclose(getattr(found, name), getattr(without, name), rtol=1e-12)
    assert study.warnings == wanted.warnings == []


def test_each_expert_has_its_own_frozen_tensors(tmp_path: Path) -> None:
    base, [first, _] = half_trained(torch.bfloat16)
    second = trained(base, ("layers.1.w",), 2, 0.002)
    study = study_of(tmp_path, base, [first, second])
    one, other = study.groups["tensor"]["layers.0.w"], study.groups["tensor"]["layers.1.w"]
    assert one.base_noise is not None
    assert other.base_noise is not None
    assert (one.base_noise > 0).tolist() == [[True, False], [False, False]]
    assert (other.base_noise > 0).all()
    assert study.whole.moved is not None
    assert study.whole.moved.tolist() == [7200, 3600]


def test_tied_weights_count_once(tmp_path: Path) -> None:
    base, experts = half_trained(torch.float32)
    base["norm"] = base["other_norm"] = torch.ones(40)  # equal and frozen, yet not tied
    experts = [trained(base | expert, ("embed",), seed) for seed, expert in enumerate(experts, 5)]
    once = study_of(tmp_path / "once", base, experts)
    with_head = [{**state, "head": state["embed"]} for state in (base, *experts)]
    twice = study_of(tmp_path / "twice", with_head[0], with_head[1:])
    assert twice.warnings == ["head is embed once more, and counted once"]
    assert once.warnings == []
    np.testing.assert_array_equal(twice.whole.gram, once.whole.gram)
    assert twice.whole.elements == once.whole.elements == 47_280
    # An output head that was trained on its own is no copy.
    apart = [{**e, "head": e["embed"] + seed} for seed, e in enumerate(experts)]
    assert study_of(tmp_path / "apart", {**base, "head": base["embed"]}, apart).whole.elements == 87_280


def test_one_expert_under_two_names_is_said(tmp_path: Path) -> None:
    base, [first, second] = half_trained(torch.bfloat16)
    study = study_of(tmp_path, base, [first, second, first])
    assert study.warnings == [
        "m1 and m3: their task vectors are equal, so they are one expert under two names"
    ]
    assert study.whole.cosine[0, 2] == pytest.approx(1, abs=1e-15)
