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
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from m2m.errors import ConfigError, DataError
from m2m.setups.huggingface import HuggingFaceModel
from m2m.setups.protocol import Examples
from m2m.setups.rows.answers import Answered, Which
from m2m.setups.rows.examples import before_last_answer
from m2m.setups.rows.formats import Chat, Completion
from m2m.support.devices import one_thread
from m2m.support.doors import reading
from m2m.support.files import replacing
from m2m.support.progress import Progress, nobody
from m2m.support.units import format_bytes

#: Changes when a kept file would hold other numbers for the same windows.
REVISION = 1
#: Windows a file; what an interruption loses.
_A_FILE = 256
#: Windows that run side by side.
_A_BATCH = 16
#: What activations of windows that were not foreseen may take in memory, in bytes.
_MOST_BYTES = 2**28


class TopOfModel(nn.Module):
    """What of a causal language model lies above its trunk; tensors keep the names of the whole model.

    Args:
        whole: The model, with `requires_grad` where it is trained; it is taken apart.
        first: Number of the first block that is trained.
        trunk: Gives what the trunk makes of tokens: int64 [B, T] to [B, T, D].
        another: Gives a whole model whose trained tensors may be written over.
    """

    def __init__(
        self, whole: Any, first: int, trunk: Callable[[Tensor], Tensor], another: Callable[[], Any]
    ) -> None:
        super().__init__()
        self._trunk, self._another = trunk, another
        blocks = blocks_of(whole)
        for number in range(first):
            blocks[number] = _Passed(blocks[number])
        for name, child in whole.named_children():
            self.add_module(name, child)
        self._body = whole.base_model_prefix
        head = whole.get_output_embeddings()
        self._head = next(name for name, child in whole.named_children() if child is head)
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if not parameter.requires_grad:  # no part of the state: it is the folder's in every model
                    delattr(module, name)
                    module.register_buffer(name, parameter.detach(), persistent=False)

    def hidden(self, inputs_embeds: Tensor) -> Tensor:
        """Run everything but the head: the trunk's output [B, T, D] to [B, T, D]."""
        body = self.get_submodule(self._body)
        out: Tensor = body(inputs_embeds=inputs_embeds, use_cache=False).last_hidden_state
        return out

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        learnt: Tensor | None = None,
    ) -> Tensor:
        """Predict tokens from tokens, or from what the trunk makes of them.

        Args:
            input_ids: Tokens. int64 [B, T]
            inputs_embeds: The trunk's output, where it is at hand. [B, T, D]
            learnt: After which tokens the next one is asked for; None: after all. bool [B, T]

        Returns:
            Logits [B, T, V]; with `learnt` of its A positions alone, in their order. [A, V]

        Raises:
            ValueError: If there is nothing to predict from.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("the top of a model predicts from `input_ids` or `inputs_embeds`")
            inputs_embeds = self._trunk(input_ids)
        hidden = self.hidden(inputs_embeds)
        logits: Tensor = self.get_submodule(self._head)(hidden if learnt is None else hidden[learnt])
        return logits

    def whole(self) -> Any:
        """Put the top back on a whole model: for what runs models in its own way, as writing text does.

        Returns:
            The model of transformers, with the weights that the top has now; the next call may write others
            into it.
        """
        model = self._another().to(next(self.parameters()).device)
        model.load_state_dict(self.state_dict(), strict=False)
        return model


class _Passed(nn.Module):
    """Stands where a block of the trunk was, whose work is done."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.attention_type = getattr(block, "attention_type", None)  # some models ask each block for it

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states


