"""The `[setup.base]` table of a Hugging Face model, and the folder that `model` names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.checkpoint.locate import find_folder, is_hub_id
from m2m.errors import CheckpointError, ConfigError
from m2m.setups.packaged_models import PACKAGED_MODELS
from m2m.support.checked import Positive
from m2m.support.doors import read_text, reading
from m2m.support.schema import did_you_mean


@dataclass(frozen=True)
class HuggingFaceOptions:
    """The `[setup.base]` table of such a model.

    Attributes:
        context: Tokens an example predicts.
        trainable: Regular expressions; fine-tuning moves the parameters whose name one of them is found in.
            Empty: all.
        chat_template: Jinja file that conversations are written by; empty: the tokenizer's own template.
        cache_trunk: Whether the frozen blocks below the first trained one run once, and what they make of
            each example is kept in the data cache: training, scoring and merging then run the top only, and
            experts are their trained tensors only. The results are the same but for rounding.
    """

    context: Positive = 128
    trainable: tuple[str, ...] = ()
    chat_template: str = ""
    cache_trunk: bool = False

    def check(self, where: str) -> None:
        """Refuse what is no regular expression; `where` begins the message."""
        for pattern in self.trainable:
            with reading("a regular expression", f"{where}: `trainable` {pattern!r}", ConfigError):
                re.compile(pattern)

    def template(self, root: Path, where: str) -> str:
        """Read the chat template, from the folder `root`; empty: the tokenizer's own."""
        if not self.chat_template:
            return ""
        return read_text(root / self.chat_template, f"a chat template, as {where} says", ConfigError)


def find(model: str, root: Path) -> Path:
    """Find the folder of a model, named by its place from `root` or by its id on the hub."""
    folder = root / model
    if folder.exists() or not is_hub_id(model):
        return folder
    try:
        return find_folder(model)
    except CheckpointError as error:
        known = ["byte-gpt", *PACKAGED_MODELS]
        raise ConfigError(f"[setup]: `model` {error}{_meant(folder.name, known)}") from error


def check_name(model: str, root: Path) -> None:
    """Refuse what names neither a folder with a model nor an id on the hub; nothing is fetched."""
    folder = root / model
    if folder.exists() or not is_hub_id(model):
        check_folder(folder)


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds no model."""
    if not (folder / "config.json").is_file():
        known = ["byte-gpt", *PACKAGED_MODELS]
        raise ConfigError(
            f"[setup]: `model` must be a Hugging Face folder, its id on the hub (org/name) or one of "
            f"{', '.join(known)}; {folder} has no config.json{_meant(folder.name, known)}"
        )


def has_template(folder: Path) -> bool:
    """Say whether a tokenizer's folder holds a chat template, in a place that transformers knows."""
    if any(folder.glob("*chat_template*")):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and '"chat_template"' in config.read_text(encoding="utf-8", errors="replace")


def _meant(name: str, known: Sequence[str]) -> str:
    # A family's name is shorter than its models': `smollm2` of `smollm2-135m-instruct`.
    longer = next((each for each in known if len(name) > 2 and each.startswith(name.lower())), None)
    return did_you_mean(longer or name, known)
