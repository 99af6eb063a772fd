"""A causal language model from a local Hugging Face folder, with its own tokenizer (extra `huggingface`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2m.checkpoint.hugging_face import (
    check_vocabulary,
    encode,
    load_config,
    load_model,
    load_tokenizer,
    outline,
)
from m2m.checkpoint.manifest import hash_file
from m2m.errors import ConfigError
from m2m.setups.huggingface_options import HuggingFaceOptions, check_folder
from m2m.setups.rows.answers import Answered, AnswerTokenizer, Which
from m2m.setups.rows.formats import Chat, Completion
from m2m.support.extras import installing
from m2m.support.options import read_options
from m2m.support.progress import Progress


@dataclass(frozen=True)
class HuggingFaceModel:
    """Any model that `AutoModelForCausalLM` reads, in float32.

    Attributes:
        folder: Folder with configuration, weights and tokenizer.
        context: Tokens an example predicts.
        trainable: Regular expressions; fine-tuning moves the parameters whose name one of them is found in.
            Empty: all.
        trust_remote_code: Whether Python code in the folder may run.
        chat_template: Template, in Jinja, that conversations are written by; empty: the tokenizer's own.
        cache_trunk: Whether the frozen trunk is to run once; see `m2m.setups.cached_trunk`.
    """

    folder: Path
    context: int = 128
    trainable: tuple[str, ...] = ()
    trust_remote_code: bool = False
    chat_template: str = ""
    cache_trunk: bool = False
    token_type = torch.int32

    @cached_property
    def version(self) -> str:
        """Content hash of every file of the folder and of the options."""
        more = (*[True][: self.trust_remote_code], *filter(None, [self.chat_template]))
        options = repr((self.context, self.trainable, *more))
        return hashlib.sha256((options + self._files).encode()).hexdigest()[:16]

    @cached_property
    def files_hash(self) -> str:
        """Content hash of every file of the folder."""
        return hashlib.sha256(self._files.encode()).hexdigest()

    @cached_property
    def _files(self) -> str:
        # Every file's name and hash, a line each.
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return "".join(f"{path.relative_to(self.folder)} {hash_file(path)}\n" for path in paths)

    def encode(self, documents: Sequence[str]) -> Tensor:
        """Turn documents into int32 [tokens], each document ended by the end-of-text token."""
        end = [] if self._tokenizer.eos_token_id is None else [self._tokenizer.eos_token_id]
        tokens: list[int] = []
        for document in documents:
            tokens += encode(self._tokenizer, document, self.folder, self._vocabulary) + end
        return torch.tensor(tokens, dtype=torch.int32)

    def answered(self, document: Chat | Completion, which: Which) -> Answered:
        """Turn a question with its answer into tokens, a conversation through the chat template."""
        found = self._answer_tokenizer(document, which)
        check_vocabulary(found.tokens, self.folder, self._vocabulary)
        return found

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.folder, trust=self.trust_remote_code)

    @cached_property
    def _vocabulary(self) -> Any:
        return getattr(load_config(self.folder, trust=self.trust_remote_code), "vocab_size", None)

    @cached_property
    def _answer_tokenizer(self) -> AnswerTokenizer:
        return AnswerTokenizer(self._tokenizer, self.folder, self.chat_template)

    def build(self) -> nn.Module:
        """Return the model with its weights, frozen where it is not to be trained."""
        config = load_config(self.folder, trust=self.trust_remote_code)
        model = load_model(
            self.folder, "AutoModelForCausalLM", config, trust=self.trust_remote_code, dtype=torch.float32
        )
        model.config.use_cache = False  # every window is read once: keys and values to keep would be waste
        return self._frozen(model)

    def build_empty(self) -> nn.Module:
        """Return the same without memory for its weights: its layers, and which of them are trained."""
        config = load_config(self.folder, trust=self.trust_remote_code)
        return self._frozen(
            outline(self.folder, "AutoModelForCausalLM", config, trust=self.trust_remote_code)
        )

    def _frozen(self, model: Any) -> nn.Module:
        for name, parameter in model.named_parameters():
            wanted = not self.trainable or any(re.search(pattern, name) for pattern in self.trainable)
            parameter.requires_grad_(wanted)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(f"[setup.base]: `trainable` {list(self.trainable)} matches no parameter")
        module: nn.Module = model
        return module

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀ as it lies in the folder."""
        return self.build().state_dict()

    def inputs(self, tokens: Tensor, learnt: Tensor | None = None) -> dict[str, Tensor]:
        """Name tokens as the model's forward does: int64 [B, T]; it gives logits whatever is learnt."""
        return {"input_ids": tokens}

    def hidden(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Run everything but the head: int64 [B, T] to [B, T, D]."""
        out: Tensor = model(input_ids=tokens, output_hidden_states=True).hidden_states[-1]
        return out


def from_table(
    find_folder: Callable[[], Path], table: Mapping[str, Any], root: Path, where: str, *, trust: bool
) -> HuggingFaceModel:
    """Make the model of a folder, which may have to be made first, and a `[setup.base]` table.

    Args:
        find_folder: Makes or finds the folder.
        table: The table.
        root: Folder that the table's paths start from.
        where: The table's name in messages.
        trust: Whether Python code in the folder may run.

    Returns:
        The model; nothing of it is loaded yet.

    Raises:
        ConfigError: If the folder holds no model, or the table is mistaken.
    """
    options = read_options(HuggingFaceOptions, table, where)
    options.check(where)
    folder = find_folder()
    if find_spec("transformers") is None:
        raise ConfigError(f"[setup]: model {str(folder)!r} needs transformers: {installing('huggingface')}")
    check_folder(folder)
    template = options.template(root, where)
    return HuggingFaceModel(folder, options.context, options.trainable, trust, template, options.cache_trunk)