class _ReachedError(Exception):
    """Carries the trunk's output out of the whole model."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


def blocks_of(model: Any) -> nn.ModuleList:
    """Find the list of a model's blocks, which is as long as its configuration says."""
    count = getattr(model.config, "num_hidden_layers", None)
    found = [
        module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if len(found) != 1:
        raise ConfigError(
            f"[setup.base]: `cache_trunk` is for models that are one row of blocks; {type(model).__name__} "
            f"has {len(found)} lists of {count} modules: leave it out"
        )
    return found[0]


def first_trained_block(model: Any) -> int:
    """Number of the first block with a trained parameter; all below it are the trunk.

    Args:
        model: The whole model, with `requires_grad` where it is trained.

    Returns:
        Its number.

    Raises:
        ConfigError: If nothing lies below, or something that the trunk needs is trained.
    """
    blocks = blocks_of(model)
    trained = [any(p.requires_grad for p in block.parameters()) for block in blocks]
    what = "no block" if not any(trained) else "block 0" if trained[0] else ""
    if any(p.requires_grad for p in model.get_input_embeddings().parameters()):
        what = "the embeddings (perhaps as the head, which shares them)"
    if what:
        raise ConfigError(
            "[setup.base]: `cache_trunk` keeps what lies below the first trained block, and `trainable` "
            f"names {what}: name the last blocks, as in trainable = ['layers\\.{len(blocks) - 1}\\.']"
        )
    return trained.index(True)


@dataclass(frozen=True)
class Windows:
    """Windows of tokens whose activations are kept.

    Attributes:
        tokens: What goes into the model. int64 [E, T]
        lengths: Tokens of each that matter: nothing is learnt from what comes after. int64 [E]
    """

    tokens: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, examples: Examples) -> Windows:
        """Take what goes into the model of a set-up's examples."""
        tokens = examples.tensors[0].long()[:, :-1]
        if len(examples.tensors) == 1:
            return cls(tokens, torch.full((len(tokens),), tokens.shape[1]))
        return cls(tokens, before_last_answer(examples.tensors[1])[:, :-1].sum(1))

    @classmethod
    def asked(cls, tokens: Tensor, learnt: Tensor) -> Windows:
        """Take tokens int64 [E, T] up to the last one after which the next is learnt, bool [E, T]."""
        return cls(tokens, (learnt.int().flip(1).cumsum(1) > 0).sum(1))

    @classmethod
    def joined(cls, parts: Sequence[Windows]) -> Windows:
        """Put windows of several widths into one, filled up on the right."""
        width = max(part.tokens.shape[1] for part in parts)
        wide = [nn.functional.pad(part.tokens, (0, width - part.tokens.shape[1])) for part in parts]
        return cls(torch.cat(wide), torch.cat([part.lengths for part in parts]))

    def parts(self, size: int) -> Iterator[Windows]:
        """Cut them into parts of a size, in order."""
        for start in range(0, len(self.tokens), size):
            yield Windows(self.tokens[start : start + size], self.lengths[start : start + size])


