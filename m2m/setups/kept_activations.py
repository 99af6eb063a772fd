"""What the frozen blocks of a model make of windows of tokens: computed once, kept on disk and mapped."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from m2m.setups.rows.examples import before_last_answer
from m2m.setups.top_of_model import TopOfModel, blocks_of, first_trained_block
from m2m.support.devices import one_thread
from m2m.support.doors import reading
from m2m.support.files import replacing
from m2m.support.progress import Progress
from m2m.support.units import format_bytes

#: Changes when a kept file would hold other numbers for the same windows.
REVISION = 1
#: Windows a file; what an interruption loses.
_A_FILE = 256
#: Windows that run side by side.
_A_BATCH = 16
#: What activations of windows that were not foreseen may take in memory, in bytes.
_MOST_BYTES = 2**28


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
class Trunk:
    """The frozen part of a model, loaded when it is needed.

    Attributes:
        model: The whole model.
    """

    model: HuggingFaceModel

    @cached_property
    def whole(self) -> Any:
        """The module of the whole model."""
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


class _ReachedError(Exception):
    """Carries the trunk's output out of the whole model."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class KeptActivations:
    """What a trunk makes of windows: files of up to 256 windows, named after their content.

    What is missing is made; any other window that is asked for later runs through the trunk when it comes,
    and is kept in memory as far as there is room.

    Args:
        trunk: The trunk.
        windows: What is kept on disk.
        cache: Folder of prepared data.
        build_top: Makes the top of the same model, which is held against the whole before anything is kept.
        progress: Told about running the trunk.
    """

    def __init__(
        self,
        trunk: Trunk,
        windows: Sequence[Windows],
        cache: Path,
        build_top: Callable[[], TopOfModel],
        progress: Progress,
    ) -> None:
        self.trunk = trunk
        self._width = max(part.tokens.shape[1] for part in windows)
        parts = [part for several in windows for part in several.parts(_A_FILE)]
        files = [_file(cache / "trunks", trunk.key, part) for part in parts]
        missing = [pair for pair in zip(parts, files, strict=True) if not pair[1].is_file()]
        self._make(missing, build_top, progress)
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

    def _make(
        self,
        missing: Sequence[tuple[Windows, Path]],
        build_top: Callable[[], TopOfModel],
        progress: Progress,
    ) -> None:
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
            self.trunk.rehearse(build_top(), missing[0][0].tokens[:_A_BATCH])
            for part, file in missing:
                kept = np.zeros((len(part.tokens), int(part.lengths.max()), size // 4), np.float32)
                for rows in torch.split(part.lengths.argsort(stable=True), _A_BATCH):
                    longest = int(part.lengths[rows].max())
                    kept[rows.numpy(), :longest] = self.trunk.run(part.tokens[rows, :longest]).numpy()
                    done += len(rows)
                    progress(done, total, what)
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
