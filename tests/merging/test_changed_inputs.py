"""Inputs that are written to while they are merged: refused by name, no crash, nothing stays behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from merge_cases import make_recipe, make_states, write_models

from m2m.errors import CheckpointError
from m2m.merging import merge
from m2m.merging.pass_run import PassRun

SHAPES = {"embed": (40, 400), "layers.0.w": (300, 300)}
#: Methods that look at tensors before they write them, with what they need.
LOOKING: dict[str, dict[str, list[Any]]] = {
    "ties": {"weight": [0.5, 0.25], "density": [0.5, 0.3]},
    "breadcrumbs": {"weight": [0.5, 0.25], "density": [0.6, 0.5], "gamma": [0.05, 0.1]},
    "breadcrumbs_ties": {"weight": [0.5, 0.25], "density": [0.6, 0.5], "gamma": [0.05, 0.1]},
    "sce": {},
    "arcee_fusion": {},
}
SHARED = {"sce": {"select_topk": 0.5}}


def rewrite(folder: str, fill: float) -> None:
    file = Path(folder, "model.safetensors")
    content = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    values = torch.full(((len(content) - start) // 4,), fill)
    content[start : start + 4 * len(values)] = values.numpy().tobytes()
    with file.open("r+b") as opened:
        opened.write(content)


def after_pass(monkeypatch: pytest.MonkeyPatch, number: int, change: Any) -> None:
    """Do something once a merge's pass of this number has ended."""
    run, passes = PassRun.__call__, iter(range(1, 1000))

    def wrapped(self: PassRun, *args: Any) -> None:
        run(self, *args)
        if next(passes) == number:
            change()

    monkeypatch.setattr(PassRun, "__call__", wrapped)


@pytest.mark.parametrize("method", LOOKING)
@pytest.mark.parametrize("fill", [1.0, 0.0])
@pytest.mark.parametrize("threads", [1, 3])
def test_looks_that_differ_end_the_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, fill: float, threads: int
) -> None:
    experts = 1 if method == "arcee_fusion" else 2
    paths = write_models(make_states(SHAPES, experts, [torch.float32], 3), tmp_path)
    recipe = make_recipe(method, paths, base=True, shared=SHARED.get(method, {}), each=LOOKING[method])
    after_pass(monkeypatch, 1, lambda: rewrite(paths[1], fill))
    with pytest.raises(CheckpointError, match=r"m1/model\.safetensors.*changed while it was used") as raised:
        merge(recipe, tmp_path / "out", threads=threads)
    assert raised.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(path).name for path in paths]
