"""A fine-tuned model as a LoRA adapter of its base: the task vector's best approximation of low rank."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from m2m.checkpoint.aligned import align
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import tied_names
from m2m.checkpoint.folder import check_free, new_folder
from m2m.checkpoint.header import MERGEABLE, TORCH_NAMES, parse_dtype
from m2m.checkpoint.writer import Entry
from m2m.errors import CheckpointError, ConfigError
from m2m.merging.lora.adapter_file import plain_config, write_adapter
from m2m.merging.lora.layout import is_stored_transposed
from m2m.merging.lora.low_rank import of_energy, truncated_svd
from m2m.merging.methods.exact import round_once
from m2m.merging.recipe.models import open_references, read_model
from m2m.support.checked import Positive, checked
from m2m.support.outputs import Output, check_outputs
from m2m.support.progress import Progress, nobody

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.merging.lora.low_rank import Truncated

#: The largest rank that a share of energy may ask for.
MOST_RANK = 256
#: Modules whose weights are tables, which PEFT adapts in another way than linear layers.
_EMBEDDING = re.compile(r"(?:^|\.)(?:wte|wpe|shared|\w*embed\w*)$")
#: Name of the table of errors in the adapter's folder.
ERRORS_NAME = "extraction.json"


@dataclass(frozen=True)
class ExtractedTensor:
    """How well one module's factors stand for its task vector τ.

    Attributes:
        name: The tensor's name in the base model.
        shape: Its shape.
        rank: Rank r of its factors.
        norm: ‖τ‖.
        error: ‖τ − BA‖ / ‖τ‖, of the factors as they were written.
    """

    name: str
    shape: tuple[int, ...]
    rank: int
    norm: float
    error: float


@dataclass(frozen=True)
class Extraction:
    """What was extracted.

    Attributes:
        out: The adapter's folder.
        tensors: The modules with factors, in the base model's order.
        whole: Names of tensors that were written whole.
        left: Names of tensors that differ from the base model's and are not in the adapter.
        error: ‖τ − τ̂‖ / ‖τ‖ of all tensors as one vector, with what was left out.
        nbytes: Bytes of the adapter's tensors.
    """

    out: Path
    tensors: tuple[ExtractedTensor, ...]
    whole: tuple[str, ...]
    left: tuple[str, ...]
    error: float
    nbytes: int

    def to_dict(self) -> dict[str, Any]:
        """Turn it into what JSON can hold.

        Returns:
            The attributes by name.
        """
        return {**asdict(self), "out": str(self.out)}


class _Pair(NamedTuple):
    """A module's factors. A [r, in], B [out, r]."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class _NewAdapter:
    """The adapter as it is written."""

    factors: Mapping[str, _Pair]
    kept: Mapping[str, Tensor]
    about: Mapping[str, str | None]
    in_out: bool

    def entries(self, dtype: str) -> list[Entry]:
        return [Entry(name, dtype, tuple(tensor.shape)) for name, tensor in self._tensors().items()]

    def tensor(self, name: str, dtype: str) -> Tensor:
        return self._tensors()[name]

    def config(self) -> dict[str, Any]:
        ranks = {module: pair.a.shape[0] for module, pair in self.factors.items()}
        modules = list(dict.fromkeys(name.rpartition(".")[0] for name in self.kept))
        return plain_config(ranks, self.about, self.in_out, modules)

    def _tensors(self) -> dict[str, Tensor]:
        found = {}
        for module, pair in self.factors.items():
            found[f"base_model.model.{module}.lora_A.weight"] = pair.a
            found[f"base_model.model.{module}.lora_B.weight"] = pair.b
        return found | {f"base_model.model.{name}": tensor for name, tensor in self.kept.items()}


