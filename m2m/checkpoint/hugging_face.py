"""The one place where transformers opens a user's folder: code in it does not run unless the user trusts it.

A folder's `auto_map` names Python files of its own for its configuration, model or tokenizer. Left to itself,
transformers asks on the terminal whether to run them, and `yes |` answers. Here the answer is always given,
nobody is asked, and whatever else a folder makes transformers throw is one line.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.aligned import is_auxiliary
from m2m.checkpoint.buffers import is_buffer
from m2m.checkpoint.header import TORCH_NAMES, TensorInfo
from m2m.checkpoint.layout import Layout, Part
from m2m.checkpoint.traced import TracedTensor, unfollowed
from m2m.errors import CheckpointError, ConfigError
from m2m.support.arguments import argument
from m2m.support.doors import read_json, reading
from m2m.support.extras import installing

#: Keys of `config.json` that say how many layers there are.
_LAYERS = {
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "n_layers",
    "num_encoder_layers",
    "num_decoder_layers",
}
_MOST_LAYERS = 100_000
#: A model may have this many times the elements that its folder stores (tied heads, other heads), and more.
_MOST_TIMES, _MOST_MORE = 4, 2**20
#: Elements of buffers that no folder stores: masks and rotary tables, which grow with the context.
_MOST_BUFFERED = 2**30


def load_config(folder: Path, *, trust: bool) -> Any:
    """Read a folder's configuration."""
    content = read_json(folder / "config.json", "a model's configuration", ConfigError, {})
    for key in _LAYERS & content.keys():
        if isinstance(content[key], int) and content[key] > _MOST_LAYERS:
            raise ConfigError(f"{folder}/config.json: {key} is {content[key]}, wanted at most {_MOST_LAYERS}")
    with _opening(folder, "a model that transformers knows"):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust)


def load_tokenizer(folder: Path, *, trust: bool) -> Any:
    """Read a folder's tokenizer."""
    with _opening(folder, "a folder with a tokenizer"):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust)


def load_image_processor(folder: Path, *, trust: bool) -> Any:
    """Read how a folder's model wants its images prepared."""
    if find_spec("PIL") is None:
        raise ConfigError(f"images for {folder} need Pillow: {installing('vision')}")
    with _opening(folder, "how images are prepared (preprocessor_config.json) in"):
        return _class("AutoImageProcessor").from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust
        )


def encode(
    tokenizer: Any,
    text: str,
    folder: Path,
    vocabulary: object,
    *,
    special: bool = False,
    written: bool = False,
) -> list[int]:
    """Turn text, or what a decoder is to write, into token numbers, all of the model's `vocabulary`."""
    given = {"text_target" if written else "text": text}
    with reading("a folder with a tokenizer", folder, ConfigError):
        tokens: list[int] = tokenizer(**given, add_special_tokens=special, verbose=False)["input_ids"]
    check_vocabulary(tokens, folder, vocabulary)
    return tokens


def check_vocabulary(tokens: Sequence[int], folder: Path, vocabulary: object) -> None:
    """Refuse tokens that are not in the model's `vocabulary`, its token count."""
    largest = max(tokens, default=0)
    if isinstance(vocabulary, int) and largest >= vocabulary:
        raise ConfigError(f"{folder}: its tokenizer gives the token {largest}, its model knows {vocabulary}")


def load_model(folder: Path, auto: str, config: Any, *, trust: bool, dtype: torch.dtype) -> Any:
    """Build a folder's model with its weights; `auto` names transformers' class, floats become `dtype`."""
    outline(folder, auto, config, trust=trust)
    with _opening(folder, f"a model for {auto}"), _no_bar():
        return _class(auto).from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust, dtype=dtype, use_safetensors=_safe(folder)
        )


