"""Every key that is written for axolotl and LLaMA-Factory is one that they read: names from their sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from m2m.exporting import Sources, render
from m2m.mixture import Mixture

#: axolotl 0.18.0 (commit 067b021): `SFTDataset`, `UserDefinedPrompterType` of
#: src/axolotl/utils/schemas/datasets.py, and what of src/axolotl/utils/schemas/config.py is about datasets.
AXOLOTL = {"datasets", "shuffle_merged_datasets"}
AXOLOTL_DATASET = {
    "path", "split", "type", "input_transform", "shards", "shards_idx", "preprocess_shards", "conversation",
    "chat_template", "chat_template_jinja", "data_files", "input_format", "name", "ds_type", "field",
    "field_human", "field_model", "field_messages", "field_tools", "field_thinking", "template_thinking_key",
    "message_field_role", "message_field_content", "message_property_mappings", "message_field_training",
    "message_field_training_detail", "split_thinking", "logprobs_field", "temperature", "roles_to_train",
    "train_on_eos", "train_on_eot", "roles", "drop_system_message", "trust_remote_code", "revision",
}  # fmt: skip
AXOLOTL_TYPE = {
    "system_prompt", "system_format", "field_system", "field_instruction", "field_input", "field_output",
    "format", "no_input_format",
}  # fmt: skip
#: LLaMA-Factory 0.9.6.dev0 (commit ff6d4d1): `DataArguments` of src/llamafactory/hparams/data_args.py, and
#: `DatasetAttr.join` and `get_dataset_list` of src/llamafactory/data/parser.py.
LLAMA_FACTORY = {
    "template", "dataset", "eval_dataset", "dataset_dir", "media_dir", "cutoff_len", "train_on_prompt",
    "mask_history", "streaming", "buffer_size", "mix_strategy", "interleave_probs", "overwrite_cache",
    "preprocessing_batch_size", "preprocessing_num_workers", "max_samples", "eval_num_beams",
    "ignore_pad_token_for_loss", "val_size", "eval_on_each_dataset", "packing", "neat_packing", "tool_format",
    "default_system", "enable_thinking", "preserve_thinking", "tokenized_path", "data_shared_file_system",
}  # fmt: skip
LLAMA_FACTORY_STRATEGIES = {"concat", "interleave_under", "interleave_over", "interleave_once"}
LLAMA_FACTORY_DATASET = {
    "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name", "formatting",
    "ranking", "subset", "split", "folder", "num_samples", "columns", "tags",
}  # fmt: skip
LLAMA_FACTORY_COLUMNS = {
    "prompt", "query", "response", "history", "messages", "system", "tools", "images", "videos", "audios",
    "chosen", "rejected", "kto_tag",
}  # fmt: skip
LLAMA_FACTORY_TAGS = {
    "role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag",
}  # fmt: skip

RECORDS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": "user", "content": "Is it?"}]},
    "alpaca": {"instruction": "Say so.", "output": "So."},
    "prompt_completion": {"prompt": "Is it?", "completion": " It is."},
    "text": {"text": "It is."},
    "other": {"question": "Is it?"},
}


@pytest.fixture
def files(tmp_path: Path) -> Sources:
    """A file of every kind of record, and a dataset of the hub."""
    paths = {"hub": "owner/hub"}
    for kind, record in RECORDS.items():
        (tmp_path / f"{kind}.jsonl").write_text(json.dumps(record) + "\n")
        paths[kind] = str(tmp_path / f"{kind}.jsonl")
    return Sources(paths, total=60)


def written(to: str, sources: Sources) -> dict[str, Any]:
    names = list(sources.paths)
    return yaml.safe_load(render(Mixture.subset(names, names), to, sources))


def test_axolotl(files: Sources) -> None:
    found = written("axolotl", files)
    assert found.keys() <= AXOLOTL
    assert len(found["datasets"]) == len(RECORDS) + 1
    for entry in found["datasets"]:
        assert entry.keys() <= AXOLOTL_DATASET
        assert isinstance(entry.get("type", ""), str) or entry["type"].keys() <= AXOLOTL_TYPE


def test_llama_factory(files: Sources) -> None:
    found = written("llama-factory", files)
    assert found.keys() <= LLAMA_FACTORY
    assert found["mix_strategy"] in LLAMA_FACTORY_STRATEGIES


def test_llama_factory_info(files: Sources) -> None:
    found = written("llama-factory-info", files)
    assert len(found) == len(RECORDS) + 1
    for entry in found.values():
        assert entry.keys() <= LLAMA_FACTORY_DATASET
        assert entry.get("columns", {}).keys() <= LLAMA_FACTORY_COLUMNS
        assert entry.get("tags", {}).keys() <= LLAMA_FACTORY_TAGS
        assert entry.get("formatting", "alpaca") in ("alpaca", "sharegpt", "openai")
