"""`adapter = "lora"`: experts and mixtures of a run are PEFT folders, and everything reads them as models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers import byte_setup
from helpers.language_runs import write_language_run

from analysis.trained_run import open_run
from m2m import pipeline
from m2m.checkpoint import Checkpoint, verify
from m2m.errors import CheckpointError
from m2m.merging.lora import Adapter
from m2m.mixture import Mixture
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring import model_state
from m2m.scoring.table import ScoreTable

pytest.importorskip("peft", reason="needs the extra `lora`")

CONFIG = f"""
[run]
target = "target"
validate = true
truth_seeds = 1
[train]
steps = 3
batch = 2
learning_rate = 0.05
adapter = "lora"
[train.lora]
r = 2
alpha = 4
target_modules = ["mlp_in", "attention_out"]
[setup]
kind = "python"
factory = "{Path(byte_setup.__file__)}:from_table"
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> config.RunConfig:
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_text(CONFIG)
    return config.load(path)


@pytest.fixture(scope="module")
def finished(loaded: config.RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return pipeline.run(loaded, tmp_path_factory.mktemp("run") / "out", workers=1)


def scores(folder: RunFolder, **equal: str) -> dict[str, list[float]]:
    with ScoreTable(folder.table) as table:
        rows = table.rows(split="validation", **equal)
    return {row.candidate: row.examples.tolist() for row in rows}


def test_models_are_adapters_on_disk(finished: RunFolder) -> None:
    folders = [path.parent for path in finished.root.rglob("adapter_config.json")]
    assert len(folders) == 7
    for folder in folders:
        verify(folder)
        assert not (folder / "model.safetensors").exists()
        assert Adapter(folder).factors.keys() == {"blocks.0.mlp_in", "blocks.0.attention_out"}
        assert (folder / "loss.csv").read_text().startswith("step,loss,learning_rate\n1,")


def test_a_merged_singleton_scores_exactly_as_its_expert(finished: RunFolder) -> None:
    merged, trained = scores(finished, origin="merged"), scores(finished, origin="trained")
    for name in "abc":
        assert merged[name] == trained[name]
    assert merged["a+b"] != trained["a+b"]


def test_merges_are_exact_sums(finished: RunFolder) -> None:
    """Of θ₀ + Σ α s BA, formed and summed in float64 and rounded once."""
    name, base = "blocks.0.mlp_in.weight", Checkpoint(finished.base).state()
    experts = [finished.root / "experts" / each / "seed0" for each in "ab"]
    exact = base[name].double()
    for expert in experts:
        factors = Adapter(expert).factors["blocks.0.mlp_in"]
        a, b = (Checkpoint(part.file).read(part.name).double() for part in (factors.a, factors.b))
        exact = exact + 0.5 * 2 * (b @ a)
    setup = byte_setup.byte_setup()
    model = setup.build()
    merged = base | {name: exact.float()}
    other = "blocks.0.attention_out.weight"
    merged[other] = sum(model_state(finished.base, expert)[other].double() for expert in experts) / 2
    model.load_state_dict(merged)
    with torch.no_grad():
        losses = setup.loss(model, setup.targets["target"].validation.tensors)
    assert scores(finished, origin="merged")["a+b"] == pytest.approx(losses.tolist(), rel=1e-6)


def test_a_run_goes_on_and_studies_read_it(
    finished: RunFolder, loaded: config.RunConfig, tmp_path: Path
) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    shutil.rmtree(copy.root / "experts" / "b")
    copy.table.unlink()
    pipeline.run(loaded, copy.root, workers=1)
    for origin in ("merged", "trained"):
        assert scores(copy, origin=origin) == scores(finished, origin=origin)
    run = open_run(copy.root)
    assert run.experts.shape[0] == 3
    residual = run.displacement(Mixture.subset("abc", "ab"), 0)
    assert residual is not None
    assert (residual != 0).any()
    factors = copy.root / "experts" / "a" / "seed0" / "adapter_model.safetensors"
    data = bytearray(factors.read_bytes())
    data[-1] ^= 1
    factors.write_bytes(data)
    copy.table.unlink()
    with pytest.raises(CheckpointError, match="SHA-256"):
        pipeline.run(loaded, copy.root, workers=1)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_peft_loads_what_was_trained(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    import peft
    import transformers

    wanted = write_language_run(tmp_path, train='adapter = "lora"')
    folder = pipeline.run(wanted, tmp_path / "run", workers=1)
    expert = folder.root / "experts" / "one" / "seed0"
    tokens = torch.arange(20)[None]
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    with torch.no_grad():
        before = base(tokens).logits
        theirs = peft.PeftModel.from_pretrained(base, expert)(tokens).logits
        ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
        ours.load_state_dict(model_state(folder.base, expert))
        torch.testing.assert_close(ours(tokens).logits, theirs, rtol=1e-4, atol=1e-5)
    assert (theirs - before).abs().max() > 0.01
