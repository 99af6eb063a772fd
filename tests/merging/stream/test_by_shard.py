"""Merged by workers, a shard each: the bytes of one process; either goes on with the other's work."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from helpers.lora_files import factors, save_adapter
from helpers.merge_cases import State, make_recipe, make_states, stop_half_way, write_models, write_moments
from helpers.packed_executor import Packed

import m2m
from m2m.checkpoint import save
from m2m.errors import CheckpointError, ConfigError
from m2m.executors.local import Local
from m2m.executors.protocol import nobody_told
from m2m.merging import merge, methods
from m2m.merging.stream import by_shard

SHAPES = {"a": (40, 300), "b": (9000,), "c": (7, 30, 3), "d": (300, 40), "e": (12_000,)}
#: Each is of many parts: draws by element, looks before the merge, rows, other inputs.
METHODS: list[tuple[str, bool, dict[str, Any], dict[str, list[Any]]]] = [
    ("linear", False, {}, {"weight": [0.25, 0.75]}),
    ("dare_ties", True, {"density": 0.4}, {"weight": [0.5, 0.8]}),
    ("della", True, {"density": 0.5, "epsilon": 0.1}, {"weight": [0.5, 0.8]}),
    ("model_stock", True, {"filter_wise": True}, {}),
    ("adam_merge", True, {}, {"weight": [0.2, 0.5]}),
    ("consensus", True, {"k": 1}, {}),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def both(recipe: Any, folder: Path, **options: Any) -> None:
    """Assert that a merge by workers writes what one process writes, in several files."""
    merge(recipe, folder / "one", **options)
    report = merge(recipe, folder / "shared", executor=Packed(1), **options)
    assert report.written_bytes > 0
    assert len([*(folder / "one").rglob("*.safetensors")]) > 2
    assert contents(folder / "one") == contents(folder / "shared")
    assert not [*folder.glob(".*")]


@pytest.fixture
def states() -> list[State]:
    return make_states(SHAPES, 2, [torch.bfloat16, torch.float32], 11)


@pytest.mark.parametrize(("method", "base", "shared", "each"), METHODS, ids=[case[0] for case in METHODS])
def test_the_same_bytes_by_every_kind_of_method(
    tmp_path: Path, states: list[State], method: str, base: bool, shared: dict[str, Any], each: dict[str, Any]
) -> None:
    paths = write_models(states, tmp_path, shard_size=30_000)
    if method == "adam_merge":
        write_moments(states, paths, 5)
    both(make_recipe(method, paths, base=base, shared=shared, each=each), tmp_path, shard_size=25_000)


def test_every_method_can_be_given_to_workers() -> None:
    for name, method in methods.METHODS.items():
        assert pickle.loads(pickle.dumps(method)).name == name


def test_a_method_that_cannot_be_given_to_workers_is_named_before_anything_is_made(
    tmp_path: Path, states: list[State], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(methods.METHODS["passthrough"], weights=lambda settings: settings.numbers("scale"))
    monkeypatch.setitem(methods.METHODS, "passthrough", own)
    paths = write_models(states, tmp_path)[:2]
    recipe = make_recipe("passthrough", paths, base=False, shared={}, each={})
    with pytest.raises(
        ConfigError, match=r"merge_method passthrough cannot be given to workers .*top of a module"
    ):
        merge(recipe, tmp_path / "out", workers=2)
    assert not [*tmp_path.glob("*out*")]


def test_a_method_of_the_user_s_own_module_goes_to_workers(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    (tmp_path / "halves.py").write_text(
        "from m2m.merging.methods import WeightedSum, register\n"
        "def halves(settings):\n    return [0.5] * len(settings.each)\n"
        "about = {'base': 'ignored', 'space': 'weights', 'source': 'a test'}\n"
        "register(WeightedSum(name='halves', weights=halves, **about))\n"
    )
    recipe = make_recipe("halves", paths, base=False, shared={}, each={})
    (tmp_path / "script.py").write_text(
        f"import halves\nfrom m2m.merging import merge\nrecipe = {recipe!r}\n"
        "merge(recipe, 'one', shard_size=25_000)\nmerge(recipe, 'shared', shard_size=25_000, workers=2)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(m2m.__file__).parents[1])}
    script = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(script, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "shared")


def test_what_the_workers_of_a_machine_share_is_said(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.25, 0.75]})
    with pytest.raises(ConfigError, match=r"memory=40KB is shared by 4 workers of a machine: .* at least"):
        merge(recipe, tmp_path / "out", workers=4, memory="40KB", shard_size=25_000)


def test_the_same_bytes_for_many_candidates_and_of_adapters(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.25, 0.75]})
    both(recipe, tmp_path / "many", candidates={"x": [0.5, 0.5], "y": [1.5, -0.5]}, shard_size=25_000)
    base = save({f"l{i}.q.weight": torch.randn(60, 70) for i in range(5)}, tmp_path / "base")
    added = [
        save_adapter(
            tmp_path / f"lora{seed}", factors("l1.q", 60, 70, 4, seed) | factors("l3.q", 60, 70, 4, seed)
        )
        for seed in (1, 2)
    ]
    recipe = make_recipe(
        "task_arithmetic", [str(base), *(f"{base}+{path}" for path in added)], base=True, shared={},
        each={"weight": [0.5, 0.8]},
    )  # fmt: skip
    both(recipe, tmp_path / "adapted", shard_size=20_000)


def stored(folder: Path) -> str:
    """Put models where only fsspec finds them; gives the address that stands for the folder."""
    name = f"{folder.parent.name}-{folder.name}"
    fsspec.filesystem("memory").put(str(folder), f"/{name}", recursive=True)
    return f"memory://{name}"


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_the_same_bytes_of_adapters_elsewhere(tmp_path: Path, method: str) -> None:
    generator = torch.Generator().manual_seed(3)
    base = {f"l{i}.q.weight": torch.randn(60, 70, generator=generator) for i in range(5)}
    save(base, tmp_path / "store" / "base")
    save_adapter(tmp_path / "store" / "plain", factors("l1.q", 60, 70, 4, 1))
    save_adapter(tmp_path / "store" / "dora", factors("l3.q", 60, 70, 4, 2, dora=True), use_dora=True)
    at = stored(tmp_path / "store")
    experts = [{"model": f"{at}/{name}", "parameters": {"weight": 0.5}} for name in ("plain", "dora")]
    recipe = {"merge_method": method, "base_model": f"{at}/base", "models": experts}
    if method == "ties":
        recipe["parameters"] = {"density": 0.5}
    both(recipe, tmp_path, shard_size=20_000)


def test_the_same_bytes_of_vocabularies_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    from helpers.vocabularies import byte_pairs, shuffled, write_model

    write_model(tmp_path / "store" / "base", byte_pairs(280), 0)
    write_model(tmp_path / "store" / "one", shuffled(byte_pairs(285)), 1)
    at = stored(tmp_path / "store")
    models = [{"model": f"{at}/{name}", "parameters": {"weight": 0.5}} for name in ("base", "one")]
    recipe = {"merge_method": "linear", "models": models, "tokenizer_source": "union"}
    both(recipe, tmp_path, shard_size=10_000)


@pytest.mark.parametrize("by_workers_first", [True, False])
def test_either_goes_on_with_what_the_other_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_workers_first: bool
) -> None:
    states = make_states({f"t{i}": (100, 3000) for i in range(8)}, 2, [torch.float32], 3)
    paths = write_models(states, tmp_path)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.25, 0.75]})
    options: dict[str, Any] = {"shard_size": 2_500_000}
    merge(recipe, tmp_path / "whole", **options)
    out = tmp_path / "out"
    if by_workers_first:

        def stop(done: int, total: int, what: str) -> None:
            if done > total / 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            merge(recipe, out, executor=Packed(1), progress=stop, **options)
        report = merge(recipe, out, resume=True, **options)
    else:
        with monkeypatch.context() as patch:
            stop_half_way(recipe, out, patch, **options)
        report = merge(recipe, out, resume=True, executor=Packed(1), **options)
    whole = sum(tensor.nbytes for tensor in states[0].values())
    assert report.resumed_bytes > 0
    # A chunk that was under way is written again.
    assert whole - report.resumed_bytes <= report.written_bytes < whole
    assert contents(out) == contents(tmp_path / "whole")


def test_worker_processes_tell_how_far_they_are(tmp_path: Path, states: list[State]) -> None:
    paths = write_models(states, tmp_path)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.25, 0.75]})
    said: list[tuple[int, int, str]] = []
    report = merge(
        recipe, tmp_path / "shared", workers=2, shard_size=25_000, progress=lambda *news: said.append(news)
    )
    assert said[0][0] == 0
    assert said[-1] == (report.written_bytes, report.written_bytes, "merge")
    assert [done for done, _, _ in said] == sorted(done for done, _, _ in said)
    merge(recipe, tmp_path / "one", shard_size=25_000)
    assert contents(tmp_path / "one") == contents(tmp_path / "shared")


def test_what_is_not_finite_is_named_and_nothing_is_left(tmp_path: Path, states: list[State]) -> None:
    states[2]["d"].view(-1)[17] = float("nan")
    paths = write_models(states, tmp_path)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.25, 0.75]})
    with pytest.raises(CheckpointError, match="'d' is NaN or infinite at index 17"):
        merge(recipe, tmp_path / "out", executor=Packed(1), shard_size=25_000)
    assert not [*tmp_path.glob("*out*")]


def test_a_machine_that_sees_other_files_is_named(
    tmp_path: Path, states: list[State], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_models(states, tmp_path)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.25, 0.75]})
    jobs: list[by_shard.ShardJob] = []

    class Taken(Local):
        def run(self, function: Any, given: Any, **rest: Any) -> Any:
            jobs.extend(given)
            return super().run(function, given, **rest)

    merge(recipe, tmp_path / "out", executor=Taken(1), shard_size=25_000)
    assert str(jobs[0]) == "model-00001-of-00006.safetensors"
    file = next(iter(jobs[0].shard.samples))
    other = replace(jobs[0], shard=replace(jobs[0].shard, samples={file: "0" * 64}))
    with pytest.raises(CheckpointError, match=r"m1/model\.safetensors: is another file on .*the same paths"):
        dict(Local(1).run(by_shard.merge_shard, [other], told=nobody_told))
    file.rename(file.with_suffix(".away"))
    with pytest.raises(CheckpointError, match=r"m1/model\.safetensors: No such file or directory on "):
        by_shard.merge_shard(jobs[0])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"device": "cuda"}, "device=cuda: one process does that"),
        ({"statistics": True}, "statistics=True: one process does that"),
        ({"as_adapter": True}, "as_adapter=True: one process does that"),
        ({"executor": "rya"}, "executor must be local, ray, or"),
    ],
)
def test_what_workers_do_not_do_is_said_before_anything_is_made(
    tmp_path: Path, states: list[State], asked: dict[str, Any], said: str
) -> None:
    paths = write_models(states, tmp_path)
    recipe = make_recipe("linear", paths, base=False, shared={}, each={"weight": [0.25, 0.75]})
    with pytest.raises(ConfigError, match=said):
        merge(recipe, tmp_path / "out", **{"workers": 2, **asked})
    assert not [*tmp_path.glob("*out*")]
