"""Datasets that are a file on a disk: what trainers have to be told of it beside its path."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

#: Hugging Face's builder of a file, by the ending of its name.
BUILDERS = {
    ".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".arrow": "arrow", ".txt": "text",
}  # fmt: skip
#: What a record is, by the keys that it has; the first that fits.
_RECORDS = {
    "messages": {"messages"},
    "alpaca": {"instruction", "output"},
    "prompt_completion": {"prompt", "completion"},
    "text": {"text"},
}
#: Longest first line that is looked at.
_MOST_BYTES = 2**24

#: axolotl's `type` of a record; https://docs.axolotl.ai/docs/dataset-formats/.
_AXOLOTL: Mapping[str, Mapping[str, Any]] = {
    "messages": {"type": "chat_template", "field_messages": "messages"},
    "alpaca": {"type": "alpaca"},
    "prompt_completion": {
        "type": {
            "field_instruction": "prompt",
            "field_output": "completion",
            "format": "{instruction}",
            "no_input_format": "{instruction}",
        }
    },
    "text": {"type": "completion", "field": "text"},
}
#: LLaMA-Factory's description of a record; https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md.
_LLAMA_FACTORY: Mapping[str, Mapping[str, Any]] = {
    "messages": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    },
    "alpaca": {},
    "prompt_completion": {"columns": {"prompt": "prompt", "response": "completion"}},
    "text": {"columns": {"prompt": "text"}},
}


def builder_of(path: str) -> str | None:
    """Return Hugging Face's builder of a file by its name; None for an id of the hub or a folder."""
    return BUILDERS.get(PurePath(path).suffix.lower())


def for_load_dataset(path: str) -> dict[str, str]:
    """Return `load_dataset`'s first arguments for a path: a builder and its file, or the path alone."""
    builder = builder_of(path)
    return {"path": path} if builder is None else {"path": builder, "data_files": path}


def for_axolotl(path: str) -> dict[str, Any]:
    """Return axolotl's entry of a path, with the `type` of its records where they can be looked at."""
    builder = builder_of(path)
    if builder is None:
        return {"path": path}
    return {"path": path, "ds_type": builder, **_AXOLOTL.get(record_of(path), {})}


def for_llama_factory(path: str) -> dict[str, Any]:
    """Return LLaMA-Factory's description of a path for `dataset_info.json`."""
    if builder_of(path) is None:
        return {"hf_hub_url": path}
    return {"file_name": path, **_LLAMA_FACTORY.get(record_of(path), {})}


def record_of(path: str) -> str:
    """Say what the records of a JSON Lines file are, by its first one; empty where it cannot be told."""
    if builder_of(path) != "json" or not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        first = file.readline(_MOST_BYTES)
    try:
        record = json.loads(first)
    except ValueError:
        return ""
    keys = record.keys() if isinstance(record, dict) else set()
    return next((kind for kind, wanted in _RECORDS.items() if wanted <= keys), "")