def build_hollow_model(
    folder: Path, auto: str, config: Any, *, trust: bool, dtype: torch.dtype
) -> tuple[Any, Layout]:
    """Build a folder's model as `load_model` does, its stored weights without memory; arguments as there.

    Transformers loads tensors that have no numbers but know where they come from, so it is transformers that
    says how stored tensors make up the module's.

    Args:
        folder: The folder.
        auto: Name of transformers' class.
        config: The folder's configuration.
        trust: Whether Python code in the folder may run.
        dtype: Type of the module's floats, unless the model asks for another.

    Returns:
        The model, its weights on the meta device, and how the folder's tensors make them up.

    Raises:
        CheckpointError: If transformers computes with a weight while loading it, or one has another shape.
        ConfigError: If it is no model for that class.
    """  # noqa: DOC502 - partly raised by what is called
    kind = type(outline(folder, auto, config, trust=trust))
    checkpoint = Checkpoint(folder)
    stored = {name: _traced(info, name) for name, info in checkpoint.tensors.items()}
    stored |= {name: stored[kept] for name, kept in checkpoint.tied.items()}
    with unfollowed() as problems, _opening(folder, f"a model for {auto}"), _quiet():
        model, report = kind.from_pretrained(
            None, config=config, state_dict=stored, dtype=dtype, ignore_mismatched_sizes=True,
            output_loading_info=True, trust_remote_code=trust,
        )  # fmt: skip
    for name, got, wanted in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"{folder}: tensor {name!r} has shape {list(got)}, wanted {list(wanted)} as config.json says"
        )
    _keep_own_parameters(model, set(report["missing_keys"]))
    layout = _hollowed(model, checkpoint, set(report["unexpected_keys"]))
    unfilled = {name for name, _ in model.named_parameters()} - {part.target for part in layout.parts}
    if unfilled and problems:
        raise CheckpointError(
            f"{folder}: transformers makes {sorted(unfilled)[0]!r} of stored tensors in a way that cannot be "
            f"followed: {problems[0]}"
        )
    layout.boxes(str(folder), {(name,): tensor for name, tensor in model.state_dict().items()})
    return model, layout


def _keep_own_parameters(model: torch.nn.Module, missing: set[str]) -> None:
    # What transformers does not miss although no folder stores it, such as Marian's table of positions, its
    # module computes. It becomes a buffer: parameters may have lost their memory on the way.
    for prefix, module in model.named_modules():
        own = [
            name
            for name, parameter in module._parameters.items()
            if parameter is not None
            and not isinstance(parameter, TracedTensor)
            and f"{prefix}.{name}".lstrip(".") not in missing
        ]
        for name in own:
            empty = torch.empty_like(module._parameters.pop(name), device="cpu")
            module.register_buffer(name, empty)
        if own:
            initialise: Any = model._init_weights
            initialise(module)


def _hollowed(model: torch.nn.Module, checkpoint: Checkpoint, unexpected: set[str]) -> Layout:
    # Puts plain tensors in the place of traced ones, tied ones still one object.
    parts: list[Part] = []
    plain: dict[int, torch.Tensor] = {}
    own = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, TracedTensor):
            parts += tensor.parts(name)
        elif not isinstance(tensor, torch.nn.Parameter):
            own.add(name)
    for module in model.modules():
        for name, tensor in {**module._parameters, **module._buffers}.items():
            if isinstance(tensor, TracedTensor):
                setattr(module, name, plain.setdefault(id(tensor), _without_blocks(tensor)))
    unused = {*checkpoint.tensors} - {part.stored for part in parts}
    # What is reported under a name that the loader made up could be any of them.
    known = unexpected if unexpected <= unused else unused
    strange = {name for name in known if not is_auxiliary(name) and not is_buffer(checkpoint.tensors[name])}
    parts += [Part.whole(name, checkpoint.tensors[name].shape, name) for name in sorted(strange)]
    return Layout(tuple(parts), frozenset(own))


def _without_blocks(tensor: TracedTensor) -> torch.Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def _traced(info: TensorInfo, name: str) -> TracedTensor:
    return TracedTensor.stored(name, info.shape, getattr(torch, TORCH_NAMES[info.dtype]))


