"""Vocabularies of recipes: the written tokenizer loads and keeps texts, tokens have rows, ids follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.vocabularies import LINES, add_special, byte_pairs, shuffled, unigrams, word_pieces, write_model

from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError, RecipeError
from m2m.merging import merge

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

EMBEDDING = "model.embed_tokens.weight"


def recipe(folders: list[Path], method: str = "task_arithmetic", **more: Any) -> dict[str, Any]:
    entries = [{"model": str(folder), "parameters": {"weight": 0.5}} for folder in folders[1:]]
    return {"merge_method": method, "base_model": str(folders[0]), "models": entries, **more}


def opened(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def rows(folder: Path, name: str = EMBEDDING) -> dict[str, torch.Tensor]:
    tensor = Checkpoint(folder).read(name)
    return {
        token: tensor[number] for token, number in opened(folder).get_vocab().items() if number < len(tensor)
    }


def config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


@pytest.fixture
def chat(tmp_path: Path) -> list[Path]:
    """A base model, a chat model with its ids shuffled and two tokens more, and one with spare rows."""
    base = add_special(byte_pairs(280), "<s>", "</s>")
    one = add_special(shuffled(byte_pairs(285)), "<s>", "</s>", "<|im_start|>", "<|im_end|>")
    two = add_special(byte_pairs(285, ["rows are merged", *LINES]), "<s>", "</s>", "<|im_end|>")
    return [
        write_model(tmp_path / "base", base, 0, bos_token="<s>", eos_token="</s>"),
        write_model(tmp_path / "one", one, 1, bos_token="<s>", eos_token="<|im_end|>"),
        write_model(tmp_path / "two", two, 2, rows=320, bos_token="<s>", eos_token="</s>"),
    ]


def test_a_union_has_every_token_once_and_loads(tmp_path: Path, chat: list[Path]) -> None:
    out = tmp_path / "out"
    merge(recipe(chat, tokenizer_source="union"), out)
    base, one, two = map(rows, chat)
    merged, tokenizer = rows(out), opened(out)
    assert tokenizer.get_vocab().keys() == base.keys() | one.keys() | two.keys()
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert config(out)["vocab_size"] == len(tokenizer) == len(merged)
    ours = opened(chat[0]).get_vocab()
    assert {token: number for token, number in tokenizer.get_vocab().items() if token in ours} == ours
    for line in LINES:
        assert tokenizer.decode(tokenizer(f"{line}<|im_end|>")["input_ids"]) == f"{line}<|im_end|>"
    known = opened(chat[2])  # words that only this model has are still words
    assert tokenizer.tokenize(" merged") == known.tokenize(" merged") != opened(chat[0]).tokenize(" merged")
    assert "<|im_start|>" in {str(token) for token in tokenizer.added_tokens_decoder.values()}
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    # in all; in one only; in two that the base lacks: their mean stands in the base's place
    torch.testing.assert_close(merged["a"], 0.5 * one["a"] + 0.5 * two["a"])
    torch.testing.assert_close(merged["<|im_start|>"], one["<|im_start|>"])
    torch.testing.assert_close(merged["<|im_end|>"], (one["<|im_end|>"] + two["<|im_end|>"]) / 2)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(model.get_input_embeddings().weight[0], merged[tokenizer.convert_ids_to_tokens(0)])


def test_the_bases_tokenizer_leaves_out_what_it_does_not_know(tmp_path: Path, chat: list[Path]) -> None:
    out = tmp_path / "out"
    merge(recipe(chat, tokenizer_source="base"), out)
    assert (out / "tokenizer.json").read_bytes() == (chat[0] / "tokenizer.json").read_bytes()
    assert rows(out).keys() == rows(chat[0]).keys()
    assert config(out)["vocab_size"] == config(chat[0])["vocab_size"]
    _, one, two, merged = map(rows, (*chat, out))
    for token in ("a", "Ġ", "</s>"):
        torch.testing.assert_close(merged[token], 0.5 * one[token] + 0.5 * two[token])


def test_another_models_tokenizer_brings_its_special_tokens(tmp_path: Path, chat: list[Path]) -> None:
    out = tmp_path / "out"
    (chat[1] / "chat_template.jinja").write_text("{{ messages[0].content }}")
    merge(recipe(chat, tokenizer_source=str(chat[1])), out)
    tokenizer = opened(out)
    assert tokenizer.get_vocab() == opened(chat[1]).get_vocab()
    assert (tokenizer.eos_token, tokenizer.chat_template) == ("<|im_end|>", "{{ messages[0].content }}")
    assert config(out)["eos_token_id"] == tokenizer.eos_token_id
    assert config(out)["bos_token_id"] == tokenizer.bos_token_id
    assert config(out, "generation_config.json")["eos_token_id"] == tokenizer.eos_token_id
    # a row that the base lacks is its one other owner's, or their mean: never the base's of another token
    torch.testing.assert_close(rows(out)["<|im_start|>"], rows(chat[1])["<|im_start|>"])


def test_rows_of_tokens_come_from_where_the_recipe_says(tmp_path: Path, chat: list[Path]) -> None:
    one, two = map(str, chat[1:])
    tokens = {
        "<|im_start|>": {"source": {"kind": "zero"}, "force": True},
        "</s>": {"source": {"kind": "model_token", "model": two, "token": "<|im_end|>"}, "force": True},
        "<new>": {"source": {"kind": "model_token", "model": one, "token_id": 5}},
        "<|im_end|>": {"source": one},
    }
    out = tmp_path / "out"
    merge(recipe(chat, tokenizer={"source": "base", "tokens": tokens, "pad_to_multiple_of": 64}), out)
    merged, stored = rows(out), Checkpoint(out).read(EMBEDDING)
    assert config(out)["vocab_size"] == len(stored) == 320
    assert not merged["<|im_start|>"].any()
    torch.testing.assert_close(merged["</s>"], rows(chat[2])["<|im_end|>"])
    torch.testing.assert_close(merged["<new>"], Checkpoint(one).read(EMBEDDING)[5])
    base = rows(chat[1])["<|im_end|>"]  # what the base lacks is taken from there
    torch.testing.assert_close(merged["<|im_end|>"], base + 0.5 * (rows(chat[2])["<|im_end|>"] - base))
    mean = stored[: len(merged)].mean(0)
    torch.testing.assert_close(stored[len(merged) :], mean.expand(320 - len(merged), -1))
    assert opened(out)("<new>")["input_ids"] == [opened(out).convert_tokens_to_ids("<new>")]


@pytest.mark.parametrize("make", [word_pieces, unigrams], ids=["WordPiece", "Unigram"])
def test_other_kinds_of_tokenizers_are_joined(tmp_path: Path, make: Any) -> None:
    folders = [
        write_model(tmp_path / "base", make(60)),
        write_model(tmp_path / "one", add_special(make(75), "<tool>"), 1),
    ]
    merge(recipe(folders, tokenizer_source="union"), tmp_path / "out")
    base, one, merged = map(rows, (*folders, tmp_path / "out"))
    assert merged.keys() == base.keys() | one.keys()
    tokenizer = opened(tmp_path / "out")
    for line in ("the capital of france", "one two"):
        assert tokenizer.decode(tokenizer(line)["input_ids"]) == line
    for token in one:
        wanted = one[token] if token not in base else base[token] + 0.5 * (one[token] - base[token])
        torch.testing.assert_close(merged[token], wanted)


def test_a_tokenizer_without_tokenizer_json_is_turned_into_one(tmp_path: Path) -> None:
    # GPT-2's own class brings the token <|endoftext|>: the 271st here.
    sizes = {"a": 270, "b": 280}
    folders = [write_model(tmp_path / name, byte_pairs(size), rows=size + 1) for name, size in sizes.items()]
    content = config(folders[0], "tokenizer.json")
    (folders[0] / "tokenizer.json").unlink()
    merges = [" ".join(pair) for pair in content["model"]["merges"]]
    (folders[0] / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folders[0] / "vocab.json").write_text(json.dumps(content["model"]["vocab"]))
    (folders[0] / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    old = opened(folders[0])
    merge(recipe(folders, tokenizer_source="union"), tmp_path / "out")
    assert not (tmp_path / "out" / "merges.txt").exists()
    new = opened(tmp_path / "out")
    for line in LINES:
        assert new.decode(new(line)["input_ids"]) == line
    ours = old.get_vocab()
    assert {token: number for token, number in new.get_vocab().items() if token in ours} == ours


def test_tokens_without_rows_are_no_tokens(tmp_path: Path) -> None:
    tokenizer = add_special(byte_pairs(290), "<extra>")
    short = write_model(tmp_path / "short", tokenizer, rows=280)
    other = write_model(tmp_path / "other", byte_pairs(280), 1)
    report = merge(recipe([short, other], tokenizer_source="base"), tmp_path / "out")
    assert any("has no rows for" in note for note in report.notes)
    written = opened(tmp_path / "out")
    assert len(written) == 280
    assert "<extra>" not in written.get_vocab()
    for line in LINES:
        assert written.decode(written(line)["input_ids"]) == line


def test_a_model_without_a_tokenizer_has_the_donors_as_far_as_it_has_rows(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", byte_pairs(280))
    bare = write_model(tmp_path / "bare", byte_pairs(270), 1)
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    report = merge(recipe([base, bare], tokenizer_source="base"), tmp_path / "out")
    assert any("bare: has no tokenizer, and is taken to have that of" in note for note in report.notes)
    merged, ours, theirs = (Checkpoint(path).read(EMBEDDING) for path in (tmp_path / "out", base, bare))
    torch.testing.assert_close(merged[:270], 0.5 * ours[:270] + 0.5 * theirs)
    torch.testing.assert_close(merged[270:], ours[270:])


def test_tokens_that_no_json_lists_count(tmp_path: Path) -> None:
    folders = [
        write_model(tmp_path / name, byte_pairs(270), seed, rows=272) for seed, name in enumerate("ab")
    ]
    said = config(folders[1], "tokenizer_config.json")
    said["added_tokens_decoder"] = {"270": {"content": "<old>", "special": True}}
    (folders[1] / "tokenizer_config.json").write_text(json.dumps(said))
    (folders[1] / "added_tokens.json").write_text(json.dumps({"<older>": 271}))
    merge(recipe(folders, tokenizer_source="union"), tmp_path / "out")
    written = opened(tmp_path / "out").get_vocab()
    assert (written["<old>"], written["<older>"]) == (270, 271)
    stored = Checkpoint(folders[1]).read(EMBEDDING)
    torch.testing.assert_close(Checkpoint(tmp_path / "out").read(EMBEDDING)[270:], stored[270:])


def test_tied_models_have_one_table(tmp_path: Path) -> None:
    folders = [
        write_model(tmp_path / name, byte_pairs(270 + seed), seed, tie_word_embeddings=True)
        for seed, name in enumerate(("base", "one"))
    ]
    merge(recipe(folders, tokenizer_source="union"), tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert len(model.lm_head.weight) == len(opened(tmp_path / "out"))


def test_a_vocabulary_of_another_size_is_refused_and_told_what_to_write(
    tmp_path: Path, chat: list[Path]
) -> None:
    with pytest.raises(CheckpointError, match=r"a row is a token.*write tokenizer_source: base \(or union"):
        merge(recipe(chat), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({"<x>": {"source": "elsewhere"}}, "elsewhere is none of the models merged"),
        ({"<x>": {"source": "one"}}, "has no token '<x>'"),
        ({"<x>": {"source": {"kind": "model_token", "model": "one", "token_id": 999}}}, "has no token 999"),
    ],
)
def test_sources_that_are_not_there_are_named(
    tmp_path: Path, chat: list[Path], monkeypatch: pytest.MonkeyPatch, tokens: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [Path(folder.name) for folder in chat]
    with pytest.raises(RecipeError, match=f"tokenizer.tokens.<x>.source: .*{said}"):
        merge(recipe(folders, tokenizer={"tokens": tokens}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_follow_a_tokenizer_is_refused(tmp_path: Path, chat: list[Path]) -> None:
    kept = recipe(chat, tokenizer_source="base", m2m={"exclude": ["lm_head*"]})
    with pytest.raises(RecipeError, match=r"'lm_head.weight' is kept as it is \(exclude"):
        merge(kept, tmp_path / "out")
    (chat[0] / "tokenizer.json").unlink()
    with pytest.raises(RecipeError, match="base has no tokenizer"):
        merge(recipe(chat, tokenizer_source="base"), tmp_path / "out")
    (chat[0] / "tokenizer.json").write_text(json.dumps({"model": {"type": "Neural"}}))
    with pytest.raises(CheckpointError, match=r"wanted a model of type BPE, .* got the type 'Neural'"):
        merge(recipe(chat, tokenizer_source="base"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_statistics_are_of_moved_rows(tmp_path: Path, chat: list[Path]) -> None:
    for method in ("task_arithmetic", "linear"):
        out = tmp_path / method
        merge(recipe(chat, method, tokenizer_source="union"), out, statistics=True)
        assert (out / "statistics.json").exists()


def test_candidates_and_resumed_merges_have_moved_rows_too(tmp_path: Path, chat: list[Path]) -> None:
    asked = recipe(chat, tokenizer_source="union")
    merge(asked, tmp_path / "out", candidates={"same": (0.5, 0.5), "half": (0.5, 0.0)})
    merge(asked, tmp_path / "alone")
    wanted = Checkpoint(tmp_path / "alone").state()
    for name, tensor in Checkpoint(tmp_path / "out" / "same").state().items():
        assert torch.equal(tensor, wanted[name]), name

    def stop(done: int, total: int, what: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(asked, tmp_path / "later", progress=stop)
    merge(asked, tmp_path / "later", resume=True)
    for name, tensor in Checkpoint(tmp_path / "later").state().items():
        assert torch.equal(tensor, wanted[name]), name
