"""A Hugging Face model of which only the last blocks are trained: the blocks below run once, ever.

What the frozen trunk makes of a window of tokens is the same in every step of every training and in every
candidate. It is computed once, kept on disk and mapped into memory, and training, merging and scoring build
and run only the top: the blocks from the first trained one on, the last norm and the head, which computes
logits where something is learnt and nowhere else. The state of such a model has its trained tensors only,
under the names that they have in the whole model.

Results are those of the whole model but for rounding: activations do not depend on it how many windows run
side by side, sums inside a matrix product do. Dropout in the trunk, which few models have, is off.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2m.setups.huggingface import HuggingFaceModel
from m2m.setups.kept_activations import REVISION, KeptActivations, Trunk, Windows
from m2m.setups.rows.answers import Answered, Which
from m2m.setups.rows.formats import Chat, Completion
from m2m.setups.top_of_model import TopOfModel, first_trained_block
from m2m.support.progress import Progress, nobody


@dataclass(frozen=True)
class CachedTrunkModel:
    """A Hugging Face model whose trunk has run; behind `m2m.setups.language.LanguageModel`.

    Attributes:
        whole: The whole model.
        windows: All windows of datasets and targets; see `KeptActivations` for any other that is asked for.
        cache: Folder of prepared data.
        progress: Told about running the trunk.
    """

    whole: HuggingFaceModel
    windows: Sequence[Windows]
    cache: Path
    progress: Progress = field(default=nobody, compare=False)

    @property
    def folder(self) -> Path:
        """The whole model's folder."""
        return self.whole.folder

    @property
    def context(self) -> int:
        """Longest input, in tokens."""
        return self.whole.context

    @property
    def token_type(self) -> torch.dtype:
        """Type that holds a token."""
        return self.whole.token_type

    @property
    def version(self) -> str:
        """Content hash of all that decides θ₀ and the tokens."""
        return hashlib.sha256(f"cached trunk {REVISION} {self.whole.version}".encode()).hexdigest()[:16]

    def encode(self, documents: Sequence[str]) -> Tensor:
        """Turn documents into one row of tokens, each document ended."""
        return self.whole.encode(documents)

    def answered(self, document: Chat | Completion, which: Which) -> Answered:
        """Turn a question with its answer into tokens, a conversation through the chat template."""
        return self.whole.answered(document, which)

    def build(self) -> TopOfModel:
        """Return the model's top with its weights; what is frozen is one memory in all that are built."""
        frozen = {id(buffer): buffer for buffer in self._top.buffers()}
        return copy.deepcopy(self._top, frozen)

    @cached_property
    def _top(self) -> TopOfModel:
        # Read once a process: a training of seconds would spend as many on reading the whole model.
        whole = self.whole.build()
        return TopOfModel(
            whole,
            first_trained_block(whole),
            lambda tokens: self._kept.activations(tokens),
            lambda: self._another,
        )

    @cached_property
    def _another(self) -> Any:
        # What is frozen is the same memory, in parameters of its own: a move to a device leaves the trunk's.
        whole = self._kept.trunk.whole
        frozen = {id(p): nn.Parameter(p.detach(), False) for p in whole.parameters() if not p.requires_grad}
        return copy.deepcopy(whole, frozen)

    def foreseeing(self, windows: Sequence[Windows]) -> CachedTrunkModel:
        """Return the model with more windows whose activations are kept."""
        return replace(self, windows=[*self.windows, *windows])

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return the trained tensors of θ₀ as they lie in the folder."""
        return self.build().state_dict()

    def inputs(self, tokens: Tensor, learnt: Tensor | None = None) -> dict[str, Tensor]:
        """Give the top what the trunk makes of tokens int64 [B, T], and where something is learnt [B, T]."""
        found = {"inputs_embeds": self._kept.activations(tokens)}
        return found if learnt is None else found | {"learnt": learnt}

    def hidden(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Run everything but the head: int64 [B, T] to [B, T, D]."""
        assert isinstance(model, TopOfModel)
        return model.hidden(self._kept.activations(tokens))

    @cached_property
    def _kept(self) -> KeptActivations:
        # Opened when the first window is asked for, and made then where it is not there yet.
        return KeptActivations(Trunk(self.whole), self.windows, self.cache, self.build, self.progress)
