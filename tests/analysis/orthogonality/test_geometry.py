"""Laws of Gram matrices, chance, rounding and anchors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.orthogonality import OrthogonalityStudy, anchor_effect, chance, correct, orthogonality
from analysis.orthogonality.geometry import Geometry, cosines, group, kind_of, layer_of, of_look
from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, InputError
from m2m.merging.look import look_at_task_vectors

SHAPES = {
    "embed.weight": (30, 8),
    "layers.0.q.weight": (8, 8),
    "layers.0.q.bias": (8,),
    "layers.1.q.weight": (8, 8),
}


def geometry_of(vectors: np.ndarray) -> Geometry:
    """What the engine finds in one tensor whose task vectors are the rows."""
    gram = vectors @ vectors.T
    nothing = np.zeros_like(gram)
    return Geometry(
        elements=vectors.shape[1],
        gram=gram,
        by_tensor=gram**2,
        tensors=1,
        squares=vectors**2 @ (vectors**2).T,
        largest=np.abs(vectors).max(1),
        same_sign=nothing,
        opposite_sign=nothing,
        base_square=1.0,
        base_noise=np.zeros_like(gram),
        expert_noise=np.zeros(len(vectors)),
        noise_square=np.zeros(len(vectors)),
    )


@st.composite
def task_vectors(draw: st.DrawFn) -> np.ndarray:
    n, p = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = rng.standard_normal((n, p)) * rng.choice([0.0, 1.0, 30.0], (n, 1), p=[0.2, 0.6, 0.2])
    return np.asarray(vectors)


@given(task_vectors(), st.floats(0.01, 100))
def test_cosines_know_directions_only(vectors: np.ndarray, factor: float) -> None:
    plain = geometry_of(vectors).cosine
    # Scaling rounds every product once more, and a sum of P terms is off by P roundings.
    bound = 4 * (vectors.shape[1] + 8) * 2.0**-53
    sizes = (
        np.abs(vectors)
        @ np.abs(vectors).T
        / np.maximum(np.outer(*[np.linalg.norm(vectors, axis=1)] * 2), 1e-300)
    )
    scaled = geometry_of(vectors * np.where(np.arange(len(vectors)) == 0, factor, 1)[:, None]).cosine
    assert np.all((np.abs(scaled - plain) <= bound * (1 + sizes)) | (np.isnan(scaled) & np.isnan(plain)))
    order = np.arange(len(vectors))[::-1]
    turned = geometry_of(vectors[order]).cosine
    np.testing.assert_allclose(
        turned, plain[np.ix_(order, order)], atol=float((bound * (1 + sizes)).max()), rtol=0
    )


@given(task_vectors())
def test_zero_vectors_have_no_direction(vectors: np.ndarray) -> None:
    geometry = geometry_of(vectors)
    zero = ~vectors.any(1)
    assert np.array_equal(np.isnan(geometry.cosine), zero[:, None] | zero[None, :])
    assert np.all(np.diag(geometry.cosine)[~zero] == 1)
    found = chance(geometry)
    assert found.z is not None
    off = ~np.eye(len(vectors), dtype=bool)
    assert not np.isnan(found.z[np.ix_(~zero, ~zero)][np.eye((~zero).sum()) == 0]).any()
    assert np.isnan(np.diag(found.z)).all()
    assert np.isnan(found.z[off & (zero[:, None] | zero[None, :])]).all()


def run_look(tmp_path: Path, n: int, dtype: torch.dtype = torch.float32) -> list[Checkpoint]:
    generator = torch.Generator().manual_seed(n)
    base = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    for number in range(n + 1):
        moved = {
            name: value
            if number == 0
            else (value + 0.1 * torch.randn(value.shape, generator=generator)).to(dtype)
            for name, value in base.items()
        }
        save(moved, tmp_path / str(number), {})
    return [Checkpoint(tmp_path / str(number)) for number in range(n + 1)]


def test_groups_are_sums_and_the_whole_is_exact(tmp_path: Path) -> None:
    base, *experts = run_look(tmp_path, 3)
    looks = {look.name: of_look(look) for look in look_at_task_vectors(base, experts)}
    groups = group(looks)
    assert list(groups["layer"]) == ["outside layers", "layers.0", "layers.1"]
    assert set(groups["kind"]) == {"embed.weight", "q.weight", "q.bias"}
    flat = torch.stack(
        [torch.cat([(e.read(name) - base.read(name)).flatten() for name in SHAPES]).double() for e in experts]
    ).numpy()
    whole = groups["whole"]["whole"]
    bound = whole.elements * 2.0**-53
    np.testing.assert_allclose(
        whole.gram, flat @ flat.T, atol=bound * float(np.max(np.abs(flat) @ np.abs(flat).T))
    )
    assert np.linalg.eigvalsh(whole.gram).min() > -bound * np.trace(whole.gram)
    for level in ("layer", "kind", "tensor"):
        total = sum(part.gram for part in groups[level].values())
        np.testing.assert_allclose(total, whole.gram, rtol=0, atol=bound * np.trace(whole.gram))
    energies = sum(part.gram**2 for part in groups["tensor"].values())
    np.testing.assert_allclose(whole.by_tensor, energies, rtol=1e-14)


def test_names_fall_into_layers_and_kinds() -> None:
    assert layer_of("model.layers.12.self_attn.q_proj.weight") == "model.layers.12"
    assert kind_of("model.layers.12.self_attn.q_proj.weight") == "self_attn.q_proj.weight"
    assert kind_of("model.layers.3.mlp.experts.17.up.weight") == "mlp.experts.*.up.weight"
    assert (layer_of("lm_head.weight"), kind_of("lm_head.weight")) == ("outside layers", "lm_head.weight")


def test_chance_is_the_spread_of_random_signs() -> None:
    rng = np.random.default_rng(0)
    loud = 1 + 3 * (np.arange(2000) < 100)  # both have much of their energy in the same few elements
    first, second = rng.standard_t(3, (2, 2000)) * loud
    found = chance(geometry_of(np.stack([first, second])))
    assert found.spread is not None
    assert found.dimension is not None
    signs = rng.choice([-1.0, 1.0], (4000, 2000))
    drawn = signs @ (first * second) / np.linalg.norm(first) / np.linalg.norm(second)
    # A standard deviation from 4000 draws is off by 1/√8000, four times that with a chance of 1 in 15 000.
    assert found.spread[0, 1] == pytest.approx(drawn.std(), rel=4 / np.sqrt(8000))
    assert found.dimension[0, 1] < 1000
    assert found.naive == 2000**-0.5
    flat = chance(geometry_of(np.sign(np.stack([first, second]))))
    assert flat.spread is not None
    assert flat.spread[0, 1] == pytest.approx(flat.naive)


def rounded(tmp_path: Path, size: float, cosine: float, *, base_too: bool) -> OrthogonalityStudy:
    """Two experts of a known cosine, stored in bfloat16; their base is exact in it, or rounded too."""
    generator = torch.Generator().manual_seed(1)

    def draw() -> torch.Tensor:
        return torch.randn(400_000, dtype=torch.float64, generator=generator)

    base, first, second = draw(), draw(), draw()
    if not base_too:
        base = base.bfloat16().double()
    moves = (first, cosine * first + (1 - cosine**2) ** 0.5 * second)
    for name, value in (("base", base), *((f"e{n}", base + size * move) for n, move in enumerate(moves))):
        save({"w": value.bfloat16()}, tmp_path / name, {})
    return orthogonality(tmp_path / "base", [tmp_path / "e0", tmp_path / "e1"])


@pytest.mark.parametrize("base_too", [False, True])
@pytest.mark.parametrize("cosine", [0.0, 0.3])
def test_rounding_is_taken_out(tmp_path: Path, cosine: float, base_too: bool) -> None:
    study = rounded(tmp_path, 0.005, cosine, base_too=base_too)
    found, true_norm = study.corrected, 0.005 * 400_000**0.5
    assert found is not None
    assert found.signal[0] > 8
    # The true cosine of 400 000 draws is within 4/√P of the one they were drawn with.
    slack = 4 / 400_000**0.5
    assert found.low[0, 1] - slack <= cosine <= found.high[0, 1] + slack
    if base_too and cosine == 0:
        assert study.whole.cosine[0, 1] > 0.08  # a shared base error looks like agreement
    if not base_too and cosine:
        assert study.whole.cosine[0, 1] < 0.28  # rounding of experts attenuates
        assert found.cosine[0, 1] == pytest.approx(cosine, abs=0.01)
    assert found.norms_low[0] * 0.99 <= true_norm <= found.norms_high[0] * 1.01
    assert study.warnings == []


def test_below_the_noise_nothing_is_claimed(tmp_path: Path) -> None:
    study = rounded(tmp_path, 0.0005, 0.3, base_too=True)
    assert study.corrected is not None
    assert np.isnan(study.corrected.cosine).all()
    assert "80% of its task vector is exactly zero" in study.warnings[0]
    assert "times the rounding noise, below 8" in study.warnings[-1]


def test_float32_needs_no_correction(tmp_path: Path) -> None:
    base, *experts = run_look(tmp_path, 2)
    study = orthogonality(base.path, [expert.path for expert in experts])
    assert study.corrected is not None
    assert study.corrected.cosine[0, 1] == pytest.approx(study.whole.cosine[0, 1], abs=1e-6)
    assert study.corrected.high[0, 1] - study.corrected.low[0, 1] < 1e-5
    finer = correct(of_look(look_at_task_vectors(*_mixed(tmp_path))[0]))
    assert finer is not None
    # A float32 expert of a bfloat16 base: only the base's rounding can matter.
    assert finer.norms[0] == pytest.approx(finer.norms_high[0], rel=1e-6)
    assert finer.norms_low[0] < finer.norms_high[0]


def _mixed(tmp_path: Path) -> tuple[Checkpoint, list[Checkpoint]]:
    base = torch.randn(5000, generator=torch.Generator().manual_seed(3))
    save({"w": base.bfloat16()}, tmp_path / "low", {})
    save({"w": base.bfloat16().float() + 0.1}, tmp_path / "high", {})
    return Checkpoint(tmp_path / "low"), [Checkpoint(tmp_path / "high")]


def test_one_expert_and_unmoved_experts(tmp_path: Path) -> None:
    base, expert = run_look(tmp_path, 1)
    alone = orthogonality(base.path, [expert.path])
    assert alone.whole.cosine.tolist() == [[1.0]]
    assert alone.chance.largest_spread is None
    both = orthogonality(base.path, [expert.path, base.path], names=["moved", "unmoved"])
    assert np.isnan(both.whole.cosine[0, 1])
    assert both.whole.norms[1] == 0
    assert both.warnings == ["unmoved: equal to the base, so there is no direction to compare"]


def test_another_base_is_suspected(tmp_path: Path) -> None:
    _, *experts = run_look(tmp_path / "one", 2)
    other, *_ = run_look(tmp_path / "two", 3)
    study = orthogonality(other.path, [expert.path for expert in experts])
    assert "all task vectors point the same way (least cosine 0.99" in study.warnings[0]
    assert "is it an expert of another?" in study.warnings[1]


def test_configurations_are_compared(tmp_path: Path) -> None:
    base, expert = run_look(tmp_path, 1)
    (base.path / "config.json").write_text('{"rope_theta": 1e4, "torch_dtype": "bfloat16"}')
    (expert.path / "config.json").write_text('{"rope_theta": 5e5, "torch_dtype": "float32"}')
    study = orthogonality(base.path, [expert.path])
    assert ["rope_theta is 500000.0 (there 10000.0)" in warning for warning in study.warnings] == [True]
    (expert.path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is not a model's configuration: not JSON"):
        orthogonality(base.path, [expert.path])


@given(task_vectors(), st.floats(0.2, 1))
def test_anchors_are_linear(vectors: np.ndarray, share: float) -> None:
    n = len(vectors)
    rows = share * np.eye(n) + (1 - share) / n
    effect = anchor_effect(vectors @ vectors.T, rows @ vectors @ (rows @ vectors).T, share)
    # What is zero stays zero only up to rounding, which has a direction of its own.
    moved = vectors.any(1)
    both = np.outer(moved, moved)
    np.testing.assert_allclose(effect.predicted[both], effect.anchored[both], atol=1e-9)
    np.testing.assert_allclose(effect.removed[both], effect.plain[both], atol=1e-9)


def test_a_share_is_a_share() -> None:
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="above 0 and at most 1"):
            anchor_effect(np.eye(2), np.eye(2), share)
    assert np.isnan(cosines(np.zeros((2, 2)))).all()
