"""Inputs that are written to while they are merged: refused by name, no crash, nothing stays behind."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.lora_files import factors, save_adapter
from helpers.merge_cases import make_recipe, make_states, write_models

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, RunFolderError
from m2m.merging import look, merge
from m2m.merging.methods import METHODS
from m2m.merging.stream import execute
from m2m.merging.stream.passes import PassRun

SHAPES = {"embed": (40, 400), "layers.0.w": (300, 300)}
TRIMMED: dict[str, list[Any]] = {"weight": [0.5, 0.25], "density": [0.6, 0.5]}
#: What each method is given: shared parameters, and those of each expert.
PARAMETERS: dict[str, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    **dict.fromkeys(("ties", "dare_linear", "dare_ties"), ({}, TRIMMED)),
    **dict.fromkeys(("breadcrumbs", "breadcrumbs_ties"), ({"gamma": 0.05}, TRIMMED)),
    **dict.fromkeys(("della", "della_linear"), ({"epsilon": 0.1}, TRIMMED)),
    **dict.fromkeys(("karcher", "model_stock", "arcee_fusion"), ({}, {})),
    "sce": ({"select_topk": 0.5}, {}),
    "slerp": ({"t": 0.3}, {}),
    "nearswap": ({"t": 0.03}, {}),
    **dict.fromkeys(("linear", "task_arithmetic", "nuslerp", "multislerp"), ({}, {"weight": [0.5, 0.25]})),
}
#: Methods that pass more than once over these tensors.
LOOKING = (
    *("ties", "breadcrumbs", "breadcrumbs_ties", "sce", "arcee_fusion"),
    *("slerp", "karcher", "multislerp", "model_stock"),
)
ONE_EXPERT = ("slerp", "nearswap", "arcee_fusion")
#: More than what file systems count time in.
TICK_S = 0.02


def write_case(method: str, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Write models and their recipe."""
    shared, each = PARAMETERS[method]
    states = make_states(SHAPES, 1 if method in ONE_EXPERT else 2, [torch.float32], 3)
    paths = write_models(states, folder)
    base = METHODS[method].base != "ignored"
    time.sleep(TICK_S)
    return make_recipe(method, paths, base=base, shared=shared, each=each), paths


def rewrite(folder: str, fill: float) -> None:
    """Write other weights over a model's, as another program would."""
    file = Path(folder, "model.safetensors")
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    values = torch.full(((len(content) - start) // 4,), fill)
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(values.numpy().tobytes())


def after_pass(
    monkeypatch: pytest.MonkeyPatch, number: int, change: Callable[[], object], where: ModuleType = execute
) -> None:
    """Do something once a merge's pass of this number has ended; looks before the merge are none of its."""
    passes = iter(range(1, 1000))

    class Watched(PassRun):
        def __call__(self, *args: Any) -> None:
            super().__call__(*args)
            if next(passes) == number:
                change()

    monkeypatch.setattr(where, "PassRun", Watched)


@pytest.mark.parametrize("fill", [1.0, 0.0])
@pytest.mark.parametrize(
    ("method", "number", "threads"),
    [(method, 1, threads) for method in PARAMETERS for threads in (1, 3)]
    + [(method, 2, 2) for method in PARAMETERS if method in LOOKING],
)
def test_an_expert_that_changes_after_a_pass_ends_the_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, fill: float, number: int, threads: int
) -> None:
    recipe, paths = write_case(method, tmp_path)
    changed = []
    after_pass(monkeypatch, number, lambda: changed.append(rewrite(paths[1], fill)))
    with pytest.raises(CheckpointError, match=r"m1/model\.safetensors: changed while it was used") as raised:
        merge(recipe, tmp_path / "out", threads=threads)
    assert changed
    assert raised.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(path).name for path in paths]


def restore_times(folder: str) -> None:
    file = Path(folder, "model.safetensors")
    before = file.stat()
    rewrite(folder, 1.0)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[str], object]] = {
    "times restored": restore_times,
    "replaced": lambda folder: shutil.copy(Path(folder, "model.safetensors"), Path(folder, "new")).replace(
        Path(folder, "model.safetensors")
    ),
    "removed": lambda folder: Path(folder, "model.safetensors").unlink(),
    "config": lambda folder: Path(folder, "config.json").write_text('{"other": 1}'),
}


@pytest.mark.parametrize("how", CHANGES)
def test_any_change_of_an_input_is_found_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    recipe, paths = write_case("task_arithmetic", tmp_path)
    for path in paths:
        Path(path, "config.json").write_text("{}")
    time.sleep(TICK_S)
    after_pass(monkeypatch, 1, lambda: CHANGES[how](paths[0]))
    with pytest.raises(CheckpointError, match=r"m0/(model\.safetensors|config\.json): changed while"):
        merge(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.merging").exists()


def test_an_index_that_changes_is_found_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_models(make_states(SHAPES, 2, [torch.float32], 3), tmp_path, shard_size=100_000)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.5, 0.5]})
    index = Path(paths[2], "model.safetensors.index.json")
    time.sleep(TICK_S)
    after_pass(monkeypatch, 1, lambda: index.write_text(index.read_text() + " "))
    with pytest.raises(CheckpointError, match=r"m2/model\.safetensors\.index\.json: changed while"):
        merge(recipe, tmp_path / "out")


