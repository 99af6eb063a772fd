"""`chat_template` of a recipe: by name as documented, from a file, as text, or the most common one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.chat_folders import CHATML, INST, chat_tokenizer, write_chat_llama

from m2m.errors import RecipeError
from m2m.merging import merge
from m2m.merging.recipe.reader import load

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye"},
]
TASK = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
#: What the makers of each format document: with a system's words, and without.
WANTED = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n",
        "",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "llama3": (
        "<bos><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>",
        "<bos>",
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        "Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": ("<bos>[INST] Be brief.\n\n", "<bos>[INST] ", "Hi [/INST] Hello.<eos>[INST] Bye [/INST]"),
    "alpaca": (
        "Be brief.\n\n",
        f"{TASK}\n\n",
        "### Instruction:\nHi\n\n### Response:\nHello.<eos>\n\n### Instruction:\nBye\n\n### Response:\n",
    ),
    "exaone": (
        "[|system|]Be brief.[|endofturn|]\n",
        "[|system|][|endofturn|]\n",
        "[|user|]Hi\n[|assistant|]Hello.[|endofturn|]\n[|user|]Bye\n[|assistant|]",
    ),
}


def recipe(models: list[Path], **more: Any) -> dict[str, Any]:
    entries = [{"model": str(model), "parameters": {"weight": 1.0}} for model in models]
    return {"merge_method": "linear", "models": entries, **more}


@pytest.mark.parametrize("name", WANTED)
def test_a_named_template_writes_the_documented_conversation(name: str) -> None:
    template = load(recipe([Path("a")], chat_template=name)).chat_template
    tokenizer = chat_tokenizer(template)
    tokenizer.add_special_tokens({"bos_token": "<bos>", "eos_token": "<eos>"})
    with_system, without, rest = WANTED[name]
    for before, messages in ((with_system, [SYSTEM, *TURNS]), (without, TURNS)):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert text == before + rest


@pytest.mark.parametrize("name", ["mistral", "alpaca"])
def test_a_template_refuses_what_its_format_cannot_say(name: str) -> None:
    tokenizer = chat_tokenizer(load(recipe([Path("a")], chat_template=name)).chat_template)
    with pytest.raises(Exception, match="user"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "1"}], tokenize=False)


def test_the_template_takes_the_donors_place_wherever_it_is_read(tmp_path: Path) -> None:
    donor = write_chat_llama(tmp_path / "a")
    config = json.loads((donor / "tokenizer_config.json").read_text())
    (donor / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": CHATML}))
    (donor / "additional_chat_templates").mkdir()
    (donor / "additional_chat_templates" / "tool_use.jinja").write_text("{{ 'old' }}")
    merge(recipe([donor], chat_template="exaone"), tmp_path / "out")
    text = load(recipe([donor], chat_template="exaone")).chat_template
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == text
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["chat_template"] == text
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == text


def test_auto_is_the_most_common_template(tmp_path: Path) -> None:
    models = [
        write_chat_llama(tmp_path / f"m{number}", template)
        for number, template in enumerate([CHATML, INST, INST, None])
    ]
    report = merge(recipe(models, chat_template="auto"), tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == INST
    assert any(f"that of {models[1]} is written, which 2 of 4 models have" in note for note in report.notes)
    assert not report.warnings  # that templates differ is what `auto` answers
    bare = write_chat_llama(tmp_path / "bare", None)
    report = merge(recipe([bare], chat_template="auto"), tmp_path / "none")
    assert not (tmp_path / "none" / "chat_template.jinja").exists()
    assert any("no model has a chat template" in note for note in report.notes)


def test_a_file_holds_a_template(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}")
    asked = recipe([Path("a")], chat_template=str(tmp_path / "mine.jinja"))
    assert load(asked).chat_template == "{{ messages[0].content }}"
    (tmp_path / "mine.jinja").unlink()
    with pytest.raises(RecipeError, match=r"cannot read a chat template .*mine.jinja: No such file"):
        load(asked)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("chatmi", "did you mean 'chatml'"),
        ("plain words", "wanted alpaca, chatml, exaone, llama3, mistral, auto, a file"),
        (3, "chat_template 3 is none"),
    ],
)
def test_what_is_no_template_is_refused(value: object, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load(recipe([Path("a")], chat_template=value))
