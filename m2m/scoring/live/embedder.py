"""How a folder's model turns a text into one vector: what sentence-transformers keeps beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError
from m2m.support.doors import read_json

#: Keys of `1_Pooling/config.json` and what they stand for.
_POOLINGS = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
#: Modules beside the model itself that have no weights of their own.
_WITHOUT_WEIGHTS = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class Embedding:
    """How texts become vectors.

    Attributes:
        pooling: What is made of the tokens' vectors: their `mean`, `max`, the `first` or the `last`.
        prompt: What is put before every text.
        longest: Most tokens of a text; None: the model's.
    """

    pooling: str = "mean"
    prompt: str = ""
    longest: int | None = None


def read_embedding(folder: Path) -> Embedding:
    """Read how a folder's texts become vectors; one that says nothing takes the mean of the tokens' vectors.

    Args:
        folder: A Hugging Face folder.

    Returns:
        What it says.

    Raises:
        ConfigError: If it has layers after the model, or pools in a way that is not known.
    """
    for module in _read(folder / "modules.json", [{}]):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _WITHOUT_WEIGHTS:
            raise ConfigError(
                f"{folder}/modules.json: a {kind} layer follows the model; its weights are in a folder of "
                "their own, which is not merged: only models that end with pooling are scored"
            )
    told: Mapping[str, Any] = _read(folder / "1_Pooling" / "config.json", {})
    chosen = [name for key, name in _POOLINGS.items() if told.get(key)]
    if told and len(chosen) != 1:
        raise ConfigError(
            f"{folder}/1_Pooling/config.json: wanted one of {', '.join(_POOLINGS)} to be true, got {chosen}"
        )
    settings: Mapping[str, Any] = _read(folder / "config_sentence_transformers.json", {})
    prompt = (settings.get("prompts") or {}).get(settings.get("default_prompt_name"), "")
    longest = _read(folder / "sentence_bert_config.json", {}).get("max_seq_length")
    pooling = chosen[0] if chosen else Embedding.pooling
    return Embedding(pooling, prompt, longest if isinstance(longest, int) else None)


def _read(path: Path, shape: Any) -> Any:
    what = "settings of a sentence embedder"
    return read_json(path, what, ConfigError, shape) if path.is_file() else type(shape)()