def test_links_and_permissions_of_inputs_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, paths = write_case("ties", tmp_path)

    def change() -> None:
        file = Path(paths[1], "model.safetensors")
        (tmp_path / "link").hardlink_to(file)
        file.chmod(0o400)

    after_pass(monkeypatch, 1, change)
    merge(recipe, tmp_path / "out")
    assert Checkpoint(tmp_path / "out").names


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("as_adapter", [False, True])
def test_adapters_that_change_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, as_adapter: bool
) -> None:
    from m2m.merging import as_adapter as write

    save({"layers.0.w.weight": torch.randn(30, 20)}, tmp_path / "base")
    experts = [save_adapter(tmp_path / f"a{n}", factors("layers.0.w", 30, 20, 4, n)) for n in range(2)]
    models = [{"model": str(path), "parameters": {"weight": 0.5}} for path in experts]
    recipe = {"merge_method": "task_arithmetic", "base_model": str(tmp_path / "base"), "models": models}
    time.sleep(TICK_S)

    def change() -> None:
        file = experts[1] / name
        file.write_bytes(file.read_bytes())

    if as_adapter:
        join = write.join_adapters
        monkeypatch.setattr(write, "join_adapters", lambda *args: (join(*args), change())[0])
    else:
        after_pass(monkeypatch, 1, change)
    with pytest.raises(CheckpointError, match=f"a1/{name}: changed while it was used"):
        merge(recipe, tmp_path / "out", as_adapter=as_adapter)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a0", "a1", "base"]


def test_fisher_estimates_that_change_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = make_states(SHAPES, 2, [torch.float32], 3)
    paths = write_models(states, tmp_path)
    estimates = {name: tensor.abs() for name, tensor in states[0].items() if name != "ids"}
    fishers = [str(save(estimates, tmp_path / f"f{n}")) for n in range(2)]
    recipe = make_recipe("fisher", paths, base=False, shared={}, each={"fisher": fishers})
    time.sleep(TICK_S)
    after_pass(monkeypatch, 1, lambda: rewrite(fishers[1], 1.0))
    with pytest.raises(CheckpointError, match=r"f1/model\.safetensors: changed while it was used"):
        merge(recipe, tmp_path / "out")


def test_a_look_at_task_vectors_is_at_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, paths = write_case("linear", tmp_path)
    models = [Checkpoint(path) for path in paths]
    after_pass(monkeypatch, 1, lambda: rewrite(paths[2], 1.0), where=look)
    with pytest.raises(CheckpointError, match=r"m2/model\.safetensors: changed while it was used"):
        look.look_at_task_vectors(models[0], models[1:])


class StopError(Exception):
    """Ends a merge as a signal would."""


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    """A merge that was stopped once everything but the last step was done."""
    recipe, paths = write_case("linear", tmp_path)

    def stop() -> None:
        raise StopError

    with monkeypatch.context() as patch:
        after_pass(patch, 1, stop)
        with pytest.raises(StopError):
            merge(recipe, tmp_path / "out")
    journal = json.loads((tmp_path / ".out.merging" / "journal.json").read_bytes())
    assert journal["tensor"] > 0
    time.sleep(TICK_S)
    return recipe, paths


def test_a_resumed_merge_sees_what_kept_its_size_and_time(
    tmp_path: Path, begun: tuple[dict[str, Any], list[str]]
) -> None:
    recipe, paths = begun
    for path in paths[1:]:
        restore_times(path)
    with pytest.raises(
        CheckpointError, match=r"m1/.*: changed since the merge was begun; run without resume"
    ):
        merge(recipe, tmp_path / "out", resume=True)
    assert (tmp_path / ".out.merging" / "result").is_dir()  # the user decides
    assert merge(recipe, tmp_path / "out").resumed_bytes == 0


def test_a_resumed_merge_does_not_mind_links_and_permissions(
    tmp_path: Path, begun: tuple[dict[str, Any], list[str]]
) -> None:
    recipe, paths = begun
    Path(paths[1], "model.safetensors").chmod(0o400)
    (tmp_path / "link").hardlink_to(Path(paths[2], "model.safetensors"))
    assert merge(recipe, tmp_path / "out", resume=True).resumed_bytes > 0


@pytest.mark.parametrize("content", [None, "", "[]", '{"a": 1}', '{"a": [1, 2]}'])
def test_a_work_folder_that_does_not_tell_its_inputs_is_begun_anew(
    tmp_path: Path,
    begun: tuple[dict[str, Any], list[str]],
    content: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe, _ = begun
    inputs = tmp_path / ".out.merging" / "inputs.json"
    inputs.unlink() if content is None else inputs.write_text(content)
    assert merge(recipe, tmp_path / "out", resume=True).resumed_bytes == 0
    assert "does not tell the inputs it was begun with; the merge starts over" in caplog.text


def test_a_complete_merge_of_other_inputs_is_not_taken_for_this_one(tmp_path: Path) -> None:
    recipe, paths = write_case("linear", tmp_path)
    merge(recipe, tmp_path / "out")
    assert merge(recipe, tmp_path / "out", resume=True).written_bytes == 0
    restore_times(paths[1])
    with pytest.raises(RunFolderError, match="exists already"):
        merge(recipe, tmp_path / "out", resume=True)