@contextmanager
def _quiet() -> Iterator[None]:
    # Nothing is loaded yet: what transformers would say about it is said where it is.
    from transformers.utils import logging as said

    level = said.get_verbosity()
    said.set_verbosity(logging.CRITICAL)
    try:
        with _no_bar():
            yield
    finally:
        said.set_verbosity(level)


def trainer_groups(folder: Path) -> tuple[list[str], list[str]]:
    """Names of a folder's parameters as transformers' Trainer groups them: with weight decay, without."""
    config = load_config(folder, trust=False)
    auto = (getattr(config, "architectures", None) or [""])[0]
    with reading(f"a model of a class that transformers has ({auto!r})", folder, ConfigError):
        _class(auto)
    outline(folder, auto, config, trust=False)
    with _opening(folder, f"a model for {auto}"), torch.device("meta"):
        from transformers import Trainer

        model = _from_config(auto, config, trust=False)
        rule: Any = Trainer.get_decay_parameter_names
        decayed = set(rule(None, model))  # it asks its trainer nothing
    names = [name for name, _ in model.named_parameters()]  # a tied parameter once
    return [name for name in names if name in decayed], [name for name in names if name not in decayed]


@contextmanager
def nobody_to_ask() -> Iterator[None]:
    """Close the terminal to code that would ask the user: it finds the end of the input at once."""
    kept = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = kept


@contextmanager
def _opening(folder: Path, what: str) -> Iterator[None]:
    try:
        with reading(what, folder, ConfigError), nobody_to_ask():
            yield
    except ConfigError as error:
        if "trust_remote_code" in str(error.__cause__):
            raise ConfigError(
                f"{folder} brings Python code of its own (auto_map), which does not run unless you trust it: "
                f"look at it, then say {argument('trust_remote_code', True)}, or "
                "trust_remote_code = true in [setup]"
            ) from error
        raise


def _class(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def _from_config(auto: str, config: Any, *, trust: bool, **how: Any) -> Any:
    kind = _class(auto)
    if hasattr(kind, "from_config"):
        return kind.from_config(config, trust_remote_code=trust, **how)
    return kind._from_config(config, **how)  # a model's own class


def outline(folder: Path, auto: str, config: Any, *, trust: bool) -> Any:
    """Build a folder's model without memory; refuses one far larger than what the folder stores."""
    tensors = Checkpoint(folder).tensors.values()
    stored = sum(tensor.elements for tensor in tensors)
    counter = _Counter(
        folder, _MOST_TIMES * stored + _MOST_MORE, _MOST_TIMES * len(tensors) + _MOST_MORE // 64
    )
    with _opening(folder, f"a model for {auto}"), counter, torch.device("meta"):
        return _from_config(auto, config, trust=trust)


class _Counter:
    """Counts what modules register while they are built, and stops where it is more than could be meant."""

    def __init__(self, folder: Path, elements: int, tensors: int) -> None:
        self._folder, self._elements, self._tensors = folder, elements, tensors
        self._buffered = _MOST_BUFFERED

    def __enter__(self) -> None:
        module = torch.nn.modules.module
        self._hooks = (
            module.register_module_parameter_registration_hook(self._parameter),
            module.register_module_buffer_registration_hook(self._buffer),
        )

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _parameter(self, module: torch.nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        if tensor is not None:
            self._elements -= tensor.numel()
            self._tensors -= 1
            self._check(self._elements, tensor, name)
            self._check(self._tensors, tensor, name)

    def _buffer(self, module: torch.nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        if tensor is not None:
            self._buffered -= tensor.numel()
            self._check(self._buffered, tensor, name)

    def _check(self, left: int, tensor: torch.Tensor, name: str) -> None:
        if left < 0:
            raise ConfigError(
                f"{self._folder}/config.json describes a model far larger than what the folder stores: with "
                f"{name!r} of shape {list(tensor.shape)} it is too much"
            )


def _safe(folder: Path) -> bool:
    # What m2m merges is what is built: safetensors where there are any.
    return all(file.suffix == ".safetensors" for file in Checkpoint(folder).files)


@contextmanager
def _no_bar() -> Iterator[None]:
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
