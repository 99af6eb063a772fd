"""Similarity of sentences: Spearman's correlation of cosines, as scipy has it on what is merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.other_heads import merged, scores_of, words, write_models
from scipy.stats import spearmanr
from torch.nn import functional

from m2m.errors import ConfigError, DataError

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")


def write_pairs(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"sentence1": words(3 + at % 3, at), "sentence2": words(4, 3 * at + 1), "score": at % 5}
        for at in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return rows


@pytest.mark.parametrize("pooling", ["cls_token", "mean_tokens", "max_tokens", "lasttoken", None])
def test_cosines_are_held_against_people_s_scores(tmp_path: Path, pooling: str | None) -> None:
    base = write_models("embedder", tmp_path)
    if pooling is not None:
        (base / "1_Pooling").mkdir()
        (base / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    rows = write_pairs(tmp_path / "pairs.jsonl")
    scores = scores_of(tmp_path, f"sts:{tmp_path / 'pairs.jsonl'}", "spearman")
    model = transformers.BertModel.from_pretrained(merged(tmp_path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)

    def vector(text: object) -> torch.Tensor:
        with torch.no_grad():
            tokens = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        pooled = {"cls_token": tokens[0], "max_tokens": tokens.amax(0), "lasttoken": tokens[-1]}
        return pooled.get(pooling or "", tokens.mean(0))

    pairs = [(vector(row["sentence1"]), vector(row["sentence2"])) for row in rows]
    cosines = [functional.cosine_similarity(*pair, dim=0).item() for pair in pairs]
    wanted = spearmanr(cosines, [row["score"] for row in rows]).statistic
    assert scores["a+b"] == pytest.approx(wanted, abs=1e-9)


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    base = write_models("embedder", tmp_path)
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"sentence1": "w1", "sentence2": "w2", "score": 1}')
    with pytest.raises(DataError, match="all 1 pairs have the same score"):
        scores_of(tmp_path, f"sts:{file}")
    file.write_text('{"sentence1": "w1", "sentence2": "w2", "score": "high"}')
    with pytest.raises(DataError, match="line 1: `score` must be a number, got 'high'"):
        scores_of(tmp_path, f"sts:{file}")
    write_pairs(file)
    with pytest.raises(ConfigError, match=r"sts:pairs.jsonl needs a whole model, so candidates cannot be"):
        scores_of(tmp_path, f"sts:{file}", mode="streamed")
    (base / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(ConfigError, match="a Dense layer follows the model"):
        scores_of(tmp_path, f"sts:{file}")
