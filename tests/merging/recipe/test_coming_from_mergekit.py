"""Every recipe of docs/coming_from_mergekit.md does what its first line says, on small models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors, save_adapter

from m2m.errors import M2MError
from m2m.merging import merge
from m2m.merging.recipe.reader import load

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).parents[3] / "docs/coming_from_mergekit.md"
RECIPES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
SIZES = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that the page speaks of: a base, experts, an adapter, and two that also see."""
    folder = tmp_path_factory.mktemp("models")
    text = transformers.LlamaConfig(**SIZES, **HEADS)
    vision = transformers.CLIPVisionConfig(
        image_size=8, patch_size=4, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    kinds = {
        ("base", "math", "code"): transformers.LlamaForCausalLM(text),
        ("vlm_base", "vlm"): transformers.LlavaForConditionalGeneration(
            transformers.LlavaConfig(text_config=text, vision_config=vision)
        ),
    }
    for names, model in kinds.items():
        for name in names:
            model.save_pretrained(folder / name)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += torch.randn_like(parameter) / 256
    save_adapter(folder / "lora", factors("model.layers.1.self_attn.q_proj", 16, 16, 4, seed=1))
    return folder


@pytest.mark.parametrize("recipe", RECIPES, ids=[text.partition("\n")[0][:60] for text in RECIPES])
def test_recipe_does_what_its_first_line_says(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    monkeypatch.chdir(models)
    path, out = tmp_path / "recipe.yml", tmp_path / "out"
    path.write_text(recipe)
    said = recipe.partition("\n")[0]
    if said.startswith("# error: "):
        with pytest.raises(M2MError, match=re.escape(said.removeprefix("# error: "))) as raised:
            merge(path, out)
        assert raised.value.exit_code == 2
        assert not out.exists()
        return
    report = merge(path, out)
    assert said.startswith("# runs")
    note = said.partition("note: ")[2]
    assert not note or any(note in told for told in (*load(path).notes, *report.notes))
    kind = transformers.AutoConfig.from_pretrained(out).architectures[0]
    _, about = getattr(transformers, kind).from_pretrained(out, output_loading_info=True)
    assert not about["missing_keys"]
    assert not about["unexpected_keys"]


def test_the_page_has_recipes_of_each_kind() -> None:
    kinds = {re.split(r"[:;\n]", recipe)[0] for recipe in RECIPES}
    assert kinds == {"# runs", "# error"}
