"""What a Hugging Face model folder's model reads: its tokens, words, images, and what surrounds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.header import MERGEABLE, TORCH_NAMES
from m2m.checkpoint.heads import model_class, text_config
from m2m.checkpoint.hugging_face import (
    check_vocabulary,
    encode,
    load_config,
    load_image_processor,
    load_tokenizer,
)
from m2m.errors import ConfigError
from m2m.scoring.live.embedder import Embedding, read_embedding
from m2m.setups.rows.answers import Answered, AnswerTokenizer
from m2m.setups.rows.formats import Completion
from m2m.support.doors import read_json, reading
from m2m.support.extras import installing

#: Longest window unless the user says so: attention costs grow with its square.
CONTEXT = 1024
#: Names under which configurations keep the longest input.
_LONGEST = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_target_positions",
)
#: Models that count positions from behind the padding token's number, 1, so that two of them are not used.
_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
_PADDING = 2


class HuggingFaceInputs:
    """How a folder makes its model's inputs of texts, words and images; each part is loaded when it is used.

    Args:
        folder: The folder, with configuration and tokenizer or image processor.
        context: Longest input, in tokens; None: what the model takes, at most `CONTEXT`.
        trust: Whether Python code in the folder may run.
        template: Chat template in place of the tokenizer's own; empty: its own.

    Attributes:
        input_name: `input_ids`.
        learnt_name: Empty: the model gives all logits.
        head: What the model makes of what it reads.

    Raises:
        ConfigError: If transformers is not installed, or the model takes fewer tokens than `context`.
    """

    input_name = "input_ids"
    learnt_name = ""

    def __init__(
        self, folder: Path, context: int | None = None, *, trust: bool = False, template: str = ""
    ) -> None:
        if find_spec("transformers") is None:
            raise ConfigError(f"{folder} needs transformers: {installing('huggingface')}")
        self._folder, self._trust, self._template = folder, trust, template
        self._config = load_config(folder, trust=trust)
        self._auto, self.head = model_class(self._config, trust=trust)
        self._text = text_config(self._config)
        longest = self._longest
        if context is not None and longest is not None and context > longest:
            raise ConfigError(f"{folder} takes at most {longest} tokens, got a context of {context}")
        self.context = context or min(CONTEXT, longest or CONTEXT)

    @property
    def _longest(self) -> int | None:
        for name in _LONGEST:
            if hasattr(self._text, name):
                value = getattr(self._text, name)
                if value is not None and (type(value) is not int or value < 1):
                    raise ConfigError(
                        f"{self._folder}/config.json: {name} is {value!r:.60}, wanted a whole number ≥ 1"
                    )
                # The first positions of these are those of padding.
                return value - _PADDING if self._config.model_type in _AFTER_PADDING and value else value
        return None

    @cached_property
    def tokenizer(self) -> Any:
        """The folder's tokenizer."""
        return load_tokenizer(self._folder, trust=self._trust)

    @property
    def start(self) -> Sequence[int]:
        """The token that begins a text, or else the one that ends it; none if there is neither.

        Raises:
            ConfigError: If what the tokenizer says is no token of the model.
        """
        first = self.tokenizer.bos_token_id
        token = self.tokenizer.eos_token_id if first is None else first
        if token is None:
            return ()
        if type(token) is not int or (
            isinstance(self._vocabulary, int) and not 0 <= token < self._vocabulary
        ):
            raise ConfigError(
                f"{self._folder}: its tokenizer begins texts with {token!r:.60}, which is no token"
            )
        return (token,)

    @cached_property
    def ends(self) -> Sequence[int]:
        """The tokenizer's end of a text, and what the folder's generation settings end one with."""
        path = self._folder / "generation_config.json"
        said = read_json(path, "settings of generation", ConfigError, {}) if path.is_file() else {}
        settings = said.get("eos_token_id")
        tokens = [self.tokenizer.eos_token_id, *(settings if isinstance(settings, list) else [settings])]
        return tuple(dict.fromkeys(token for token in tokens if type(token) is int))

    @property
    def pad(self) -> int:
        """The token that fills up rows."""
        token = getattr(self._text, "pad_token_id", None)
        return token if type(token) is int else 0

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Turn text into tokens.

        Args:
            text: Any text.
            special: Whether the tokenizer adds its special tokens.

        Returns:
            Token numbers.
        """
        return encode(self.tokenizer, text, self._folder, self._vocabulary, special=special)

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn tokens into text.

        Args:
            tokens: Token numbers.

        Returns:
            Their text, without special tokens.
        """
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    @property
    def classes(self) -> Mapping[str, int]:
        """The number of each class, by the name that the configuration has for it."""
        names: Mapping[int, str] = self._config.id2label or {}
        return {name: number for number, name in names.items()}

    def look(self, images: Sequence[Any]) -> dict[str, Tensor]:
        """Prepare images as the folder's own image processor does.

        Args:
            images: RGB images of PIL.

        Returns:
            Arguments of the model's forward; floats have the dtype of the weights. each [images, ...]
        """
        with reading("what the folder's image processor prepares", self._folder, ConfigError):
            found = self._image_processor(images=list(images), return_tensors="pt")
        dtype = stored_dtype(self._folder)
        tensors = {name: field for name, field in found.items() if isinstance(field, Tensor)}
        return {
            name: field.to(dtype) if field.is_floating_point() else field for name, field in tensors.items()
        }

    def class_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Turn texts that images are matched with into arguments of the forward, as transformers does.

        Args:
            texts: The texts.

        Returns:
            Arguments of the model's forward. each [texts, T]
        """
        # SigLIP was trained on texts that are filled up to its context.
        padding = "max_length" if self._config.model_type.startswith("siglip") else True
        with reading("a folder with a tokenizer", self._folder, ConfigError):
            found = self.tokenizer(
                list(texts), padding=padding, truncation=True, max_length=self.context, return_tensors="pt",
                return_token_type_ids=False,
            )  # fmt: skip
        check_vocabulary(found["input_ids"].flatten().tolist(), self._folder, self._vocabulary)
        return dict(found)

    def words(self, words: Sequence[str]) -> tuple[list[int], list[int | None]]:
        """Turn words into tokens, with special tokens.

        Args:
            words: The words of a text.

        Returns:
            Token numbers, at most as many as the context; and the number of each token's word, or None.
        """
        with reading("a folder with a fast tokenizer", self._folder, ConfigError):
            found = self.tokenizer(
                list(words), is_split_into_words=True, truncation=True, max_length=self.context, verbose=False
            )
            places: list[int | None] = found.word_ids()
        check_vocabulary(found["input_ids"], self._folder, self._vocabulary)
        return found["input_ids"], places

    @property
    def pooling(self) -> str:
        """What is made of the tokens' vectors to embed a text: `mean`, `max`, `first` or `last`."""
        return self._embedding.pooling

    def embedded(self, text: str) -> list[int]:
        """Turn a text that is to be embedded into tokens.

        Args:
            text: Any text.

        Returns:
            Token numbers, special ones included, at most as many as the embedder takes.
        """
        most = min(self.context, self._embedding.longest or self.context)
        room = max(0, most - len(self.surrounded(())))
        return self.surrounded(self.encode(self._embedding.prompt + text)[:room])

    @cached_property
    def _embedding(self) -> Embedding:
        return read_embedding(self._folder)

    @cached_property
    def _image_processor(self) -> Any:
        return load_image_processor(self._folder, trust=self._trust)

    def question(self, text: str) -> str:
        """Write what a user asks as the chat template does.

        Args:
            text: The question.

        Returns:
            It with all that the template puts around it, up to where the answer begins.

        Raises:
            ConfigError: If there is no template.
            DataError: If the template refuses it.
        """  # noqa: DOC502 - raised by what is called
        return AnswerTokenizer(self.tokenizer, self._folder, self._template).question(text)

    def surrounded(self, tokens: Sequence[int]) -> list[int]:
        """Put the tokenizer's special tokens around those of a text.

        Args:
            tokens: Token numbers.

        Returns:
            Token numbers.
        """
        before, after = self._around
        return [*before, *tokens, *after]

    def written(self, text: str) -> list[int]:
        """Turn a text that a decoder is to write into tokens, as the tokenizer has it for targets.

        Args:
            text: Any text.

        Returns:
            Token numbers, with special tokens around them.
        """
        return encode(self.tokenizer, text, self._folder, self._vocabulary, special=True, written=True)

    def answered(self, document: Completion) -> Answered:
        """Turn a prompt with its completion into the tokens of one text.

        Args:
            document: Prompt and completion.

        Returns:
            Token numbers, and which of them are the completion's; the end of the text is.
        """
        found = AnswerTokenizer(self.tokenizer, self._folder, self._template)(document, "all")
        check_vocabulary(found.tokens, self._folder, self._vocabulary)
        return found

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        # What `encode` puts before and after a text, seen on one.
        plain, whole = self.encode("a"), self.encode("a", special=True)
        for at in range(len(whole) - len(plain) + 1):
            if whole[at : at + len(plain)] == plain:
                return whole[:at], whole[at + len(plain) :]
        return [], []

    @property
    def _vocabulary(self) -> object:
        return getattr(self._text, "vocab_size", None)


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype of most weights of a folder."""
    # A tensor of another one is refused by name when states are held against it.
    elements: Counter[str] = Counter()
    for tensor in Checkpoint(folder).tensors.values():
        if tensor.dtype in MERGEABLE:
            elements[tensor.dtype] += tensor.elements
    if not elements:
        raise ConfigError(f"{folder} holds no floating-point weights")
    dtype: torch.dtype = getattr(torch, TORCH_NAMES[elements.most_common(1)[0][0]])
    return dtype
