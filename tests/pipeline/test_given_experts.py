"""`[train] experts`: models that exist already take the place of trainings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.language_runs import NAMES, write_language_run
from helpers.linear_setup import run_config

from m2m import mixing, pipeline
from m2m.checkpoint import Checkpoint, save, verify
from m2m.errors import CheckpointError, ConfigError, RunFolderError
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable


def write(place: Path, run: str = "seed = 3", experts: str = "") -> config.RunConfig:
    text = run_config(run)
    if experts:
        text = text.replace("[setup]", f"experts = {experts}\n[setup]")
    (place / "run.toml").write_text(text)
    return config.load(place / "run.toml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that trained its experts."""
    place = tmp_path_factory.mktemp("trained")
    return pipeline.run(write(place), place / "run", workers=1)


@pytest.fixture
def given(trained: RunFolder, tmp_path: Path) -> config.RunConfig:
    """A configuration that names these experts, brought to a place of their own."""
    for name in "abc":
        state = Checkpoint(trained.root / "experts" / name / "seed3").state()
        save(state, tmp_path / "theirs" / name)
    return write(tmp_path, experts="{a = 'theirs/a', b = 'theirs/b', c = 'theirs/c'}")


def scores(folder: RunFolder) -> dict[tuple[str, str, str], float]:
    with ScoreTable(folder.table) as table:
        return {(row.origin, row.candidate, row.split): row.value for row in table.rows()}


def test_given_experts_end_in_the_scores_of_the_run_that_trained_them(
    trained: RunFolder, given: config.RunConfig
) -> None:
    folder = pipeline.run(given, given.root / "run", workers=1)
    assert scores(folder) == scores(trained)
    verify(folder.root / "experts" / "a" / "seed3")
    manifest = json.loads((folder.root / "experts" / "a" / "seed3" / "manifest.json").read_text())
    assert "recipe" not in manifest["made_from"]
    before = scores(folder)
    shutil.rmtree(given.root / "theirs")  # the run has its own
    assert scores(pipeline.run(given, folder.root, workers=1)) == before


def test_every_float_type_is_brought_to_the_bases(given: config.RunConfig) -> None:
    theirs = given.root / "theirs" / "a"
    state = Checkpoint(theirs).state()
    shutil.rmtree(theirs)
    save({name: t.float() if t.is_floating_point() else t for name, t in state.items()}, theirs)
    folder = pipeline.run(given, given.root / "run", workers=1)
    taken = Checkpoint(folder.root / "experts" / "a" / "seed3").state()
    assert taken["theta"].dtype == torch.float64
    assert torch.equal(taken["theta"], state["theta"].float().double())


def test_other_seeds_are_trained_on_mixtures_only(trained: RunFolder, given: config.RunConfig) -> None:
    validating = write(given.root, "validate = true\nseed = 3", "{a='theirs/a', b='theirs/b', c='theirs/c'}")
    folder = pipeline.run(validating, given.root / "run", workers=1)
    assert sorted(path.name for path in folder.root.glob("experts/*/*")) == ["seed3"] * 3
    assert len([*folder.root.glob("mixtures/*/*")]) == 2 * 4
    assert folder.read_results()["oracle"]


def test_mix_takes_them_too(given: config.RunConfig) -> None:
    (given.root / "run.toml").write_text(
        given.path.read_text()
        + "[mix]\nseeds = 9\nregressor = 'ridge'\npoints = 200\ntop_k = 9\nbootstrap = 0\n"
    )
    result = mixing.mix(config.load(given.path), given.root / "mixed", workers=1)
    assert sorted(path.name for path in (given.root / "mixed" / "experts").iterdir()) == ["a", "b", "c"]
    assert result.mixture.datasets == ("a", "b", "c")


