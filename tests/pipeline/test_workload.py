"""What a dry run counts is what a run does; it makes nothing, and refuses what a run refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.language_runs import write_language_run
from helpers.linear_setup import from_table, linear_setup, run_config
from hypothesis import given
from hypothesis import strategies as st

import m2m
from m2m.errors import CheckpointError, ConfigError, RunFolderError
from m2m.pipeline import config
from m2m.pipeline.config import RunConfig
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.workload import Workload, wall, workload
from m2m.scoring import Targets
from m2m.scoring.table import ScoreTable
from m2m.verbs.estimate import DryRun

SEED = "seed = 3\n"


def write(place: Path, run: str = "", train: str = "") -> RunConfig:
    (place / "run.toml").write_text(run_config(SEED + run).replace("[setup]", f"{train}\n[setup]"))
    return config.load(place / "run.toml")


def counted(place: Path, run: str = "", train: str = "") -> Workload:
    return workload(write(place, run, train), Targets(from_table({}), {}))


def models_of(folder: RunFolder) -> int:
    return len([*folder.root.glob("experts/*/seed?")]) + len([*folder.root.glob("mixtures/*/seed?")])


def merged_of(folder: RunFolder) -> int:
    with ScoreTable(folder.table, read_only=True) as table:
        return len(table.distinct("candidate", origin="merged"))


@pytest.mark.parametrize("run", ["", "baselines = false", "validate = true", "validate = 1", "validate = 9"])
def test_a_run_does_what_was_counted_and_then_nothing_is_left(run: str, tmp_path: Path) -> None:
    loaded = write(tmp_path, run)
    before = workload(loaded, Targets(from_table({}), {}))
    folder = RunFolder(m2m.run(loaded, tmp_path / "out", workers=1).folder)
    least = sum(stage.least for stage in before.trainings)
    assert least <= models_of(folder) <= before.most_trainings
    if run == "validate = true":
        assert least == models_of(folder) == 7 * 2
    assert before.merged.models == merged_of(folder) == 7
    assert before.merged.examples == 7

    after = workload(loaded, Targets(from_table({}), {}), folder)
    assert after.most_trainings == after.merged.models == after.trained.models == 0
    assert after.tested.models == after.embedded.models == 0


def test_steps_examples_and_tokens_are_those_of_the_recipe(tmp_path: Path) -> None:
    experts, chosen = counted(tmp_path).trainings
    assert (experts.most, experts.least, experts.steps, experts.examples) == (3, 3, 9, 18)
    assert experts.tokens is None
    assert (chosen.least, chosen.most, chosen.longest) == (1 + (chosen.least > 1), chosen.least + 2, 3)
    pooled = counted(tmp_path, train='horizon = "pooled"').trainings[1]
    assert pooled.longest == 9
    assert counted(tmp_path, "baselines = false").trainings[1].most == 1


def test_given_experts_are_no_trainings(tmp_path: Path) -> None:
    found = counted(tmp_path, train='experts = {a = "a", b = "b", c = "c"}')
    assert found.given == 3
    assert [stage.kind for stage in found.trainings] == ["the pick and baselines"]
    every = counted(tmp_path, "validate = true", 'experts = {a = "a", b = "b", c = "c"}')
    assert every.most_trainings == 4 * 2  # experts have one seed


def test_a_search_scores_its_budget_and_the_baselines(tmp_path: Path) -> None:
    found = counted(tmp_path, "budget = 4")
    assert found.searches
    assert found.merged.models == 4 + 3
    wide = linear_setup(1, names="abcdefghijklmn")
    many = workload(write(tmp_path), Targets(wide, {}))
    assert many.merged.models == 300 + 3


def test_until_needs_no_training_for_certain(tmp_path: Path) -> None:
    *_, judged = counted(tmp_path, 'until = "P(within 2 %) > 0.9"').trainings
    assert judged.least == 0
    assert judged.most >= 1


@given(total=st.floats(0.1, 1e6), jobs=st.integers(1, 100), workers=st.integers(1, 64), share=st.floats(0, 1))
def test_work_side_by_side_takes_no_less_than_its_share(
    total: float, jobs: int, workers: int, share: float
) -> None:
    longest = total / jobs + share * (total - total / jobs)
    found = wall(total, longest, jobs, workers)
    assert max(total / workers, longest) * (1 - 1e-12) <= found <= total * (1 + 1e-12)
    assert wall(total, longest, jobs, 1) == pytest.approx(total)


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    loaded = write(tmp_path)
    before = sorted(tmp_path.iterdir())
    found = m2m.dry_run(loaded.path, tmp_path / "deep" / "out", workers=2)
    assert sorted(tmp_path.iterdir()) == before
    assert found.timing.step is not None
    assert found.timing.step > 0
    assert found.disk == found.timing.base + found.workload.most_trainings * found.timing.model
    assert found.memory == 3 * found.timing.memory  # two workers, and who waits for them


def test_a_dry_run_of_a_begun_run_leaves_it_and_subtracts(tmp_path: Path) -> None:
    loaded = write(tmp_path)
    folder = RunFolder(m2m.run(loaded, tmp_path / "out", workers=1).folder)
    shutil.rmtree(folder.root / "experts" / "b")
    content = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    found = m2m.dry_run(loaded, folder.root)
    assert found.workload.trainings[0].most == 1
    assert found.disk == found.timing.model
    assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == content


def refused(loaded: RunConfig, out: Path | None = None, **options: object) -> DryRun:
    return m2m.dry_run(loaded, out, **options)  # type: ignore[arg-type]


def test_what_a_run_would_refuse_a_dry_run_refuses(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    loaded = write(tmp_path)
    with pytest.raises(RunFolderError, match="not a run folder"):
        refused(loaded, tmp_path / "other")
    with pytest.raises(ConfigError, match="no target 'nowhere'"):
        refused(replace(loaded, run=replace(loaded.run, target="nowhere")))
    with pytest.raises(ConfigError, match="trains every mixture, but a search scores 4"):
        refused(loaded, budget=4, validate=True)
    with pytest.raises(ConfigError, match="there is no program 'nobody'"):
        refused(write(tmp_path, train='command = ["nobody"]'))
    with pytest.raises(CheckpointError, match=r"the expert of a is no model or adapter: .*/a$"):
        refused(write(tmp_path, train='experts = {a = "a", b = "b", c = "c"}'))
    with pytest.raises(ConfigError, match="diverged"):
        refused(replace(loaded, train=replace(loaded.train, learning_rate=1e200)))


def test_data_that_changed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from helpers.linear_setup import linear_setup\n"
        "make = lambda spec: linear_setup(spec['seed_of_data'])\n"
    )
    text = run_config(SEED).rpartition("factory")[0] + 'factory = "own.py:make"\nseed_of_data = 1\n'
    (tmp_path / "run.toml").write_text(text)
    folder = m2m.run(tmp_path / "run.toml", tmp_path / "out", workers=1).folder
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text().replace("_data']", "_data'] + 1"))
    with pytest.raises(RunFolderError, match=r"dataset 'a' has changed"):
        m2m.dry_run(tmp_path / "run.toml", folder)


def test_a_trainer_of_ones_own_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit(1)")
    found = m2m.dry_run(write(tmp_path, train='command = ["{python}", "train.py"]'))
    assert found.timing.step is None
    assert found.seconds["trainings"] is None
    assert any("your own trainer was not run" in note for note in found.notes)


def test_tokens_and_adapters_of_a_language_model(tmp_path: Path) -> None:
    whole = m2m.dry_run(write_language_run(tmp_path))
    experts = whole.workload.trainings[0]
    assert experts.tokens == experts.examples * 24
    adapter = m2m.dry_run(write_language_run(tmp_path, train='adapter = "lora"\n[train.lora]\nr = 1'))
    assert adapter.timing.model < whole.timing.model
    moments = m2m.dry_run(write_language_run(tmp_path, train="save_moments = true"))
    assert moments.timing.expert > moments.timing.model == whole.timing.model


def test_a_base_model_that_is_not_pretrained_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2M_CACHE", str(tmp_path / "cache"))
    files = [tmp_path / f"{name}.jsonl" for name in ("one", "two", "goal")]
    for file in files:
        rows = [{"text": f"{file.stem} number {n} is {n * 7919} and no more. " * 3} for n in range(120)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = m2m.init(tmp_path / "mine", data=files[:2], targets=files[2:])
    found = m2m.dry_run(written.config)
    assert not found.timing.pretrained
    assert "the base model is pretrained first, once, which is not in these seconds" in found.notes
    assert not (tmp_path / "cache" / "base").exists()