@checked()
def extract_lora(
    base: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    rank: Positive | None = None,
    energy: float | None = None,
    only: Sequence[str] = ("*",),
    whole: Sequence[str] = (),
    dtype: str = "float32",
    seed: int = 0,
    progress: Progress | None = None,
) -> Extraction:
    r"""Write a fine-tuned model as a LoRA adapter of its base model, which PEFT loads.

    For each linear layer with task vector :math:`\tau = \theta - \theta_0` of singular values σ,

    .. math:: B = U_r \Sigma_r^{1/2}, \quad A = \Sigma_r^{1/2} V_r^T, \quad
        \|\tau - BA\|^2 = \sum_{k > r} \sigma_k^2 ,

    the smallest that rank r allows (Eckart and Young 1936), before B and A are rounded. Two tensors and
    the factors found so far are in memory.

    Args:
        base: The base model, named as in recipes.
        model: The fine-tuned model.
        out: The folder to write.
        rank: Rank r of every module, or min(m, n) where that is smaller; 16 where no energy is given either.
        energy: Share of ‖τ‖² that each module's factors must hold, by as few ranks as do, `rank` or 256 at
            most.
        only: Globs of the tensors that get factors, of those that are linear layers' weights.
        whole: Globs of tensors that are written whole where they differ (`modules_to_save`), as
            `*norm*` or `*embed_tokens*`.
        dtype: Float type of what is written.
        seed: Of the random range by which large matrices are decomposed.
        progress: Is told tensors done, tensors in all and what is going on.

    Returns:
        What was extracted, with its errors, which `extraction.json` in the folder holds too.

    Raises:
        ConfigError: If an energy is no share, or the type cannot hold weights.
        CheckpointError: If the models do not fit each other, one is not finite or changes meanwhile, or no
            linear layer differs.
        RunFolderError: If `out` exists.
    """  # noqa: DOC502 - raised by what is called
    if energy is not None and not 0 < energy <= 1:
        raise ConfigError(f"energy must be a share above 0 and at most 1, got {energy}")
    if (wide := parse_dtype(dtype)) not in MERGEABLE:
        raise ConfigError(
            f"dtype {dtype!r} cannot hold factors; wanted float32, bfloat16, float16 or float64"
        )
    check_outputs([Output("out", Path(out), "folder")], inputs=[base, model])
    check_free(Path(out))
    one, other = read_model(str(base), "the base model"), read_model(str(model), "the model")
    opened = open_references([one, other], one)
    origin, tuned = opened[one], opened[other]
    [fitted] = align(origin, [tuned]).models
    wanted = _Wanted(rank or (16 if energy is None else MOST_RANK), energy, tuple(only), tuple(whole), seed)
    found = _extract(origin, fitted, wanted, wide, progress or nobody)
    if not found.factors:
        raise CheckpointError(
            f"{model}: no linear layer of it differs from {base}, so there is nothing to extract"
        )
    with new_folder(Path(out)) as folder:
        about = {"base_model_name_or_path": str(base), "task_type": _task_type(origin)}
        adapter = _NewAdapter(found.factors, found.kept, about, found.in_out)
        nbytes = sum(entry.nbytes for entry in adapter.entries(wide))
        extraction = Extraction(
            Path(out), tuple(found.tensors), tuple(found.kept), tuple(found.left), found.error, nbytes
        )
        text = json.dumps(extraction.to_dict(), indent=1, ensure_ascii=False)
        write_adapter(adapter, folder, wide, {}, {ERRORS_NAME: text})
        for checkpoint in (origin, tuned):
            checkpoint.check_unchanged()
    return extraction


class _Wanted(NamedTuple):
    """What is to be extracted."""

    rank: int
    energy: float | None
    only: tuple[str, ...]
    whole: tuple[str, ...]
    seed: int

    def svd(self, matrix: Tensor) -> Truncated:
        rank = min(self.rank, *matrix.shape)
        if self.energy is None:
            return truncated_svd(matrix, rank, self.seed)
        return of_energy(matrix, self.energy, rank, self.seed)


class _Found:
    """What has been extracted so far."""

    def __init__(self) -> None:
        self.factors: dict[str, _Pair] = {}
        self.kept: dict[str, Tensor] = {}
        self.tensors: list[ExtractedTensor] = []
        self.left: list[str] = []
        self.in_out = False
        self.missed = self.moved = 0.0

    @property
    def error(self) -> float:
        return math.sqrt(self.missed / self.moved) if self.moved else 0.0


def _extract(base: Checkpoint, model: Checkpoint, wanted: _Wanted, dtype: str, progress: Progress) -> _Found:
    import torch

    found, ties = _Found(), tied_names(base)
    for number, (name, info) in enumerate(base.tensors.items(), start=1):
        if info.dtype in MERGEABLE and name not in ties:
            after = _finite(model, name)
            change = after.double() - _finite(base, name).double()
            if change.any():
                _take(found, base, name, change, after, wanted, getattr(torch, TORCH_NAMES[dtype]))
        progress(number, len(base.tensors), "extract")
    return found


def _take(
    found: _Found, base: Checkpoint, name: str, change: Tensor, after: Tensor, wanted: _Wanted, out: dtype
) -> None:
    square = float(change.square().sum())
    found.moved += square
    module, _, leaf = name.rpartition(".")
    if _fits(name, wanted.whole):
        found.kept[name] = round_once(after.double(), out)
        found.missed += float((found.kept[name].double() - after.double()).square().sum())
    elif leaf == "weight" and _is_linear(module, change) and _fits(name, wanted.only):
        transposed = is_stored_transposed(module, (0, 0), tuple(change.shape), base.config, flag=False)
        found.in_out |= transposed
        delta = change.T if transposed else change
        pair = _factors(wanted.svd(delta.float()), out)
        missed = float((delta - pair.b.double() @ pair.a.double()).square().sum())
        found.factors[module] = pair
        found.missed += missed
        found.tensors.append(
            ExtractedTensor(
                name, tuple(change.shape), pair.a.shape[0], math.sqrt(square), math.sqrt(missed / square)
            )
        )
    else:
        found.left.append(name)
        found.missed += square


def _factors(found: Truncated, out: dtype) -> _Pair:
    # Each takes the root of the singular values, so that neither is out of a narrow type's range.
    root = found.s.double().sqrt()
    return _Pair(
        round_once((root[:, None] * found.vh.double()).contiguous(), out),
        round_once((found.u.double() * root).contiguous(), out),
    )


def _is_linear(module: str, change: Tensor) -> bool:
    return change.ndim == 2 and not _EMBEDDING.search(module)


def _fits(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _finite(model: Checkpoint, name: str) -> Tensor:
    tensor = model.read(name)
    if not tensor.isfinite().all():
        raise CheckpointError(f"{model.path}: tensor {name!r} is NaN or infinite")
    return tensor


def _task_type(base: Checkpoint) -> str | None:
    classes = base.config.get("architectures") or [""]
    return "CAUSAL_LM" if str(classes[0]).endswith("ForCausalLM") else None