@dataclass(frozen=True)
class CachedTrunkModel:
    """A Hugging Face model whose trunk has run; behind `m2m.setups.language.LanguageModel`.

    Attributes:
        whole: The whole model.
        windows: All windows of datasets and targets. Any other that is asked for runs through the trunk when
            it comes, and is kept in memory as far as there is room.
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
    def _kept(self) -> _KeptActivations:
        # Opened when the first window is asked for, and made then where it is not there yet.
        return _KeptActivations(self, _Trunk(self.whole))


@dataclass(frozen=True)
class _Trunk:
    """The frozen part of a model, loaded when it is needed."""

    model: HuggingFaceModel

    @cached_property
    def whole(self) -> Any:
        return self.model.build().eval()

    @property
    def key(self) -> str:
        """Content hash of what decides activations besides the tokens; nothing is loaded for it."""
        content = f"trunk {REVISION} {self.model.trainable} {self.model.files_hash}"
        return hashlib.sha256(content.encode()).hexdigest()

    @torch.no_grad()
    def run(self, tokens: Tensor) -> Tensor:
        """Run what lies below the first trained block: int64 [B, T] to [B, T, D]."""

        def stop(_: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            raise _ReachedError(args[0] if args else named["hidden_states"])

        above = blocks_of(self.whole)[first_trained_block(self.whole)]
        handle = above.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.whole(**self.model.inputs(tokens))
        except _ReachedError as reached:
            return reached.hidden
        finally:
            handle.remove()
        raise ConfigError("[setup.base]: `cache_trunk`: the model did not run its blocks; leave it out")

    @torch.no_grad()
    def rehearse(self, top: TopOfModel, tokens: Tensor) -> None:
        """Refuse a model whose top, given what the trunk makes of tokens, says something else."""
        with reading("a model that runs from its middle", self.model.folder, ConfigError):
            said = top.eval()(inputs_embeds=self.run(tokens))
        if not torch.equal(said, self.whole(**self.model.inputs(tokens)).logits):
            raise ConfigError(
                f"[setup.base]: `cache_trunk`: {type(self.whole).__name__} does more around its blocks than "
                "pass on what they make, so that its top alone gives other logits; leave it out"
            )


class _KeptActivations:
    """What the trunk makes of a model's windows: files of up to 256 windows, named after their content."""

    def __init__(self, model: CachedTrunkModel, trunk: _Trunk) -> None:
        self.trunk = trunk
        self._width = max(part.tokens.shape[1] for part in model.windows)
        parts = [part for windows in model.windows for part in windows.parts(_A_FILE)]
        files = [_file(model.cache / "trunks", trunk.key, part) for part in parts]
        self._make(model, [pair for pair in zip(parts, files, strict=True) if not pair[1].is_file()])
        #: Where a window's activations lie: a file's array, and the row in it.
        self._places: dict[bytes, tuple[NDArray[np.float32], int]] = {}
        for part, file in zip(parts, files, strict=True):
            kept = _mapped(file, part)
            # A batch is cut before the last token of its longest example, which shorter ones still have.
            here = torch.arange(part.tokens.shape[1]) < part.lengths[:, None]
            for tokens in (part.tokens, part.tokens * here):
                keys = map(self._key, tokens)
                self._places |= {key: (kept, row) for row, key in enumerate(keys)}
        #: Batches of other windows that have come, by their tokens.
        self._others: dict[bytes, Tensor] = {}

    def activations(self, tokens: Tensor) -> Tensor:
        """What the trunk makes of tokens int64 [B, T]: float32 [B, T, D]; zeros where nothing is learnt."""
        places = [self._places.get(self._key(row)) for row in tokens.cpu()]
        if any(place is None for place in places):
            return self._other(tokens.cpu()).to(tokens.device)
        found = [array[row, : tokens.shape[1]] for array, row in filter(None, places)]
        out = np.zeros((len(found), tokens.shape[1], found[0].shape[1]), np.float32)
        for row, activations in zip(out, found, strict=True):
            row[: len(activations)] = activations
        return torch.from_numpy(out).to(tokens.device)

    def _other(self, tokens: Tensor) -> Tensor:
        key = f"{tuple(tokens.shape)}".encode() + tokens.numpy().tobytes()
        if key not in self._others:
            with one_thread():
                made = self.trunk.run(tokens)
            if made.nbytes + sum(kept.nbytes for kept in self._others.values()) > _MOST_BYTES:
                return made
            self._others[key] = made
        return self._others[key]

    def _key(self, row: Tensor) -> bytes:
        # Batches are cut to their longest example: what is cut off are the zeros of filling up.
        return nn.functional.pad(row, (0, max(0, self._width - len(row)))).numpy().tobytes()

    def _make(self, model: CachedTrunkModel, missing: Sequence[tuple[Windows, Path]]) -> None:
        if not missing:
            return
        size = self.trunk.whole.config.hidden_size * 4
        needed = sum(len(part.tokens) * int(part.lengths.max()) * size for part, _ in missing)
        folder = missing[0][1].parent
        folder.mkdir(parents=True, exist_ok=True)
        if needed > (free := shutil.disk_usage(folder).free):
            raise DataError(
                f"[setup.base]: `cache_trunk` needs {format_bytes(needed)} in {folder} ($M2M_CACHE names "
                f"another place) and {format_bytes(free)} are free: lower `limit` or `context`"
            )
        what = f"running the frozen blocks once ({format_bytes(needed)} in the cache)"
        done, total = 0, sum(len(part.tokens) for part, _ in missing)
        with one_thread():  # the same bits on any number of cores
            self.trunk.rehearse(model.build(), missing[0][0].tokens[:_A_BATCH])
            for part, file in missing:
                kept = np.zeros((len(part.tokens), int(part.lengths.max()), size // 4), np.float32)
                for rows in torch.split(part.lengths.argsort(stable=True), _A_BATCH):
                    longest = int(part.lengths[rows].max())
                    kept[rows.numpy(), :longest] = self.trunk.run(part.tokens[rows, :longest]).numpy()
                    done += len(rows)
                    model.progress(done, total, what)
                with replacing(file, durable=False) as open_file:
                    np.save(open_file, kept)


def _file(folder: Path, key: str, part: Windows) -> Path:
    content = hashlib.sha256(f"{key} {tuple(part.tokens.shape)}\n".encode())
    content.update(part.tokens.numpy().tobytes() + part.lengths.numpy().tobytes())
    return folder / f"{content.hexdigest()[:32]}.npy"


def _mapped(file: Path, part: Windows) -> NDArray[np.float32]:
    what = "a file of activations that m2m kept (delete it: it is made again)"
    with reading(what, file, DataError):
        kept: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    if kept.dtype != np.float32 or kept.shape[:2] != (len(part.tokens), int(part.lengths.max())):
        raise DataError(f"{file} is not {what}: got {kept.dtype} {list(kept.shape)}")
    return kept
