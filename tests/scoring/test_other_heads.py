"""Scores of models with other heads: the metric that transformers gives on what `m2m merge` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.other_heads import merged, scores_of, words, write_models

from m2m.checkpoint import save
from m2m.errors import ConfigError, InputError
from m2m.scoring.tasks import TaskOptions

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")


def test_a_vision_language_model_is_scored_on_text(tmp_path: Path) -> None:
    write_models("llava", tmp_path)
    (tmp_path / "text.txt").write_text(words(12))
    scores = scores_of(tmp_path, f"lm:{tmp_path / 'text.txt'}")
    model = transformers.LlavaForConditionalGeneration.from_pretrained(merged(tmp_path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "base")
    ids = torch.tensor([[1, *tokenizer(words(12), add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        assert scores["a+b"] == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), rel=1e-5)
    assert scores_of(tmp_path, f"lm:{tmp_path / 'text.txt'}", mode="streamed", memory="64MB") == scores


@pytest.mark.parametrize("kind", ["t5", "bart", "marian", "pegasus"])
def test_an_encoder_decoder_is_scored_on_completions(tmp_path: Path, kind: str) -> None:
    write_models(kind, tmp_path)
    rows = [{"prompt": words(5), "completion": words(3, 4)}, {"prompt": words(2), "completion": words(6, 1)}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = scores_of(tmp_path, f"lm:{file}")
    folder = merged(tmp_path)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.config.decoder_start_token_id = 2 if kind == "bart" else 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    nats = tokens = 0
    for row in rows:
        given = tokenizer(row["prompt"], return_tensors="pt")
        labels = tokenizer(text_target=row["completion"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            asked = {"input_ids": given["input_ids"], "attention_mask": given["attention_mask"]}
            nats += model(**asked, labels=labels).loss.item() * labels.numel()
        tokens += labels.numel()
    assert scores["a+b"] == pytest.approx(nats / tokens, rel=1e-5)
    assert scores_of(tmp_path, f"lm:{file}", mode="streamed", memory="64MB") == scores


def test_an_encoder_reads_what_stands_before_a_window(tmp_path: Path) -> None:
    write_models("t5", tmp_path)
    (tmp_path / "text.txt").write_text(words(20))
    scores = scores_of(tmp_path, f"lm:{tmp_path / 'text.txt'}", options=TaskOptions(stride=8))
    model = transformers.T5ForConditionalGeneration.from_pretrained(merged(tmp_path))
    model.config.decoder_start_token_id = 0
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "base")(words(20))["input_ids"][:-1]
    nats = 0.0
    # 15 tokens and the end of a text fill the context of 16.
    for before, new in ((ids[:0], ids[:8]), (ids[:8], ids[8:16]), (ids[1:16], ids[16:])):
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([[*before, 2]]), labels=torch.tensor([new])).loss
        nats += loss.item() * len(new)
    assert scores["a+b"] == pytest.approx(nats / 20, rel=1e-5)


def test_completions_of_a_causal_model_are_given_their_prompts(tmp_path: Path) -> None:
    write_models("llava", tmp_path)
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": words(5) + " ", "completion": words(3, 4)}))
    scores = scores_of(tmp_path, f"lm:{file}")
    model = transformers.LlavaForConditionalGeneration.from_pretrained(merged(tmp_path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "base")
    ids = torch.tensor([tokenizer(f"{words(5)} {words(3, 4)}")["input_ids"]])
    labels = ids.clone()
    labels[:, :5] = -100
    with torch.no_grad():
        assert scores["a+b"] == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), rel=1e-5)


def test_a_task_that_the_head_cannot_do_says_which_one_can(tmp_path: Path) -> None:
    write_models("vit", tmp_path)
    (tmp_path / "text.txt").write_text(words(12))
    with pytest.raises(ConfigError, match=r"lm:text.txt needs a causal .* is a classifier of images: it can"):
        scores_of(tmp_path, f"lm:{tmp_path / 'text.txt'}")


def test_an_encoder_decoder_chooses_and_writes(tmp_path: Path) -> None:
    write_models("bart", tmp_path)
    folder = merged(tmp_path)
    model = transformers.BartForConditionalGeneration.from_pretrained(folder)
    model.generation_config.forced_eos_token_id = None
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    questions, prompts, losses = [], [], []
    for at in range(3):
        prompt, choices = words(3 + at, at), [words(2, 9), words(3, at)]
        given = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        labels = tokenizer(choices[1], add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            losses.append(model(**given, labels=labels).loss.item())
        written = model.generate(**given, do_sample=False, num_beams=1, max_new_tokens=4)
        questions.append({"question": prompt, "choices": choices, "answer": 1})
        answer = tokenizer.decode(written[0], skip_special_tokens=True)
        prompts.append({"prompt": prompt, "answer": answer})
        assert answer
    quiz, asked = tmp_path / "quiz.jsonl", tmp_path / "asked.jsonl"
    quiz.write_text("\n".join(map(json.dumps, questions)))
    asked.write_text("\n".join(map(json.dumps, prompts)))
    assert scores_of(tmp_path, f"choice:{quiz}")["a+b"] == pytest.approx(sum(losses) / 3, rel=1e-5)
    right = scores_of(tmp_path, f"exact_match:{asked}", "exact_match", options=TaskOptions(max_new_tokens=4))
    assert right["a+b"] == 1


def save_tensors(folder: Path, **tensors: torch.Tensor) -> Path:
    save(tensors, folder / "data")
    return (folder / "data" / "model.safetensors").rename(folder / "examples.safetensors")


def test_speech_is_scored_on_labels_beside_its_features(tmp_path: Path) -> None:
    write_models("whisper", tmp_path)
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, 20, generator=draw)
    labels = torch.randint(3, 40, (6, 5), generator=draw)
    labels[::2, 3:] = -100
    file = save_tensors(tmp_path, input_features=features, labels=labels)
    scores = scores_of(tmp_path, f"lm:{file}")
    model = transformers.WhisperForConditionalGeneration.from_pretrained(merged(tmp_path))
    with torch.no_grad():
        own = model(input_features=features, labels=labels).loss.item()
    assert scores["a+b"] == pytest.approx(own, rel=1e-5)
    assert scores_of(tmp_path, f"lm:{file}", mode="streamed", memory="64MB") == scores


def test_a_vision_language_model_is_scored_on_labels_beside_pictures(tmp_path: Path) -> None:
    write_models("llava", tmp_path)
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randn(5, 3, 16, 16, generator=draw)
    ids = torch.cat([torch.full((5, 4), 3), torch.randint(4, 40, (5, 6), generator=draw)], dim=1)
    labels = ids.clone()
    labels[:, :5] = -100
    file = save_tensors(tmp_path, pixel_values=pictures, input_ids=ids, labels=labels)
    scores = scores_of(tmp_path, f"lm:{file}")
    model = transformers.LlavaForConditionalGeneration.from_pretrained(merged(tmp_path))
    with torch.no_grad():
        own = model(pixel_values=pictures, input_ids=ids, labels=labels).loss.item()
    assert scores["a+b"] == pytest.approx(own, rel=1e-5)
    assert scores_of(tmp_path, f"lm:{file}", mode="streamed", memory="64MB") == scores


@pytest.mark.parametrize("mode", ["resident", "streamed", "stacked"])
def test_inputs_that_the_model_does_not_take_are_one_line(tmp_path: Path, mode: str) -> None:
    write_models("vit", tmp_path)
    file = save_tensors(tmp_path, pixels=torch.zeros(3, 3, 16, 16), label=torch.arange(3))
    with pytest.raises(InputError, match=r"ViTFor\w+ fails on its inputs, pixels \[3, 3, 16, 16\] float32: "):
        scores_of(tmp_path, f"classify:{file}", mode=mode, memory="64MB")
