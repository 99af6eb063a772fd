"""Rows that m2m and mergekit give to every token agree, within what two float32 sums can do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.vocabularies import LINES, add_special, byte_pairs, shuffled, write_model

from m2m.checkpoint import Checkpoint
from m2m.merging import merge

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mergekit() -> Path:
    python = os.environ.get("M2M_MERGEKIT_PYTHON")
    if not python:
        pytest.skip("set M2M_MERGEKIT_PYTHON to the python of an environment that has mergekit")
    return Path(python).parent / "mergekit-yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabularies")
    base = add_special(byte_pairs(280), "<s>", "</s>")
    one = add_special(shuffled(byte_pairs(285)), "<s>", "</s>", "<|im_start|>", "<|im_end|>")
    two = add_special(byte_pairs(290, ["rows are merged", *LINES]), "<s>", "</s>", "<|im_end|>", "<tool>")
    write_model(folder / "base", base, 0)
    write_model(folder / "one", one, 1)
    write_model(folder / "two", two, 2, rows=304)
    return folder


RECIPES: dict[str, dict[str, Any]] = {
    "union": {"tokenizer_source": "union"},
    "base": {"tokenizer_source": "base"},
    "a model's": {"tokenizer_source": "./one"},
    "ties": {"merge_method": "ties", "parameters": {"density": 1.0}, "tokenizer_source": "union"},
    "no base": {"merge_method": "linear", "base_model": None, "tokenizer_source": "union"},
    "tokens": {
        "tokenizer": {
            "source": "union",
            "tokens": {
                "<|im_start|>": {"source": "./one"},
                "<|im_end|>": {
                    "source": {"kind": "model_token", "model": "./two", "token": "</s>"},
                    "force": True,
                },
                "<zero>": {"source": {"kind": "zero"}},
                "<fifth>": {"source": {"kind": "model_token", "model": "./base", "token_id": 5}},
            },
            "pad_to_multiple_of": 64,
        }
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_rows_of_tokens_agree(
    mergekit: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # of this environment, not of mergekit's
    monkeypatch.chdir(folder)
    models = [{"model": model, "parameters": {"weight": 0.5}} for model in ("./one", "./two")]
    recipe = {"merge_method": "task_arithmetic", "base_model": "./base", "models": models}
    recipe |= {"dtype": "float32", **RECIPES[name]}
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe))
    done = subprocess.run(
        [mergekit, tmp_path / "recipe.yml", theirs, "--quiet"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    merge(recipe | {"m2m": {"definition": "mergekit"}}, ours)
    ids = [transformers.AutoTokenizer.from_pretrained(path).get_vocab() for path in (theirs, ours)]
    assert ids[0].keys() == ids[1].keys()
    for tensor in ("model.embed_tokens.weight", "lm_head.weight"):
        one, other = (Checkpoint(path).read(tensor) for path in (theirs, ours))
        assert one.shape == other.shape
        tokens = sorted(ids[0])
        rows = [
            table[[known[token] for token in tokens]] for table, known in zip((one, other), ids, strict=True)
        ]
        torch.testing.assert_close(rows[1], rows[0], rtol=0, atol=2**-24)
        torch.testing.assert_close(other[len(tokens) :], one[len(tokens) :], rtol=0, atol=2**-24)
