"""What a model on disk is: its tensors, sizes and types, and what lies beside them; no weight is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import tied_names
from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.locate import find_folder
from m2m.checkpoint.remote.session import remote_session
from m2m.checkpoint.tokenizer import chat_template, vocabulary
from m2m.errors import RecipeError
from m2m.merging.lora.adapter import Adapter, is_adapter
from m2m.merging.recipe.models import read_model
from m2m.support.checked import checked

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.)")
#: Settings of config.json that say how large a model is, by whichever of their names is there.
_SIZES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "vocabulary": ("vocab_size",),
    "context": ("max_position_embeddings", "n_positions", "n_ctx"),
}


@dataclass(frozen=True)
class TensorFamily:
    """Tensors whose names differ in numbers only, and that are alike.

    Attributes:
        name: Their name, a star for each number that differs or counts layers.
        count: How many there are.
        shape: The shape of each.
        dtype: The type of each, as safetensors names it.
        elements: Elements of all.
        nbytes: Bytes of all.
    """

    name: str
    count: int
    shape: tuple[int, ...]
    dtype: str
    elements: int
    nbytes: int


@dataclass(frozen=True)
class AdapterInfo:
    """What a LoRA adapter changes.

    Attributes:
        base: The model that it names as its base, if it does.
        rank: r where no pattern says otherwise.
        scale: The factor before B·A where no pattern says otherwise.
        modules: Modules that it has factors for.
        whole: Tensors that it holds whole.
    """

    base: str | None
    rank: int
    scale: float
    modules: int
    whole: int


@dataclass(frozen=True)
class ModelInfo:
    """What a model is.

    Attributes:
        path: Where it is.
        architecture: The class that its configuration names, or the kind of model, if it says either.
        sizes: Layers, width, vocabulary and context, as far as the configuration says.
        tensors: Stored tensors.
        parameters: Elements of these; a tensor with two names counts once.
        nbytes: Their bytes.
        files: Names of the files that hold them.
        families: The tensors, alike ones together, in the order of the files.
        tied: Second names of stored tensors.
        tokens: Tokens of its tokenizer; nothing if it has none that is understood.
        has_chat_template: Whether it has a chat template.
        side_files: Names of the files that travel with its weights.
        adapter: What it changes, if it is an adapter.
        recipe: The recipe that m2m merged it by, if it did.
    """

    path: str
    architecture: str | None
    sizes: dict[str, int]
    tensors: int
    parameters: int
    nbytes: int
    files: tuple[str, ...]
    families: tuple[TensorFamily, ...]
    tied: dict[str, str]
    tokens: int | None
    has_chat_template: bool
    side_files: tuple[str, ...]
    adapter: AdapterInfo | None
    recipe: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Turn it into what JSON can hold.

        Returns:
            The attributes by name.
        """
        return asdict(self)


@checked()
@remote_session()
def info(model: str | Path) -> ModelInfo:
    """Say what a model is, from its headers and the small files beside them.

    Args:
        model: A checkpoint's folder or file, a LoRA adapter's folder, a URL of one, or a hub id.

    Returns:
        What it is.

    Raises:
        CheckpointError: If there is no model, or it is malformed.
        RecipeError: If it is named as MODEL+ADAPTER, which are two.
    """  # noqa: DOC502 - raised by what is called
    reference = read_model(str(model), "the model")
    if reference.lora is not None:
        raise RecipeError(f"{model}: a model and an adapter are two things; ask about each")
    place = find_folder(reference.path, reference.revision)
    adapter = Adapter(reference.path, reference.revision) if is_adapter(place) else None
    opened = Checkpoint(reference.path, reference.revision) if adapter is None else Checkpoint(adapter.file)
    tensors = opened.tensors.values()
    return ModelInfo(
        path=str(model),
        architecture=_architecture(opened.config),
        sizes=_sizes(opened.config),
        tensors=len(tensors),
        parameters=sum(each.elements for each in tensors),
        nbytes=sum(each.nbytes for each in tensors),
        files=tuple(file.name for file in opened.files),
        families=_families(tensors),
        tied=_tied(opened),
        tokens=len(vocabulary(opened)) or None,
        has_chat_template=chat_template(opened) is not None,
        side_files=tuple(opened.side_files),
        adapter=None if adapter is None else _of_adapter(adapter),
        recipe=json.loads(opened.metadata["m2m.recipe"]) if "m2m.recipe" in opened.metadata else None,
    )


def _tied(model: Checkpoint) -> dict[str, str]:
    # Where nothing says what the head is called, all names that it may have are in there: the first will do.
    found: dict[str, str] = {}
    for name, kept in tied_names(model).items():
        if kept not in found.values():
            found[name] = kept
    return found


def _architecture(config: Mapping[str, Any]) -> str | None:
    classes = config.get("architectures")
    named = classes[0] if isinstance(classes, list) and classes else config.get("model_type")
    return named if isinstance(named, str) else None


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    # A model of several towers says it of its language model.
    inner = config.get("text_config")
    inner = inner if isinstance(inner, Mapping) else {}
    found = {}
    for what, keys in _SIZES.items():
        value = next((each[key] for each in (config, inner) for key in keys if key in each), None)
        if isinstance(value, int):
            found[what] = value
    return found


def _families(tensors: Iterable[TensorInfo]) -> tuple[TensorFamily, ...]:
    alike: dict[tuple[str, str, tuple[int, ...]], list[TensorInfo]] = {}
    for tensor in tensors:
        alike.setdefault((_NUMBER.sub("*", tensor.name), tensor.dtype, tensor.shape), []).append(tensor)
    return tuple(
        TensorFamily(
            name=name if len(members) > 1 else members[0].name,
            count=len(members),
            shape=shape,
            dtype=dtype,
            elements=sum(member.elements for member in members),
            nbytes=sum(member.nbytes for member in members),
        )
        for (name, dtype, shape), members in alike.items()
    )


def _of_adapter(adapter: Adapter) -> AdapterInfo:
    config = adapter.config
    return AdapterInfo(
        base=config.base_model,
        rank=config.rank,
        scale=config.scale_of(""),
        modules=len(adapter.factors),
        whole=len(adapter.full),
    )
