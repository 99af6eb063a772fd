"""Every table of a run configuration, with the dataclasses that declare its keys (`m2m.support.options`).

Here `docs/configuration.md` and the JSON schema that editors complete from are written; tests hold both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from m2m.pipeline.config import RunOptions, TrainerOptions
from m2m.pipeline.mix_options import MixOptions
from m2m.scoring.tasks.judged_options import JudgedOptions
from m2m.scoring.tasks.task_options import HarnessOptions
from m2m.setups import language_options
from m2m.setups.byte_gpt_options import BaseText, Pretraining, Shape
from m2m.setups.huggingface_options import HuggingFaceOptions
from m2m.setups.load import PythonOptions
from m2m.setups.rows.answers import AnswerRule
from m2m.setups.text import TextSource
from m2m.setups.vision import VisionOptions
from m2m.support.options import Key, default_in_words, json_schema_of, keys_of, table_schema, type_in_words
from m2m.training.recipe import LoraOptions, TrainRecipe


@dataclass(frozen=True)
class ConfigTable:
    """A table of a run configuration.

    Attributes:
        header: How it is written, as in `[setup.datasets.NAME]`.
        about: What it is for, in a sentence or two.
        options: The dataclasses that declare its keys together.
    """

    header: str
    about: str
    options: tuple[type, ...]


RUN = ConfigTable("[run]", "What to choose for, and what to validate.", (RunOptions,))
TRAIN = ConfigTable(
    "[train]",
    "The recipe that every expert and every mixture is trained with ([training.md](training.md)).",
    (TrainRecipe, TrainerOptions),
)
LORA = ConfigTable(
    "[train.lora]",
    'Where `adapter = "lora"`; the table may be missing ([training.md](training.md#lora-and-dora)).',
    (LoraOptions,),
)
MIX = ConfigTable(
    "[mix]",
    "How `m2m mix` looks for shares of the datasets ([mixing.md](mixing.md)). `m2m run` does not need it.",
    (MixOptions,),
)
LANGUAGE = ConfigTable(
    '[setup], kind = "language"', "Text, and a causal language model.", (language_options.LanguageOptions,)
)
HUGGING_FACE = ConfigTable(
    "[setup.base] of a Hugging Face model",
    "Where `model` is a folder or an id of the hub. The table may be missing.",
    (HuggingFaceOptions,),
)
BYTE_GPT = ConfigTable(
    "[setup.base] of the byte GPT",
    'Where `model = "byte-gpt"`: a small model that is pretrained on first use, and kept.',
    (Shape, Pretraining, BaseText),
)
BASE_TEXT = ConfigTable(
    "[setup.base.text.NAME]", "Text that the byte GPT is pretrained on; any number of tables.", (TextSource,)
)
DATASET = ConfigTable(
    "[setup.datasets.NAME]",
    "A dataset, two at least: an expert is fine-tuned on each. NAME is yours; labels and folders have it.",
    (TextSource, language_options.DatasetOptions, AnswerRule),
)
TARGET = ConfigTable(
    "[setup.targets.NAME]",
    "What mixtures are judged on, one at least: a text of its own, or the held-out part of a `dataset`. "
    "Its documents are split by their hash into validation, which chooses, and test, which is asked once.",
    (TextSource, language_options.TargetOptions, AnswerRule),
)
JUDGED = ConfigTable(
    "[setup.targets.NAME] with a `task`",
    "A target that a task judges, of any set-up, as `m2m score` does ([evaluation.md](evaluation.md#tasks)); "
    "the others are judged by the set-up's own loss and metrics.",
    (JudgedOptions, HarnessOptions),
)
VISION = ConfigTable(
    '[setup], kind = "vision"', "Images from pinned packages, and EfficientNet-Lite0.", (VisionOptions,)
)
PYTHON = ConfigTable(
    '[setup], kind = "python"',
    "Your own set-up (`m2m.setups.protocol.Setup`). Your factory gets the table, whatever else it has.",
    (PythonOptions,),
)

#: All of them, in the order of the page.
TABLES = (
    RUN, TRAIN, LORA, LANGUAGE, DATASET, TARGET, JUDGED, HUGGING_FACE, BYTE_GPT, BASE_TEXT, VISION, PYTHON,
    MIX,
)  # fmt: skip

_HEAD = """\
# The configuration of a run

