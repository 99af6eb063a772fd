"""The language set-up: next-token loss of a byte-level GPT, or of any causal LM in a Hugging Face folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor, nn
from torch.nn import functional

from m2m.errors import ConfigError, DataError
from m2m.setups import byte_gpt, huggingface, huggingface_options
from m2m.setups.cached_trunk import CachedTrunkModel
from m2m.setups.huggingface import HuggingFaceModel
from m2m.setups.kept_activations import Windows
from m2m.setups.language_options import TARGET_EXAMPLES
from m2m.setups.language_spec import BASE, LanguageSpec
from m2m.setups.packaged_models import packaged_model
from m2m.setups.protocol import Batch, Examples, Target, logits_of
from m2m.setups.rows.answers import AnswerRule
from m2m.setups.rows.collection import Collection
from m2m.setups.rows.examples import (
    Made,
    TokenModel,
    batchable,
    before_last_answer,
    longest,
    make_examples,
)
from m2m.setups.rows.formats import Document, as_record
from m2m.setups.rows.inventory import Inventory, Read
from m2m.setups.rows.items import Item, item_of
from m2m.setups.rows.kept_examples import kept_examples
from m2m.setups.text import TextSource
from m2m.support.options import key_names
from m2m.support.progress import Progress, nobody

#: Share of a dataset's documents that is kept from training once a target is its held-out text.
HELD_OUT = 0.2


class LanguageModel(TokenModel, Protocol):
    """What the set-up needs of a model: tokens, weights, logits."""

    @property
    def version(self) -> str:
        """Content hash of all that decides θ₀ and the tokens."""

    def build(self) -> nn.Module:
        """Return a new module of the base architecture."""

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀."""

    def inputs(self, tokens: Tensor, learnt: Tensor | None = None) -> dict[str, Tensor]:
        """Name tokens [B, T] as the model's forward does, and after which ones the next is learnt [B, T].

        The forward returns (an object with) logits [B, T, V], or those of the A learnt positions [A, V].
        """

    def hidden(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Return the last hidden states: int64 [B, T] to [B, T, D]."""


@dataclass(frozen=True)
class LanguageSetup:
    """Language modelling on named text, and on answers to questions. See `protocol.Setup`.

    An example of text is a window of `context` + 1 tokens. A question with its answer is an example of its
    own, its tokens filled up on the right with what causal attention keeps it from seeing; its loss is the
    mean over its answer tokens.

    Attributes:
        language_model: Base model and tokens.
        datasets: Training examples by dataset name: windows [E, context + 1], or tokens [E, T] and which of
            them are learnt [E, T], in all datasets alike.
        targets: Targets by name; each has one of these forms.
        version: Content hash of model and data.
        metrics: The one metric: `loss`, in nat a token (a byte for the byte GPT).
        batch_size: Examples a batch in evaluation.
        inventory: What was read.
        documents: Reads again the documents that a dataset's examples were made of, by its name.
        compared: Reads again what is compared of the documents of each part, by its name and split, which is
            `train` for a dataset.
    """

    language_model: LanguageModel
    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target]
    version: str
    metrics: Mapping[str, bool]
    batch_size: int = 16
    inventory: Inventory = field(default_factory=lambda: Inventory(()))
    documents: Mapping[str, Callable[[], Iterable[Document]]] = field(default_factory=dict)
    compared: Mapping[tuple[str, str], Callable[[], Sequence[Item]]] = field(default_factory=dict)

    @property
    def model_folder(self) -> Path | None:
        """Folder that transformers loads the base model from; None if there is none."""
        return getattr(self.language_model, "folder", None)

    @property
    def context(self) -> int:
        """Tokens an example predicts."""
        return self.language_model.context

    @property
    def trainable(self) -> tuple[str, ...]:
        """Regular expressions on the names of the parameters that fine-tuning moves; empty: all."""
        patterns: tuple[str, ...] = getattr(self.language_model, "trainable", ())
        return patterns

    def records(self, dataset: str) -> list[dict[str, Any]]:
        """Return a dataset's documents as trainers outside m2m read them, see `m2m.setups.rows.formats`."""
        return [as_record(document) for document in self.documents[dataset]()]

    def build(self) -> nn.Module:
        """Return a new module of the base architecture."""
        return self.language_model.build()

    def build_empty(self) -> nn.Module:
        """Return a module to look at, without memory for its weights where that can be had."""
        make: Callable[[], nn.Module] = getattr(self.language_model, "build_empty", self.language_model.build)
        return make()

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀, made on first use."""
        return self.language_model.base_state(cache, progress)

    def drawn_state(self, cache: Path) -> dict[str, Tensor] | None:
        """Return θ₀'s weights before pretraining, where that is still to do; None where θ₀ is at hand."""
        drawn: Callable[[Path], dict[str, Tensor] | None] | None
        drawn = getattr(self.language_model, "drawn_state", None)
        return None if drawn is None else drawn(cache)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean next-token cross-entropy of each example's learnt tokens, nat a token: [B]."""
        return self.judge(model(**self.inputs(batch)), batch)["loss"]

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Give the model all tokens [B, T + 1] of the batch's longest example but the last."""
        tokens = _tokens(batch)[:, :-1]
        return self.language_model.inputs(tokens, _learnt(batch, tokens.shape[1]))

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Judge examples by next-token cross-entropy, nat a learnt token: [B].

        Args:
            output: (An object with) logits [B, T, V], or those of the A learnt positions alone [A, V].
            batch: The examples.

        Returns:
            The loss. [B]
        """
        following, logits = _tokens(batch)[:, 1:], logits_of(output)
        learnt = _learnt(batch, following.shape[1])
        if learnt is None:
            return {"loss": _nats(logits.flatten(0, 1), following.flatten()).view(following.shape).mean(1)}
        if logits.ndim == 2:
            nats = logits.new_zeros(following.shape)
            nats = nats.masked_scatter(learnt, _nats(logits, following[learnt]))
        else:
            nats = _nats(logits.flatten(0, 1), following.flatten()).view(following.shape)
        return {"loss": nats.masked_fill(~learnt, 0).sum(1) / learnt.sum(1)}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Average the last hidden states over an example's positions: [B, D]."""
        tokens = _tokens(batch)[:, :-1]
        hidden = self.language_model.hidden(model, tokens)
        if len(batch) == 1:
            return hidden.mean(1)
        here = before_last_answer(batch[1])[:, : tokens.shape[1], None]
        return hidden.masked_fill(~here, 0).sum(1) / here.sum(1)


def _tokens(batch: Batch) -> Tensor:
    """Take the tokens of a batch, int64 [B, T]: T is the length of its longest example."""
    tokens = batch[0].long()
    return tokens if len(batch) == 1 else tokens[:, : longest(batch[1])]


def _learnt(batch: Batch, length: int) -> Tensor | None:
    """Say after which of an example's first tokens the next one is learnt, bool [B, T]; None: after all."""
    return None if len(batch) == 1 else batch[1][:, 1 : length + 1]


def _nats(logits: Tensor, following: Tensor) -> Tensor:
    """Cross-entropy of tokens [A] under logits [A, V]: [A]."""
    return functional.cross_entropy(logits, following, reduction="none")


def from_spec(
    spec: Mapping[str, Any], root: Path, cache: Path, progress: Progress | None = None
) -> LanguageSetup:
    """Make the set-up of a `[setup]` table with `kind = "language"`."""
    said = LanguageSpec.parse(spec)
    model = _language_model(said, root, cache, progress)
    reader, held_out, sources = _Reader(model, root, cache, progress, said), said.held_out, said.sources
    made = {name: reader.dataset(name, held_out=name in held_out) for name in sources}
    targets = {name: reader.target(table, name, made) for name, table in said.targets.items()}
    datasets = batchable(made)
    model = _with_trunk_run(model, datasets, targets, cache, progress)
    version = _version(model, datasets, targets)
    inventory = Inventory(reader.read, model.context)
    documents = {name: partial(_documents, *reader.parts[name, "train"], root, cache) for name in sources}
    compared = {part: partial(_items, *places, root, cache) for part, places in reader.parts.items()}
    return LanguageSetup(
        model, datasets, targets, version, {"loss": False}, inventory=inventory, documents=documents,
        compared=compared,
    )  # fmt: skip


@dataclass(frozen=True)
class _Reader:
    """Reads sources into examples, and notes what was read."""

    model: LanguageModel
    root: Path
    cache: Path
    progress: Progress | None
    spec: LanguageSpec
    read: list[Read] = field(default_factory=list)
    #: The source of each part, by name and split, and the places of the documents that are used.
    parts: dict[tuple[str, str], tuple[TextSource, frozenset[float]]] = field(default_factory=dict)
    _whole: dict[str, Collection] = field(default_factory=dict)

    def dataset(self, name: str, *, held_out: bool) -> Made:
        table, where = self.spec.datasets[name], f"[setup.datasets.{name}]"
        source = self.spec.sources[name].part(0, 1 - HELD_OUT) if held_out else self.spec.sources[name]
        found = self.collect(source)
        made = self.make(found, AnswerRule.parse(table, where), table.get("limit"), table, where)
        if not len(made):
            raise DataError(f"{where}: {_nothing(made, found, self.model.context)}")
        self.parts[name, "train"] = source, made.places
        self.read.append(_read("dataset", name, "train", made, found))
        return made

    def target(self, table: Mapping[str, Any], name: str, datasets: Mapping[str, Made]) -> Target:
        if "dataset" in table:
            source = self.spec.sources[table["dataset"]].part(1 - HELD_OUT, 1)
            whole = self.spec.datasets[table["dataset"]]
            table = {key: whole[key] for key in key_names(AnswerRule) if key in whole} | dict(table)
        else:
            source = self.spec.goals[name]
        halves = {"validation": source.part(0, 0.5), "test": source.part(0.5, 1)}
        splits = {split: self.split(half, table, name, split, datasets) for split, half in halves.items()}
        return Target(**splits)

    def split(
        self,
        source: TextSource,
        table: Mapping[str, Any],
        name: str,
        split: str,
        datasets: Mapping[str, Made],
    ) -> Examples:
        where, found = f"[setup.targets.{name}]", self.collect(source)
        seen = self._seen(found) if table.get("unseen", False) else frozenset()
        if seen and len(seen) == len(found.documents):
            raise _all_seen(seen, datasets, where, split)
        found = found.without(seen)
        wanted = table.get(split, TARGET_EXAMPLES)
        made = self.make(found, AnswerRule.parse(table, where), wanted, table, where)
        if not len(made):
            raise DataError(f"{where}: {split}: {_nothing(made, found, self.model.context)}")
        if len(made) < wanted and split in table:
            raise DataError(
                f"{where}: {len(made)} {split} examples of {self.model.context} tokens, wanted {wanted}"
            )
        if made.places <= frozenset[float]().union(*(theirs.places for theirs in datasets.values())):
            raise _all_seen(made.places, datasets, where, split)
        self.parts[name, split] = source, made.places
        self.read.append(replace(_read("target", name, split, made, found), seen=len(seen)))
        return made.examples

    def _seen(self, found: Collection) -> frozenset[float]:
        """Find the documents that a dataset trains on, by place."""
        return frozenset(
            at for at, document in found.documents.items() if item_of(document).key in self._trained
        )

    @cached_property
    def _trained(self) -> frozenset[bytes]:
        keys = set[bytes]()
        for (_, split), (source, places) in self.parts.items():
            if split == "train":
                documents = self.collect(source).documents
                keys.update(item_of(documents[at]).key for at in places)
        return frozenset(keys)

    def make(
        self, found: Collection, rule: AnswerRule, most: int | None, table: Mapping[str, Any], where: str
    ) -> Made:
        make = partial(make_examples, self.model, found, rule, most, where, self.progress)
        made = kept_examples(self.cache, self.model.version, found, rule, most, make)
        if made.format == "text" and (idle := [key for key in key_names(AnswerRule) if key in table]):
            raise ConfigError(f"{where}: `{idle[0]}` is for answers, and text is packed into windows")
        return made

    def collect(self, source: TextSource) -> Collection:
        # Whatever part is wanted, files are read once.
        if source.said not in self._whole:
            self._whole[source.said] = source.whole().collect(self.root, self.cache, self.progress)
        return self._whole[source.said].part(source.share)


def _documents(source: TextSource, places: frozenset[float], root: Path, cache: Path) -> list[Document]:
    found = source.collect(root, cache).documents
    return [document for place, document in found.items() if place in places]


def _items(source: TextSource, places: frozenset[float], root: Path, cache: Path) -> list[Item]:
    found = source.collect(root, cache)
    return [item_of(each, found.where[place]) for place, each in found.documents.items() if place in places]


def _nothing(made: Made, found: Collection, context: int) -> str:
    if not found.documents:
        return (
            "no document falls in this part: halves and shares are of whole documents, and a plain text file "
            "is one; give several files, or a row a document (JSON Lines, CSV)"
        )
    if made.format == "text":
        return f"less text than one example of {context} tokens, in {len(found.documents)} documents"
    return (
        f"none of {len(found.documents)} documents has an answer within the context of {context} tokens: "
        'raise `context` in [setup.base], or say `truncate = "start"` to keep the answers'
    )


def _read(kind: Literal["dataset", "target"], name: str, split: str, made: Made, found: Collection) -> Read:
    return Read(
        kind, name, split, len(made), made.format, len(found.documents), made.tokens, made.answer_tokens,
        made.truncated, made.dropped, len(found.repeats), len(found.blanks),
    )  # fmt: skip


def _all_seen(places: frozenset[float], datasets: Mapping[str, Made], where: str, split: str) -> DataError:
    named = [name for name, theirs in datasets.items() if places & theirs.places] or list(datasets)
    return DataError(
        f"{where}: all {len(places)} {split} documents are trained on in {', '.join(named)}, so that a score "
        "on them says nothing about new data: name other files, or hold a part of the dataset out, as in "
        f'`dataset = "{named[0]}"`'
    )


def _version(model: LanguageModel, datasets: Mapping[str, Examples], targets: Mapping[str, Target]) -> str:
    content = hashlib.sha256(f"language 1 {model.version}".encode())
    splits = {f"dataset {name}": examples for name, examples in datasets.items()}
    for name, target in targets.items():
        splits |= {f"validation {name}": target.validation, f"test {name}": target.test}
    for name, examples in splits.items():
        content.update(f"{name} {tuple(examples.tensors[0].shape)}".encode())
        for field_ in examples.tensors:
            content.update(field_.numpy().tobytes())
    return content.hexdigest()[:16]


def _language_model(spec: LanguageSpec, root: Path, cache: Path, progress: Progress | None) -> LanguageModel:
    if spec.is_byte_gpt:
        return byte_gpt.from_table(spec.base, root, cache, BASE, progress)

    def folder() -> Path:
        if spec.folder_name is None:
            return packaged_model(spec.model, cache, progress)
        return huggingface_options.find(spec.folder_name, root)

    model = huggingface.from_table(folder, spec.base, root, BASE, trust=spec.trust)
    if model.trainable:
        model.build_empty()  # patterns that match nothing are said before all data are read
    return model


def _with_trunk_run(
    model: LanguageModel,
    datasets: Mapping[str, Examples],
    targets: Mapping[str, Target],
    cache: Path,
    progress: Progress | None,
) -> LanguageModel:
    """Take the trunk off a model that asks for it; what it makes of all examples is kept."""
    if not isinstance(model, HuggingFaceModel) or not model.cache_trunk:
        return model
    splits = [split for target in targets.values() for split in (target.validation, target.test)]
    windows = [Windows.of(examples) for examples in (*datasets.values(), *splits)]
    return CachedTrunkModel(model, windows, cache, progress or nobody)
