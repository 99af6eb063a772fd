"""The law of vocabularies: a merge under one is the plain merge of models whose rows were moved before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.vocabularies import write_words
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m import _core
from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.header import parse_dtype
from m2m.merging import merge
from m2m.merging.methods.exact import round_once
from m2m.merging.recipe.models import open_references
from m2m.merging.recipe.reader import load
from m2m.merging.stream import memory, passes
from m2m.merging.vocabulary.gathered import GatheredTensor
from m2m.merging.vocabulary.vocabulary import plan_vocabulary

WORDS = [f"w{number}" for number in range(24)]
NAMES = ("base", "one", "two")
TENSORS = ("model.embed_tokens.weight", "lm_head.weight", "lm_head.bias")
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
METHODS: dict[str, dict[str, Any]] = {
    "linear": {},
    "task_arithmetic": {},
    "ties": {"density": 0.4},
    "dare_ties": {"density": 0.6},
    "della": {"density": 0.5},
    "sce": {"select_topk": 0.5},
    "model_stock": {"filter_wise": True},
    "multislerp": {},
}


def bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).contiguous().view(torch.uint8)


def moved(
    states: list[dict[str, Tensor]],
    vocabularies: list[list[str]],
    out: list[str],
    wishes: dict[str, tuple[tuple[int, int] | None, bool]],
    multiple: int,
) -> list[dict[str, Tensor]]:
    """mergekit's rules, spelled out: every model's rows as the output's vocabulary wants them. [K]"""
    wide = {
        name: torch.float64 if torch.float64 in kinds else kinds.pop() if len(kinds) == 1 else torch.float32
        for name in TENSORS
        if (kinds := {state[name].dtype for state in states})
    }
    return [
        {
            name: _moved(name, k, states, vocabularies, out, wishes, multiple, wide[name])
            if name in TENSORS
            else tensor
            for name, tensor in state.items()
        }
        for k, state in enumerate(states)
    ]


def _moved(
    name: str,
    own: int,
    states: list[dict[str, Tensor]],
    vocabularies: list[list[str]],
    out: list[str],
    wishes: dict[str, tuple[tuple[int, int] | None, bool]],
    multiple: int,
    dtype: torch.dtype,
) -> Tensor:
    rows = []
    for token in out:
        having = [k for k, words in enumerate(vocabularies) if token in words]
        of = {k: states[k][name][vocabularies[k].index(token)].to(dtype) for k in having}
        wish, force = wishes.get(token, (None, False))
        if own in of and not force:
            row = of[own]
        elif token in wishes:
            row = (
                torch.zeros_like(states[0][name][0], dtype=dtype)
                if wish is None
                else states[wish[0]][name][wish[1]]
            )
        elif not having:
            row = torch.zeros_like(states[0][name][0])
        elif len(having) == 1 or 0 in having:  # the base model is the first
            row = of[having[0]]
        else:
            total = of[having[0]].double()
            for k in having[1:]:
                total = total + of[k].double()
            row = round_once(total / len(having), dtype)
        rows.append(row.to(dtype))
    if len(rows) % multiple:
        total = torch.zeros_like(rows[0], dtype=torch.float64)
        for row in rows:
            total = total + row.double()
        mean = round_once(total / len(rows), dtype)
        rows += [mean] * (-len(rows) % multiple)
    return torch.stack(rows)


def make_models(folder: Path, data: st.DataObject) -> tuple[list[dict[str, Tensor]], list[list[str]]]:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    width = data.draw(st.sampled_from([1, 3, 700, 1300]))
    states, vocabularies = [], []
    for name in NAMES:
        words = data.draw(st.lists(st.sampled_from(WORDS), min_size=2, max_size=20, unique=True))
        spare, dtype = data.draw(st.integers(0, 3)), data.draw(st.sampled_from(DTYPES))
        shapes = {
            "model.embed_tokens.weight": (len(words) + spare, width),
            "lm_head.weight": (len(words) + spare, width),
            "lm_head.bias": (len(words) + spare,),
            "model.norm.weight": (5,),
        }
        state = {key: torch.randn(shape, generator=generator).to(dtype) for key, shape in shapes.items()}
        save(state, folder / name)
        write_words(folder / name, {word: number for number, word in enumerate(words)})
        states.append(state)
        vocabularies.append(words)
    return states, vocabularies


