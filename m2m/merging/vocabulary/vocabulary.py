"""One vocabulary for models whose token ids differ, planned from tokenizers and headers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import vocabulary_axis, vocabulary_tensors
from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.locate import find_folder
from m2m.checkpoint.side_files import list_side_files
from m2m.checkpoint.tokenizer import vocabulary
from m2m.errors import CheckpointError, RecipeError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.recipe.models import ModelRef
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.recipe.tokens import TokenizerSetting, TokenSource
from m2m.merging.vocabulary.gathered import GatheredTensor, RowMap, with_rows
from m2m.merging.vocabulary.rows import Row, Vocabularies, Wish
from m2m.merging.vocabulary.tokenizer import Tokenizer, plain_token, read_tokenizer
from m2m.merging.vocabulary.union import union

#: Tokens that a note lists.
_SHOWN = 3


@dataclass(frozen=True)
class OutputVocabulary:
    """The output's tokens, and how each input's tensors are brought under them.

    Attributes:
        setting: What the recipe says.
        tokenizer: The output's tokenizer.
        donor: The model whose configuration travels.
        tokenizers: The inputs' tokenizers, each cut to the rows that its model has.
        names: Tensors whose rows are tokens, by the donor's names.
        donor_rows: Rows of the donor's embedding.
        base: The recipe's base model, whose row a token that is missing elsewhere gets.
        notes: What the user may not expect.
    """

    setting: TokenizerSetting
    tokenizer: Tokenizer
    donor: ModelRef
    tokenizers: Mapping[ModelRef, Tokenizer]
    names: frozenset[str]
    donor_rows: int
    base: ModelRef | None
    notes: tuple[str, ...]
    _known: dict[tuple[tuple[TensorInfo, ...], int], TensorInfo | GatheredTensor] = field(
        default_factory=dict, compare=False
    )
    _maps: dict[tuple[int, ...], RowMap] = field(default_factory=dict, compare=False)

    @property
    def rows(self) -> int:
        """Rows of the output's embedding."""
        multiple = self.setting.multiple
        return -(-self.tokenizer.rows // multiple) * multiple

    def tensors(
        self, models: Mapping[ModelRef, Checkpoint], inputs: Sequence[ModelRef], names: Sequence[str]
    ) -> tuple[TensorInfo | GatheredTensor, ...]:
        """One tensor of the inputs under the output's vocabulary; `names` are its names in them [N]."""
        named = dict(zip(inputs, names, strict=True))
        if self.base is not None:  # it has its say even if the method does not use it
            named.setdefault(self.base, names[0])
        infos = {ref: _stored(models[ref], name) for ref, name in named.items()}
        sources = tuple(infos.values())
        filled = models[self.donor].tensors.get(names[0])
        vocabularies = Vocabularies(
            self.tokenizer.tokens,
            # What a model lacks and the donor fills in has the donor's rows.
            [self.tokenizers[self.donor if info == filled else ref].ids for ref, info in infos.items()],
            None if self.base is None else [*infos].index(self.base),
            {
                token: Wish(self._row(token, wish.source, infos), wish.force)
                for token, wish in self.setting.tokens.items()
                if wish.source is not None
            },
        )
        found = []
        for ref in inputs:
            own = sources.index(infos[ref])  # adapters have their base model's rows: they are one input
            if (sources, own) not in self._known:
                self._known[sources, own] = self._gathered(vocabularies, sources, own)
            found.append(self._known[sources, own])
        return tuple(found)

    def _gathered(
        self, vocabularies: Vocabularies, sources: tuple[TensorInfo, ...], own: int
    ) -> TensorInfo | GatheredTensor:
        info, dtypes = sources[own], {source.dtype for source in sources}
        dtype = dtypes.pop() if len(dtypes) == 1 else "F64" if "F64" in dtypes else "F32"
        key = (*map(id, vocabularies.models), own)  # embedding and head have the same rows
        if key not in self._maps:
            self._maps[key] = vocabularies.rows_of(own, self.tokenizer.rows, self.rows)
        rows = self._maps[key]
        if rows.is_identity(own, rows_in(info)):
            return info
        tensor = GatheredTensor(info.name, dtype, with_rows(info.shape, self.rows), sources, own, rows)
        return tensor if self.rows == self.tokenizer.rows else tensor.padded()

    def _row(self, token: str, source: TokenSource, infos: Mapping[ModelRef, TensorInfo]) -> Row:
        if source.model is None:
            return Row(None)
        where = f"tokenizer.tokens.{token}.source"
        if source.model not in infos:
            raise RecipeError(
                f"{where}: {source.model} is none of the models merged: {', '.join(map(str, infos))}"
            )
        number = source.token_id
        if number is None:
            wanted = token if source.token is None else source.token
            number = self.tokenizers[source.model].ids.get(wanted)
            if number is None:
                raise RecipeError(f"{where}: {source.model} has no token {wanted!r}")
        have = rows_in(infos[source.model])
        if number >= have:
            raise RecipeError(
                f"{where}: {source.model} has no token {number}: its {infos[source.model].name!r} has {have} "
                "rows"
            )
        return Row([*infos].index(source.model), number)


def rows_in(info: TensorInfo) -> int:
    """Rows of a vocabulary tensor."""
    return info.shape[vocabulary_axis(info.shape)]


def plan_vocabulary(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> OutputVocabulary | None:
    """Work out the output's vocabulary over aligned models; None where the recipe says nothing of it."""
    # RecipeError if it asks for what is not there; CheckpointError if a tokenizer cannot be read.
    setting = recipe.tokenizer
    if setting is None:
        return None
    donor = models[recipe.donor]
    names = vocabulary_tensors(donor)
    if not names:
        if _is_donors(setting, donor, models.values()):
            return None
        raise CheckpointError(
            f"{donor.path}: none of its tensors has the name of an embedding, so that its rows cannot follow "
            "a tokenizer; leave tokenizer and tokenizer_source out"
        )
    notes: list[str] = []
    tokenizers = _tokenizers(recipe.donor, models, names, notes)
    first = tokenizers[recipe.donor]
    out = first
    if isinstance(setting.source, ModelRef):
        out = tokenizers.get(setting.source) or _other(setting.source)
    elif setting.source == "union":
        others = [one for ref, one in tokenizers.items() if ref != recipe.donor]
        out = union(first, others)
    out = out.extended(plain_token(token) for token in setting.tokens if token not in out.ids)
    notes += _about(setting, out, tokenizers.values())
    rows = max(rows_in(donor.tensors[name]) for name in names)
    return OutputVocabulary(setting, out, recipe.donor, tokenizers, names, rows, recipe.base, tuple(notes))


def _is_donors(setting: TokenizerSetting, donor: Checkpoint, models: Collection[Checkpoint]) -> bool:
    """Whether the output's tokenizer is the donor's and no model has another, so that no row would move."""
    if isinstance(setting.source, ModelRef) or setting.tokens or setting.multiple > 1:
        return False
    own = vocabulary(donor)
    return all(vocabulary(model) in ({}, own) for model in models)


def _stored(model: Checkpoint, name: str) -> TensorInfo:
    info = model.tensors.get(name)
    if info is None:
        raise CheckpointError(f"{model.path}: holds no tensor {name!r}, whose rows follow the tokenizer")
    if isinstance(model, AdaptedCheckpoint) and name in model.additions:
        raise CheckpointError(
            f"{model.adapter.file}: adapts {name!r}, whose rows follow the tokenizer; write the adapted "
            "model first (passthrough), and merge that"
        )
    return info


def _tokenizers(
    donor: ModelRef, models: Mapping[ModelRef, Checkpoint], names: frozenset[str], notes: list[str]
) -> dict[ModelRef, Tokenizer]:
    """The inputs' tokenizers, cut to the rows that their models have; the donor's for a model without."""
    first = models[donor]
    own = read_tokenizer(first.path, first.side_files)
    if own is None:
        raise RecipeError(f"tokenizer: {first.path} has no tokenizer, so its rows are of no known tokens")
    by_path = {first.path: _cut(own, first, names, notes)}
    for model in models.values():
        if model.path not in by_path:
            read = read_tokenizer(model.path, model.side_files, own)
            if read is None:
                notes.append(f"{model.path}: has no tokenizer, and is taken to have that of {first.path}")
            by_path[model.path] = _cut(read or own, model, names, notes)
    return {ref: by_path[model.path] for ref, model in models.items()}


def _cut(whole: Tokenizer, model: Checkpoint, names: frozenset[str], notes: list[str]) -> Tokenizer:
    rows = [rows_in(model.tensors[name]) for name in names & model.tensors.keys()]
    tokenizer = whole.cut(min(rows, default=whole.rows))
    if tokenizer is not whole:
        gone = [token for number, token in whole.tokens.items() if number not in tokenizer.tokens]
        notes.append(f"{model.path}: has no rows for {_shown(gone)}, which count as none of its tokens")
    return tokenizer


def _other(ref: ModelRef) -> Tokenizer:
    folder = find_folder(ref.path, ref.revision)
    found = read_tokenizer(folder, list_side_files(folder)) if folder.is_dir() else None
    if found is None:
        raise RecipeError(f"tokenizer: {ref} has no tokenizer")
    return found


def _about(setting: TokenizerSetting, out: Tokenizer, models: Collection[Tokenizer]) -> list[str]:
    settled = {token for token, wish in setting.tokens.items() if wish.source is not None}
    known = settled.union(*(one.ids for one in models))
    lacking = [token for token in out.ids if token not in known]
    return [f"no model has a row for {_shown(lacking)}: theirs are zero"] if lacking else []


def _shown(tokens: Sequence[str]) -> str:
    more = f" and {len(tokens) - _SHOWN} more tokens" if len(tokens) > _SHOWN else ""
    return ", ".join(map(repr, tokens[:_SHOWN])) + more
