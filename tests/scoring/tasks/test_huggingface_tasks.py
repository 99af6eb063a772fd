"""Tasks on folders that transformers reads: tiny models made here, judged against transformers itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.tiny_models import write_llama, write_tokenizer

from m2m.checkpoint.heads import Head
from m2m.errors import ConfigError, DataError
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.tasks import ClassificationScorer, TaskOptions, TextLossScorer, load_tasks

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("tiny") / "base")


def test_text_loss_is_transformers_own(folder: Path) -> None:
    tiny = HuggingFaceFolder(folder)
    assert (tiny.context, tiny.start, tiny.head) == (64, (256,), Head.CAUSAL)
    model, text = tiny.build(), "some text, naïve and short"
    scores = TextLossScorer("t", [text], tiny)(model)
    ids = torch.tensor([[256, *tiny.encode(text)]])
    with torch.no_grad():
        own = model(input_ids=ids, labels=ids).loss.item()
    assert scores.mean("loss") == pytest.approx(own, rel=1e-5)
    assert not model.config.use_cache


def test_the_dtype_of_the_folder_is_kept(tmp_path: Path) -> None:
    half = HuggingFaceFolder(write_llama(tmp_path / "half", dtype=torch.bfloat16), context=8)
    model = half.build()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert half.context == 8
    assert TextLossScorer("t", ["more text than one window"], half, stride=4)(model).mean("loss") > 0


def test_a_module_built_empty_is_the_same_once_it_has_the_weights(folder: Path) -> None:
    tiny = HuggingFaceFolder(folder)
    whole, empty = tiny.build(), tiny.build_empty()
    empty.load_state_dict(whole.state_dict(), assign=True)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        assert torch.equal(empty(input_ids=ids).logits, whole(input_ids=ids).logits)


def test_texts_are_classified_whatever_their_padding(tmp_path: Path) -> None:
    tiny = HuggingFaceFolder(write_llama(tmp_path / "classifier", classes=3))
    model, texts = tiny.build(), ["short", "a longer text", "x"]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": 1}) + "\n" for text in texts))
    scores = ClassificationScorer.read(path, tiny, limit=None)(model)
    for at, text in enumerate(texts):
        with torch.no_grad():
            own = model(input_ids=torch.tensor([tiny.encode(text)]), labels=torch.tensor([1]))
        assert scores.values["accuracy"][at] == (own.logits.argmax() == 1)
        assert scores.values["loss"][at] == pytest.approx(own.loss.item(), rel=1e-4)
    path.write_text('{"text": "a", "label": "one"}')
    with pytest.raises(DataError, match="line 1: 'one' is none of the model's 3 classes: it has"):
        ClassificationScorer.read(path, tiny, limit=None)


def test_folders_that_are_no_models_are_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ConfigError, match="not a model that transformers knows"):
        HuggingFaceFolder(tmp_path)
    with pytest.raises(ConfigError, match="takes at most 64 tokens, got a context of 65"):
        HuggingFaceFolder(folder, context=65)


def test_tasks_are_spelled_with_their_kind(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "t.txt").write_text("one text and another")
    (tmp_path / "q.jsonl").write_text('{"question": "1+1=", "choices": ["2", "3"], "answer": 0}')
    (tmp_path / "f.py").write_text("METRICS = {'m': True}\ndef f(model):\n    return {'m': 1.0}\n")
    for word, metrics in (
        ("lm:t.txt", ["loss", "bits_per_byte"]),
        ("choice:q.jsonl", ["accuracy", "accuracy_norm", "loss"]),
        ("f.py:f", ["m"]),
    ):
        [scorer] = load_tasks(word, tmp_path, lambda: HuggingFaceFolder(folder), TaskOptions(limit=1))
        assert (scorer.task, list(scorer.metrics)) == (word, metrics)
    with pytest.raises(ConfigError, match="'lm:' names no file"):
        load_tasks("lm:", tmp_path, lambda: HuggingFaceFolder(folder), TaskOptions())
    with pytest.raises(ConfigError, match="neither a kind of task \\(did you mean 'choice'"):
        load_tasks("choise:quiz.jsonl", tmp_path, lambda: HuggingFaceFolder(folder), TaskOptions())


def test_positions_that_padding_takes_are_not_part_of_the_context(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.RobertaConfig(**sizes, vocab_size=257, max_position_embeddings=14, num_labels=2)
    transformers.RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    roberta = HuggingFaceFolder(tmp_path)
    assert roberta.context == 12
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "longer than that", "label": 0}))
    assert ClassificationScorer.read(tmp_path / "t.jsonl", roberta, limit=None)(roberta.build()).count == 1