Written by `make docs` from the classes that read it. `m2m run CONFIG.toml --out FOLDER` and `m2m mix` read
one TOML file. A key that is not listed here is an error. Paths start from the file's own folder. Editors
complete keys and explain them by the [JSON schema](configuration.schema.json): with "Even Better TOML" in VS
Code, or taplo elsewhere, write `#:schema PATH/configuration.schema.json` in the file's first line.

An example of a language set-up is a **window** of `context` + 1 tokens: all documents of a dataset stand in
one row, in the order of their hashes, each ended, and windows are cut from it one behind the other; each
predicts `context` tokens. What is left at the end of the row is less than a window and is not used. (`m2m
score --task lm:FILE` uses every token: [evaluation.md](evaluation.md#tasks).) A question with its answer is
an example of its own, of which the answer is learnt: [data.md](data.md).
"""


def reference() -> str:
    """Describe every table and key in Markdown."""
    return "\n".join([_HEAD, *map(_section, TABLES)])


def _section(table: ConfigTable) -> str:
    rows = "\n".join(_row(key) for key in keys_of(*table.options).values())
    head = "| key | what it holds | default | meaning |\n| --- | --- | --- | --- |"
    return f"## {table.header}\n\n{table.about}\n\n{head}\n{rows}\n"


def _row(key: Key) -> str:
    cells = (f"`{key.name}`", type_in_words(key.kind), default_in_words(key), key.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a run configuration."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "m2m run configuration",
        "type": "object",
        "properties": {
            "run": _described(RUN),
            "train": _described(TRAIN),
            "setup": {"oneOf": [_byte_gpt(), _hugging_face(), _vision(), _python()]},
            "mix": _described(MIX),
        },
        "required": ["run", "train", "setup"],
        "additionalProperties": False,
    }


def json_schema_text() -> str:
    """Return the schema as it stands in files."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _described(table: ConfigTable) -> dict[str, Any]:
    return {**table_schema(*table.options), "description": table.about}


def _by_name(table: ConfigTable) -> dict[str, Any]:
    return {"type": "object", "minProperties": 1, "additionalProperties": _described(table)}


def _language(base: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    schema = _described(LANGUAGE)
    own = {
        "base": base,
        "datasets": _by_name(DATASET),
        "targets": _targets(_described(TARGET)),
        "model": model,
    }
    for name, inner in own.items():
        schema["properties"][name] = {**inner, "description": schema["properties"][name]["description"]}
    return schema


def _targets(own: dict[str, Any]) -> dict[str, Any]:
    """Describe targets by name, those of the set-up or of a task."""
    either = {"if": {"type": "object", "required": ["task"]}, "then": _described(JUDGED), "else": own}
    return {"type": "object", "minProperties": 1, "additionalProperties": either}


def _byte_gpt() -> dict[str, Any]:
    base = _described(BYTE_GPT)
    base["properties"]["text"] = _by_name(BASE_TEXT)
    return _language(base, {"const": "byte-gpt"})


def _hugging_face() -> dict[str, Any]:
    return _language(_described(HUGGING_FACE), {"type": "string", "not": {"const": "byte-gpt"}})


def _vision() -> dict[str, Any]:
    schema = _described(VISION)
    of_sources = json_schema_of(tuple[str, ...])
    schema["properties"]["targets"]["anyOf"] = [of_sources, _targets(of_sources)]
    return schema


def _python() -> dict[str, Any]:
    return {**_described(PYTHON), "additionalProperties": True}
