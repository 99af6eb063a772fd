"""The language set-up: next-token loss of a byte-level GPT, or of any causal LM in a Hugging Face folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from m2m.errors import ConfigError, DataError
from m2m.setups import byte_gpt
from m2m.setups.packaged_models import PACKAGED_MODELS, packaged_model
from m2m.setups.protocol import Batch, Examples, Target, logits_of
from m2m.setups.text import TextSource
from m2m.support.checked import Positive
from m2m.support.names import check_names
from m2m.support.options import key_names
from m2m.support.progress import Progress
from m2m.support.schema import check_keys, check_whole

#: Share of a dataset's documents that is kept from training once a target is its held-out text.
HELD_OUT = 0.2
#: Examples a target split has unless its table says otherwise.
TARGET_EXAMPLES = 64


@dataclass(frozen=True)
class LanguageOptions:
    """The `[setup]` table with `kind = "language"`.

    Attributes:
        kind: Which set-up it is.
        model: A folder with a Hugging Face causal language model and its tokenizer; or
            `"smollm2-135m-instruct"`, which a pinned package carries (extra `gguf`); or `"byte-gpt"`, a
            small model of bytes that is pretrained here.
        trust_remote_code: Whether Python code in the model's folder may run.
        base: The table `[setup.base]`: how the model is made or used.
        datasets: Tables `[setup.datasets.NAME]`.
        targets: Tables `[setup.targets.NAME]`.
    """

    kind: Literal["language"]
    model: str
    datasets: Mapping[str, Mapping[str, Any]]
    targets: Mapping[str, Mapping[str, Any]]
    base: Mapping[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False


@dataclass(frozen=True)
class DatasetOptions:
    """Keys of `[setup.datasets.NAME]` beside those of its text.

    Attributes:
        limit: Most examples; those taken lie at even distances. Missing: all.
    """

    limit: Positive | None = None


@dataclass(frozen=True)
class TargetOptions:
    """Keys of `[setup.targets.NAME]` beside those of its text.

    Attributes:
        dataset: Name of a dataset: a fifth of its documents is kept from training and is this target's
            text. Instead of `files`.
        validation: Examples that mixtures are chosen by.
        test: Examples that only the finished models see.
    """

    dataset: str | None = None
    validation: Positive = TARGET_EXAMPLES
    test: Positive = TARGET_EXAMPLES


class LanguageModel(Protocol):
    """What the set-up needs of a model: tokens, weights, logits."""

    @property
    def context(self) -> int:
        """Longest input, in tokens."""

    @property
    def version(self) -> str:
        """Content hash of all that decides θ₀ and the tokens."""

    def encode(self, documents: Sequence[str]) -> Tensor:
        """Turn documents into one row of tokens, each document ended."""

    def build(self) -> nn.Module:
        """Return a new module of the base architecture."""

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀."""

    def inputs(self, tokens: Tensor) -> dict[str, Tensor]:
        """Name tokens as the model's forward does, which returns (an object with) logits [B, T, V]."""

    def hidden(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Return the last hidden states: int64 [B, T] to [B, T, D]."""


@dataclass(frozen=True)
class LanguageSetup:
    """Language modelling on named text; an example is a window of `context` + 1 tokens. See `protocol.Setup`.

    Attributes:
        language_model: Base model and tokens.
        datasets: Training windows by dataset name. each [E, context + 1]
        targets: Targets by name.
        version: Content hash of model and data.
        metrics: The one metric: `loss`, in nat a token (a byte for the byte GPT).
        batch_size: Examples a batch in evaluation.
    """

    language_model: LanguageModel
    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target]
    version: str
    metrics: Mapping[str, bool]
    batch_size: int = 16

    def build(self) -> nn.Module:
        """Return a new module of the base architecture."""
        return self.language_model.build()

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀, made on first use."""
        return self.language_model.base_state(cache, progress)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Next-token cross-entropy of each window [B, T + 1], nat a token: [B]."""
        return self.judge(model(**self.inputs(batch)), batch)["loss"]

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Give the model all tokens of a window [B, T + 1] but the last."""
        return self.language_model.inputs(batch[0].long()[:, :-1])

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Judge windows [B, T + 1] by next-token cross-entropy, nat a token, from logits [B, T, V]: [B]."""
        following = batch[0].long()[:, 1:]
        logits = logits_of(output)
        nats = functional.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none")
        return {"loss": nats.view(len(following), -1).mean(1)}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Average the last hidden states over positions: [B, D]."""
        return self.language_model.hidden(model, batch[0].long()[:, :-1]).mean(1)


def from_spec(
    spec: Mapping[str, Any], root: Path, cache: Path, progress: Progress | None = None
) -> LanguageSetup:
    """Make the set-up of a `[setup]` table with `kind = "language"`."""
    check_keys(spec, key_names(LanguageOptions), "[setup]")
    tables = {name: _tables(spec, name) for name in ("datasets", "targets")}
    sources = {
        name: _source(table, f"[setup.datasets.{name}]", DatasetOptions)
        for name, table in tables["datasets"].items()
    }
    held_out = {table["dataset"] for table in tables["targets"].values() if "dataset" in table}
    if unknown := held_out - set(sources):
        raise ConfigError(
            f"[setup.targets]: no dataset {sorted(unknown)} to hold text out of; there are {list(sources)}"
        )
    model = _language_model(spec, root, cache, progress)
    reader = _WindowReader(model, root, cache, progress)
    datasets = {
        name: reader.dataset(
            source.part(0, 1 - HELD_OUT) if name in held_out else source, tables["datasets"][name], name
        )
        for name, source in sources.items()
    }
    targets = {name: reader.target(table, name, sources) for name, table in tables["targets"].items()}
    return LanguageSetup(model, datasets, targets, _version(model, datasets, targets), {"loss": False})


@dataclass(frozen=True)
class _WindowReader:
    """Reads sources into windows of tokens."""

    model: LanguageModel
    root: Path
    cache: Path
    progress: Progress | None

    def dataset(self, source: TextSource, table: Mapping[str, Any], name: str) -> Examples:
        windows, where = self.windows(source), f"[setup.datasets.{name}]"
        if not len(windows):
            raise DataError(f"{where}: less text than one example of {self.model.context} tokens")
        limit = _count(table, "limit", len(windows), where)
        return Examples((_spread(windows, min(limit, len(windows))),))

    def target(self, table: Mapping[str, Any], name: str, sources: Mapping[str, TextSource]) -> Target:
        where = f"[setup.targets.{name}]"
        if "dataset" in table:
            check_keys(table, key_names(TargetOptions), where)
            source = sources[table["dataset"]].part(1 - HELD_OUT, 1)
        else:
            source = _source(table, where, TargetOptions)
        halves = {"validation": source.part(0, 0.5), "test": source.part(0.5, 1)}
        return Target(**{split: self.split(half, table, split, where) for split, half in halves.items()})

    def split(self, source: TextSource, table: Mapping[str, Any], split: str, where: str) -> Examples:
        windows, wanted = self.windows(source), _count(table, split, TARGET_EXAMPLES, where)
        if len(windows) < wanted:
            raise DataError(
                f"{where}: {len(windows)} {split} examples of {self.model.context} tokens, wanted {wanted}"
            )
        return Examples((_spread(windows, wanted),))

    def windows(self, source: TextSource) -> Tensor:
        # Windows overlap by one token: the last that one predicts is the first that the next predicts from.
        tokens = self.model.encode(source.documents(self.root, self.cache, self.progress))
        if len(tokens) <= self.model.context:
            return tokens.new_empty(0, self.model.context + 1)
        return tokens.unfold(0, self.model.context + 1, self.model.context)


def _spread(windows: Tensor, count: int) -> Tensor:
    # At even distances, so that few examples still come from many documents.
    return windows[torch.arange(count) * len(windows) // count].contiguous()


def _version(model: LanguageModel, datasets: Mapping[str, Examples], targets: Mapping[str, Target]) -> str:
    content = hashlib.sha256(f"language 1 {model.version}".encode())
    splits = {f"dataset {name}": examples for name, examples in datasets.items()}
    for name, target in targets.items():
        splits |= {f"validation {name}": target.validation, f"test {name}": target.test}
    for name, examples in splits.items():
        content.update(
            f"{name} {tuple(examples.tensors[0].shape)}".encode() + examples.tensors[0].numpy().tobytes()
        )
    return content.hexdigest()[:16]


def _language_model(
    spec: Mapping[str, Any], root: Path, cache: Path, progress: Progress | None
) -> LanguageModel:
    base = spec.get("base", {})
    if not isinstance(base, dict):
        raise ConfigError(f"[setup]: `base` must be a table, got {base!r}")
    trust = spec.get("trust_remote_code", False)
    if not isinstance(trust, bool):
        raise ConfigError(f"[setup]: `trust_remote_code` must be true or false, got {trust!r}")
    if spec.get("model") == "byte-gpt":
        return byte_gpt.from_table(base, root, cache, "[setup.base]", progress)
    if not isinstance(name := spec.get("model"), str):
        known = ", ".join(f'"{each}"' for each in ("byte-gpt", *PACKAGED_MODELS))
        raise ConfigError(f"[setup]: `model` must be one of {known}, or a Hugging Face model's folder")
    from m2m.setups import huggingface

    def folder() -> Path:
        return packaged_model(name, cache, progress) if name in PACKAGED_MODELS else root / name

    return huggingface.from_table(folder, base, "[setup.base]", trust=trust)


def _source(table: Mapping[str, Any], where: str, more: type) -> TextSource:
    check_keys(table, key_names(TextSource, more), where)
    return TextSource.parse(table, where)


def _tables(spec: Mapping[str, Any], name: str) -> Mapping[str, Mapping[str, Any]]:
    tables = spec.get(name)
    if not isinstance(tables, dict) or not tables or not all(isinstance(t, dict) for t in tables.values()):
        raise ConfigError(f"[setup]: wanted tables [setup.{name}.NAME]")
    check_names(tables, f"[setup.{name}]: {name.removesuffix('s')}")  # before anything is fetched
    return tables


def _count(table: Mapping[str, Any], key: str, default: int, where: str) -> int:
    value: int = table.get(key, default)
    check_whole(f"{where}: `{key}`", value, 1)
    return value