def draw_setting(
    folder: Path, data: st.DataObject, states: list[dict[str, Tensor]], vocabularies: list[list[str]]
) -> tuple[dict[str, Any], list[str], dict[str, tuple[tuple[int, int] | None, bool]]]:
    """What the recipe says of tokens, the output's tokens by id, and where the recipe's tokens come from."""
    source = data.draw(st.sampled_from(["union", "base", "one"]))
    first = vocabularies[NAMES.index("one") if source == "one" else 0]
    others = vocabularies if source == "union" else []
    out = [*dict.fromkeys([*first, *(word for words in others for word in words)])]
    tokens: dict[str, dict[str, Any]] = {}
    wishes: dict[str, tuple[tuple[int, int] | None, bool]] = {}
    for token in data.draw(st.lists(st.sampled_from([*WORDS, "<new>"]), max_size=4, unique=True)):
        force, kind = data.draw(st.booleans()), data.draw(st.sampled_from(["zero", "token", "token_id"]))
        k = data.draw(st.integers(0, len(NAMES) - 1))
        row = data.draw(st.integers(0, len(vocabularies[k]) - 1))
        model = {"kind": "model_token", "model": str(folder / NAMES[k])}
        entry = {
            "zero": {"kind": "zero"},
            "token": {**model, "token": vocabularies[k][row]},
            "token_id": {**model, "token_id": row},
        }[kind]
        tokens[token] = {"source": entry, "force": force}
        wishes[token] = (None if kind == "zero" else (k, row), force)
        if token not in out:
            out.append(token)
    multiple = data.draw(st.sampled_from([None, 1, 8]))
    setting = {
        "source": str(folder / source) if source == "one" else source,
        "tokens": tokens,
        "pad_to_multiple_of": multiple,
    }
    return setting, out, wishes


@settings(max_examples=15)
@given(
    method=st.sampled_from([*METHODS]),
    threads=st.integers(1, 4),
    slot=st.sampled_from([4096, 128 * 1024]),
    window=st.sampled_from([1, 256 * 2**20]),
    isa=st.sampled_from(_core.available_isas()),
    data=st.data(),
)
def test_a_merge_is_that_of_models_whose_rows_were_moved(
    tmp_path_factory: pytest.TempPathFactory,
    method: str,
    threads: int,
    slot: int,
    window: int,
    isa: str,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "vocabulary_law"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    states, vocabularies = make_models(folder, data)
    setting, out, wishes = draw_setting(folder, data, states, vocabularies)
    weighted = {"weight": 0.5} if method not in ("sce", "model_stock") else {}
    recipe = {
        "merge_method": method,
        "base_model": str(folder / "base"),
        "models": [{"model": str(folder / name), "parameters": weighted} for name in NAMES[1:]],
        "parameters": METHODS[method],
        "tokenizer": setting,
    }
    before = _core.current_isa()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "SLOT_BYTES", slot)
        patch.setattr(passes, "WINDOW_BYTES", window)
        _core.use_isa(isa)
        try:
            merge(recipe, folder / "out", threads=threads, memory="1GiB")
        finally:
            _core.use_isa(before)
    for name, state in zip(
        NAMES, moved(states, vocabularies, out, wishes, setting["pad_to_multiple_of"] or 1), strict=True
    ):
        save(state, folder / "moved" / name)
    plain = {**recipe, "base_model": str(folder / "moved" / "base")}
    plain["models"] = [{"model": str(folder / "moved" / name), "parameters": weighted} for name in NAMES[1:]]
    del plain["tokenizer"]
    merge(plain, folder / "wanted", dtype=parse_dtype(str(states[0]["lm_head.bias"].dtype)))
    found, wanted = Checkpoint(folder / "out").state(), Checkpoint(folder / "wanted").state()
    for name, tensor in found.items():
        assert tensor.shape == wanted[name].shape, name
        assert torch.equal(bits(tensor), bits(wanted[name])), name
    _check_twin(recipe, plain)


def _check_twin(recipe: dict[str, Any], plain: dict[str, Any]) -> None:
    """A gathered tensor formed whole is the moved one."""
    read = load(recipe)
    models = open_references([read.donor, *read.models], read.base)
    vocabulary = plan_vocabulary(read, models)
    assert vocabulary is not None
    inputs = [read.donor, *read.models]
    for name in TENSORS:
        infos = vocabulary.tensors(models, inputs, [name] * len(inputs))
        folders = [plain["base_model"], *(entry["model"] for entry in plain["models"])]
        for info, path in zip(infos, folders, strict=True):
            if isinstance(info, GatheredTensor):
                assert torch.equal(bits(info.form()), bits(Checkpoint(path).read(name)))