def test_an_expert_that_changed_is_named(given: config.RunConfig) -> None:
    pipeline.run(given, given.root / "run", workers=1)
    shutil.rmtree(given.root / "theirs" / "b")
    shutil.copytree(given.root / "theirs" / "a", given.root / "theirs" / "b")
    with pytest.raises(RunFolderError, match=r"experts/b/seed3 .*taken from another model"):
        pipeline.run(given, given.root / "run", workers=1)


def test_a_run_that_trained_its_experts_does_not_take_others(
    trained: RunFolder, given: config.RunConfig
) -> None:
    shutil.copytree(trained.root, given.root / "run")
    with pytest.raises(RunFolderError, match=r"experts/a/seed3 .*trained by this run"):
        pipeline.run(given, given.root / "run", workers=1)


def spoil(state: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    match how:
        case "missing":
            del state["theta"]
        case "renamed":
            state["phi"] = state.pop("theta")
        case "new":
            state["phi"] = torch.zeros(2)
        case "shape":
            state["theta"] = torch.zeros(4)
        case "kind":
            state["theta"] = state["theta"].long()
        case "diverged":
            state["theta"][1] = float("nan")
    return state


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            "missing",
            r"theirs/a: lacks tensors of .*base: 'theta'; (?!.*recipe).*`cache_trunk`.* save the whole",
        ),
        (
            "renamed",
            r"theirs/a: lacks tensors of .*base: 'theta'; wanted a model trained from the run's base",
        ),
        ("new", r"theirs/a: has more than .*base: 'phi'"),
        ("shape", r"theirs/a: tensor 'theta' has shape \[4\], wanted \[5\]"),
        ("kind", r"theirs/a: tensor 'theta' is I64, wanted F64"),
        ("diverged", r"'theta' is not finite: its training diverged"),
    ],
)
def test_another_model_is_refused_and_named(given: config.RunConfig, how: str, said: str) -> None:
    theirs = given.root / "theirs" / "a"
    state = spoil(Checkpoint(theirs).state(), how)
    shutil.rmtree(theirs)
    save(state, theirs)
    with pytest.raises(CheckpointError, match=said):
        pipeline.run(given, given.root / "run", workers=1)
    assert not (given.root / "run" / "experts" / "a").exists()


@pytest.mark.parametrize(
    ("experts", "said"),
    [
        (
            "{a = 'x', b = 'y'}",
            r"an expert of every dataset.*got \['a', 'b'\], the datasets are \['a', 'b', 'c'\]",
        ),
        ("{a = 'x', b = 'y', c = 'z', d = 'z'}", "and no other"),
        ("['a']", "`experts`.*must be"),
        ("{a = 3}", "`experts`.*must be"),
        ("{a = 'x', b = 'y', c = 'z'}", r"the expert of a is no model or adapter: .*/x"),
    ],
)
def test_bad_experts_are_one_clear_error(tmp_path: Path, experts: str, said: str) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=said) as caught:
        pipeline.run(write(tmp_path, experts=experts), tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)


def write_adapter(folder: Path, base: Path, seed: int) -> None:
    """Write an adapter as PEFT does, with factors that change the model."""
    import peft
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    adapted.save_pretrained(folder)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters_stay_adapters_and_score_as_the_models_they_are(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="writes the adapters")
    experts = ", ".join(f"{name} = 'adapters/{name}'" for name in NAMES)
    given = write_language_run(tmp_path, train=f"experts = {{{experts}}}")
    for seed, name in enumerate(NAMES):
        write_adapter(tmp_path / "adapters" / name, tmp_path / "llama", seed)
    folder = pipeline.run(given, tmp_path / "run", workers=1)
    expert = folder.root / "experts" / "one" / "seed0"
    assert sorted(path.name for path in expert.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "manifest.json",
    ]  # fmt: skip
    with ScoreTable(folder.table) as table:
        rows = {(row.origin, row.candidate): row.examples.tolist() for row in table.rows(split="validation")}
    for name in NAMES:
        assert rows["merged", name] == rows["trained", name] != rows["base", "base"]
