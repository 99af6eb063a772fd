"""The keys of a language set-up's tables, but for those of its text and of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from m2m.support.checked import Positive

#: Examples a target split has unless its table says otherwise.
TARGET_EXAMPLES = 64


@dataclass(frozen=True)
class LanguageOptions:
    """The `[setup]` table with `kind = "language"`.

    Attributes:
        kind: Which set-up it is.
        model: A Hugging Face causal language model with its tokenizer, by its folder or its id on the hub
            (`org/name`, from the cache where it is there); or `"smollm2-135m-instruct"`, which a pinned
            package carries (extra `gguf`); or `"byte-gpt"`, a small model of bytes that is pretrained here.
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
        limit: Most examples; windows of text are taken at even distances. Missing: all.
    """

    limit: Positive | None = None


@dataclass(frozen=True)
class TargetOptions:
    """Keys of `[setup.targets.NAME]` beside those of its text.

    Attributes:
        dataset: Name of a dataset: a fifth of its documents is kept from training and is this target's
            text. Instead of `files`.
        validation: Examples that mixtures are chosen by; if the table does not say how many, fewer where
            there are fewer.
        test: Examples that only the finished models see; likewise.
        unseen: Whether documents that a dataset trains on too are left out: the same but for white space, or
            made of the same message. Those that share a part are not.
    """

    dataset: str | None = None
    validation: Positive = TARGET_EXAMPLES
    test: Positive = TARGET_EXAMPLES
    unseen: bool = False
