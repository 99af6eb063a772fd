"""Principal angles against what is known, and against a whole singular value decomposition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from analysis.orthogonality import principal_cosines, subspace_angles, subspaces
from m2m.checkpoint import Checkpoint, save


def low_rank(rows: int, columns: int, values: list[float], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, len(values), generator=generator))[0]
    right = torch.linalg.qr(torch.randn(columns, len(values), generator=generator))[0]
    return left @ torch.diag(torch.tensor(values)) @ right.T


def write(tmp_path: Path, moves: list[Tensor]) -> list[Checkpoint]:
    base = torch.randn(moves[0].shape, generator=torch.Generator().manual_seed(9))
    for number, move in enumerate([torch.zeros_like(base), *moves]):
        save({"w": base + move, "bias": torch.zeros(4)}, tmp_path / str(number), {})
    return [Checkpoint(tmp_path / str(number)) for number in range(len(moves) + 1)]


def test_angles_of_known_planes() -> None:
    angle = 0.4
    first = torch.eye(5)[:, :2]
    second = torch.stack(
        [
            first[:, 0],
            torch.cos(torch.tensor(angle)) * first[:, 1]
            + torch.sin(torch.tensor(angle)) * torch.eye(5)[:, 4],
        ],
        1,
    )
    expected = torch.tensor([1.0, torch.cos(torch.tensor(angle))])
    torch.testing.assert_close(principal_cosines(first, second), expected)


@pytest.mark.parametrize("block", [2**22, 600])
def test_leading_directions_are_those_of_a_whole_decomposition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(subspaces, "_BLOCK", block)
    moves = [low_rank(70, 40, [8.0, 6.0, 5.0, 0.2, 0.1], seed) for seed in (1, 2)]
    base, *experts = write(tmp_path, moves)
    output, inputs = subspace_angles(base, experts, 3)
    assert (output.tensor, output.side, inputs.side, output.pair) == ("w", "output", "input", (0, 1))
    exact = [torch.linalg.svd((expert.read("w") - base.read("w")).double()) for expert in experts]
    for found, side, dimension in ((output, 0, 70), (inputs, 2, 40)):
        bases = [parts[0][:, :3] if side == 0 else parts[2][:3].T for parts in exact]
        wanted = torch.linalg.svdvals(bases[0].T @ bases[1])
        # The power steps leave (0.2 / 5)⁵ of the other directions, float32 more than that.
        torch.testing.assert_close(
            torch.tensor(found.cosines, dtype=torch.float64), wanted, atol=1e-5, rtol=0
        )
        assert found.overlap == pytest.approx(float(wanted.square().mean()), abs=1e-5)
        assert found.chance == 3 / dimension
    energy = min(float((parts[1][:3] ** 2).sum() / (parts[1] ** 2).sum()) for parts in exact)
    assert output.energy == pytest.approx(energy, rel=1e-5)


def test_the_same_update_has_no_angle_and_none_is_left_out(tmp_path: Path) -> None:
    move = low_rank(12, 9, [3.0, 2.0], 4)
    base, *experts = write(tmp_path, [move, 2 * move, torch.zeros(12, 9)])
    rows = list(subspace_angles(base, experts, 2))
    assert [row.pair for row in rows] == [(0, 1), (0, 1)]  # the third did not move
    assert all(row.overlap == pytest.approx(1, abs=1e-5) for row in rows)


def test_a_rank_beyond_the_matrix_is_all_of_it(tmp_path: Path) -> None:
    base, *experts = write(
        tmp_path, [torch.randn(6, 3, generator=torch.Generator().manual_seed(n)) for n in (1, 2)]
    )
    output, inputs = subspace_angles(base, experts, 50)
    assert (len(output.cosines), inputs.chance) == (3, 1.0)
    assert inputs.overlap == pytest.approx(1, abs=1e-5)
