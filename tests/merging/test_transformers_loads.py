"""transformers opens a merged folder: the twin's weights, the base's tokenizer, text out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hugging_face_folders import write_llama
from helpers.merge_cases import assert_is_twin, make_recipe

from m2m.checkpoint import Checkpoint
from m2m.merging import merge

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"base": False, "shared": {}, "each": {"weight": [0.7, 0.3]}},
    "ties": {"base": True, "shared": {}, "each": {"weight": [1.0, 0.5], "density": [0.5, 0.5]}},
}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("method", RECIPES)
def test_a_merged_folder_loads_and_generates(tmp_path: Path, method: str, tied: bool) -> None:
    folders = [
        str(write_llama(tmp_path / name, seed, tie_word_embeddings=tied))
        for seed, name in enumerate(("base", "one", "two"))
    ]
    out = tmp_path / "merged"
    merge(make_recipe(method, folders, dtype="float32", **RECIPES[method]), out, shard_size="20KB")
    assert len(list(out.glob("*.safetensors"))) > 1
    assert_is_twin(out, method, [Checkpoint(folder).state() for folder in folders], **RECIPES[method])

    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    loaded = model.state_dict()
    for name, tensor in Checkpoint(out).state().items():
        assert torch.equal(loaded[name], tensor), name
    assert (model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()) == tied

    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    prompt = tokenizer("café", return_tensors="pt")
    with torch.no_grad():
        likeliest = int(model(**prompt).logits[0, -1].argmax())
    text = model.generate(**prompt, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=256)
    length = prompt["input_ids"].shape[1]
    assert text.shape == (1, length + 3)
    assert int(text[0, length]) == likeliest or likeliest == 256  # the end is held back for three tokens
