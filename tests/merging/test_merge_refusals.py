"""What a merge refuses: it says what is wrong and where, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.linear_merges import linear_recipe, merge_linear

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, ConfigError, M2MError, MixtureError, RecipeError, RunFolderError
from m2m.merging import merge
from m2m.merging.stream.work_folder import open_work_folder

State = dict[str, torch.Tensor]


def two_models(folder: Path, change: Callable[[State], object] | None = None) -> list[Path]:
    states = [{"a": torch.ones(70_000), "ids": torch.arange(5)} for _ in range(2)]
    if change is not None:
        change(states[1])
    return [save(state, folder / f"m{i}") for i, state in enumerate(states)]


def set_value(index: int, value: float) -> Callable[[State], object]:
    return lambda state: state["a"].__setitem__(index, value)


def assert_only_inputs_left(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["m0", "m1"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_nonfinite_inputs_are_named(tmp_path: Path, value: float, dtype: str) -> None:
    paths = two_models(tmp_path, set_value(65_432, value))
    for threads in (1, 3):
        with pytest.raises(CheckpointError, match=r"m1/model\.safetensors: tensor 'a' is NaN .* index 65432"):
            merge_linear(paths, [[0.5, 0.5]], tmp_path / "out", dtype=dtype, threads=threads)
    assert_only_inputs_left(tmp_path)


def test_nonfinite_inputs_pass_when_asked_for(tmp_path: Path) -> None:
    paths = two_models(tmp_path, set_value(3, float("nan")))
    merge_linear(paths, [[0.5, 0.5]], tmp_path / "out", allow_nonfinite=True)
    merged = Checkpoint(tmp_path / "out").read("a")
    assert merged[3].isnan()
    assert merged.isnan().sum() == 1


def test_sums_beyond_the_output_type_are_named(tmp_path: Path) -> None:
    paths = two_models(tmp_path, set_value(7, 1e5))
    with pytest.raises(
        CheckpointError, match=r"'a': the merged value at index 7 of the output is too large for F16"
    ):
        merge_linear(paths, [[0.5, 0.8]], tmp_path / "out", dtype="float16")
    assert_only_inputs_left(tmp_path)


def test_integers_that_differ_are_never_averaged(tmp_path: Path) -> None:
    paths = two_models(tmp_path, lambda state: state["ids"].__setitem__(3, 9))
    with pytest.raises(CheckpointError, match=r"m1/.*'ids' \(I64\) differs at byte 24 from .*m0"):
        merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")
    assert_only_inputs_left(tmp_path)


def test_shape_and_name_mismatches_are_found_before_anything_is_written(tmp_path: Path) -> None:
    paths = two_models(tmp_path, lambda state: state.__setitem__("extra", torch.ones(1)))
    with pytest.raises(CheckpointError, match="'extra'"):
        merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")
    assert_only_inputs_left(tmp_path)


def test_eight_bit_floats_are_not_merged(tmp_path: Path) -> None:
    states = [{"a": torch.ones(4).to(torch.float8_e4m3fn)} for _ in range(2)]
    paths = [save(state, tmp_path / f"m{i}") for i, state in enumerate(states)]
    with pytest.raises(CheckpointError, match="'a' is F8_E4M3, which means nothing without its scales"):
        merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")


@pytest.mark.parametrize(
    "candidates", [{"c": [0.5]}, {"c": [0.5] * 3}, {"c": [float("nan"), 1]}, {"c": [0.0, 0.0]}, {}]
)
def test_candidates_that_do_not_fit_are_refused(tmp_path: Path, candidates: dict[str, list[float]]) -> None:
    recipe = linear_recipe(two_models(tmp_path), [0.5, 0.5])
    with pytest.raises((ConfigError, MixtureError, RecipeError)):
        merge(recipe, tmp_path / "out", candidates=candidates)
    assert_only_inputs_left(tmp_path)


def test_an_input_that_shrinks_during_the_merge_is_named(tmp_path: Path) -> None:
    paths = two_models(tmp_path)

    def shrink(checkpoint: Path) -> None:
        file = checkpoint / "model.safetensors"
        os.truncate(file, file.stat().st_size - 4096)

    from m2m.merging.stream import run as stream_run

    original = stream_run.execute
    with pytest.MonkeyPatch.context() as patch:

        def execute_on_shrunk(*args: object, **options: object) -> object:
            shrink(paths[1])
            return original(*args, **options)  # type: ignore[arg-type]

        patch.setattr(stream_run, "execute", execute_on_shrunk)
        with pytest.raises(CheckpointError, match=r"m1/model\.safetensors: changed while it was used"):
            merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")
    assert_only_inputs_left(tmp_path)


def test_a_full_disk_is_found_out_before_the_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = two_models(tmp_path)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunFolderError, match=r"no room for .* No space left"):
        merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")
    assert_only_inputs_left(tmp_path)


def test_a_failing_write_keeps_the_work_for_resume(tmp_path: Path) -> None:
    from m2m.merging.stream import execute
    from m2m.merging.stream.passes import InterruptedMergeError

    paths = two_models(tmp_path)
    original = execute.lay_out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            execute, "lay_out", lambda plan, folder: [Path("/dev/full") for _ in original(plan, folder)]
        )
        with pytest.raises(InterruptedMergeError, match="cannot be written: No space left"):
            merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge_linear(paths, [[0.5, 0.5]], tmp_path / "out", resume=True)
    assert torch.equal(Checkpoint(tmp_path / "out").read("a"), torch.ones(70_000))


def test_an_output_that_exists_is_never_touched(tmp_path: Path) -> None:
    paths = two_models(tmp_path)
    before = (paths[0] / "model.safetensors").read_bytes()
    with pytest.raises(RunFolderError, match="is an input"):
        merge_linear(paths, [[0.5, 0.5]], paths[0])
    assert (paths[0] / "model.safetensors").read_bytes() == before
    assert_only_inputs_left(tmp_path)


def test_a_second_merge_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    paths = two_models(tmp_path)
    with open_work_folder(tmp_path / "out") as work:
        (work.root / "theirs").touch()
        with pytest.raises(RunFolderError, match="another merge is writing it"):
            merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")
        assert (work.root / "theirs").exists()
    merge_linear(paths, [[0.5, 0.5]], tmp_path / "out")


@pytest.mark.parametrize(("memory", "threads"), [("8kB", 1), ("1MiB", 0)])
def test_impossible_budgets_are_refused(tmp_path: Path, memory: str, threads: int) -> None:
    paths = two_models(tmp_path)
    with pytest.raises(ConfigError):
        merge_linear(paths, [[0.5, 0.5]], tmp_path / "out", memory=memory, threads=threads)
    assert_only_inputs_left(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"merge_method": "slerp", "parameters": {"t": 0.5}}, RecipeError),
        ({"dtype": "int64"}, RecipeError),
        ({"models": [{"model": "none", "parameters": {"weight": 1}}]}, CheckpointError),
    ],
)
def test_recipes_that_cannot_be_streamed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], error: type[M2MError]
) -> None:
    two_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    models = [{"model": f"m{i}", "parameters": {"weight": 0.5}} for i in range(2)]
    with pytest.raises(error):
        merge({"merge_method": "linear", "models": models, **changes}, tmp_path / "out")
    assert_only_inputs_left(tmp_path)
