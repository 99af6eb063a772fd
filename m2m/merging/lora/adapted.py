"""A base model with an adapter on top, tensor by tensor: what is read, what is added, what they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from m2m.checkpoint.checkpoint import Checkpoint, read_tensor
from m2m.checkpoint.header import SIZES, TORCH_NAMES, TensorInfo
from m2m.errors import CheckpointError
from m2m.merging.lora.adapter import Adapter, Factors
from m2m.merging.lora.names import match_tensors

if TYPE_CHECKING:
    from torch import Tensor

#: Tensors whose factors are in memory at the same time; see `LoraCache` in `csrc/stream/lora_factors.h`.
TENSORS_AT_ONCE = 2


class Product(NamedTuple):
    """What an adapter adds to one tensor, before its scale: P = left · right, in float64.

    P[i, j] = Σ_k left[i, k] · right[k, j]: k ascending, starting at -0, each product and each addition
    rounded to float64 (products of factors of at most 32 bits are exact).
    """

    #: The tensor it is added to.
    name: str
    #: Its shape. [rows, columns]
    shape: tuple[int, ...]
    #: Where the left factor lies: [rows, r], or [r, rows] if transposed.
    left: TensorInfo
    #: Where the right factor lies: [r, columns], or [columns, r] if transposed.
    right: TensorInfo
    #: Whether both are stored with rows and columns exchanged.
    transposed: bool

    @property
    def rank(self) -> int:
        """Number of terms r."""
        return self.left.shape[0 if self.transposed else 1]

    @property
    def dtype(self) -> str:
        """Safetensors name of the type it is formed in."""
        return "F64"

    @property
    def file(self) -> Path:
        """The file that holds both factors."""
        return self.left.file

    @property
    def factor_bytes(self) -> int:
        """Bytes of both factors in memory, as float32 unless one of them is wider."""
        wide = "F64" in (self.left.dtype, self.right.dtype)
        return (self.left.elements + self.right.elements) * SIZES["F64" if wide else "F32"]

    def form(self) -> Tensor:
        """Form P as the stream does, whole: its reference twin. Float64 [rows, columns]."""
        import torch

        left, right = read_tensor(self.left).double(), read_tensor(self.right).double()
        if self.transposed:
            left, right = left.T, right.T
        total = torch.full(self.shape, -0.0, dtype=torch.float64)
        for k in range(self.rank):
            total = total + left[:, k, None] * right[k]
        return total

    def __repr__(self) -> str:
        parts = [(info.name, info.dtype, info.shape, info.offset) for info in (self.left, self.right)]
        return f"Product({self.name!r}, {parts}, {self.transposed})"


class Addition(NamedTuple):
    """A term that an adapter adds to a tensor: scale · source."""

    #: A product of factors, or a tensor that is read.
    source: Product | TensorInfo
    #: The factor before it.
    scale: float


class AdaptedCheckpoint(Checkpoint):
    """A model that is a base model plus an adapter; it was never written down.

    `tensors` are the base model's, but for those that the adapter holds whole; `additions` is what is added.

    Attributes:
        base: The base model.
        adapter: The adapter.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter, *, named: bool = True) -> None:
        """Put an adapter on a base model.

        Args:
            base: The base model.
            adapter: The adapter.
            named: Whether the base model that the adapter names must be this one; False where that is known
                from elsewhere.

        Raises:
            CheckpointError: If the adapter names another base model.
        """  # noqa: DOC502 - raised by what is called
        super().__init__(base.path)
        self.base = base
        self.adapter = adapter
        self.opened = self.opened | base.opened | adapter.opened
        if named:
            _check_base(base, adapter)

    @cached_property
    def _names(self) -> dict[str, str]:
        # The base model's name of every tensor that the adapter changes.
        wanted = [f"{module}.weight" for module in self.adapter.factors]
        wanted += [f"{module}.bias" for module in self.adapter.biases]
        wanted += self.adapter.full
        return match_tensors(list(dict.fromkeys(wanted)), self.base.names, self.adapter.file, self.base.path)

    @cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """What is read of each tensor, by name: the base model's, or the adapter's own."""
        own = {self._names[name]: info for name, info in self.adapter.full.items()}
        for name, info in own.items():
            _check_shape(info, self.base.tensors[name])
        return {
            name: own[name]._replace(name=name) if name in own else info
            for name, info in self.base.tensors.items()
        }

    @cached_property
    def modules(self) -> Mapping[str, tuple[str, Factors]]:
        """Module and factors of each tensor that a product is added to, by the base model's names."""
        return {
            self._names[f"{name}.weight"]: (name, factors) for name, factors in self.adapter.factors.items()
        }

    @cached_property
    def additions(self) -> Mapping[str, Addition]:
        """What is added to each tensor that is not only read, by the base model's names.

        Raises:
            CheckpointError: If the adapter does not fit the base model, or adapts a tied tensor.
        """
        found: dict[str, Addition] = {}
        for name, (_, factors) in self.modules.items():
            found[name] = Addition(self._product(name, factors), factors.scale)
        for module, (bias, scale) in self.adapter.biases.items():
            name = self._names[f"{module}.bias"]
            _check_shape(bias, self.tensors[name])
            found[name] = Addition(bias, scale)
        for name in found.keys() & set(self.base.tied.values()):
            raise CheckpointError(
                f"{self.adapter.file}: adapts {name!r}, which is tied to another tensor of {self.base.path}"
            )
        return found

    def _product(self, name: str, factors: Factors) -> Product:
        shape = self.tensors[name].shape
        transposed = factors.embedding or self.adapter.config.fan_in_fan_out
        if factors.embedding:
            _refuse_tied(name, self.base, self.adapter)
        b_a = (factors.b.shape[0], factors.a.shape[1])
        if (b_a[::-1] if transposed else b_a) != shape:
            how = "transposed, as fan_in_fan_out says" if transposed and not factors.embedding else "as it is"
            raise CheckpointError(
                f"{self.adapter.file}: B·A of {name!r} is {list(b_a)}, to be added {how}; "
                f"the tensor in {self.base.path} is {list(shape)}"
            )
        left, right = (factors.a, factors.b) if transposed else (factors.b, factors.a)
        return Product(name, shape, left, right, transposed)

    def read(self, name: str) -> Tensor:
        """Form one adapted tensor.

        Args:
            name: Its name.

        Returns:
            round(W + scale · addition), in the type of W. [*shape]
        """
        from m2m.merging.methods.exact import sum_inputs

        tensor, addition = read_tensor(self.tensors[name]), self.additions.get(name)
        if addition is None:
            return sum_inputs([tensor], [1.0], tensor.dtype)
        source = addition.source
        added = source.form() if isinstance(source, Product) else read_tensor(source)
        return sum_inputs([tensor, added], [1.0, addition.scale], tensor.dtype)


class AdaptedTensor(NamedTuple):
    """θ_n = round(W + s·X), for methods that need the expert itself.

    The sum is the numeric contract's of W and X in float64, with weights 1 and s; it is rounded once.

    Attributes:
        base: Where W lies. [*S]
        added: X: a product of factors, or a tensor that is read. [*S]
        scale: The factor s before it.
        dtype: Safetensors name of the type it is rounded to, the type that task vectors are formed in.
    """

    base: TensorInfo
    added: Product | TensorInfo
    scale: float
    dtype: str

    def form(self) -> Tensor:
        """Form θ as the stream does, whole: its reference twin, in the type that `dtype` names [*S]."""
        import torch

        from m2m.ops import weighted_sum_reference

        added = self.added.form() if isinstance(self.added, Product) else read_tensor(self.added)
        terms, out = (
            [read_tensor(self.base).double(), added.double()],
            getattr(torch, TORCH_NAMES[self.dtype]),
        )
        return weighted_sum_reference(terms, [[1.0, self.scale]], out_dtype=out)[0]


def expert_tensors(
    models: Sequence[Checkpoint], names: Sequence[str], others: Sequence[TensorInfo] = ()
) -> tuple[TensorInfo | AdaptedTensor, ...]:
    """Resolve one tensor of models of which some are adapted, as methods that merge experts want it.

    Adapted tensors are rounded to float32, or to float64 as soon as anything that the tensor is made of is
    float64: the type to which the inputs of these methods are widened anyway. So an adapter's change is not
    lost between two neighbouring numbers of a 16-bit base model.

    Args:
        models: The inputs. [K]
        names: The tensor's name in each. [K]
        others: What else is read with them, as estimates of each element.

    Returns:
        A tensor that is read, or an adapted one, of each model. [K]
    """
    if not any(isinstance(model, AdaptedCheckpoint) for model in models):
        return tuple([model.tensors[name] for model, name in zip(models, names, strict=True)])
    dense = [model.tensors[name] for model, name in zip(models, names, strict=True)]
    additions = [_addition(model, name) for model, name in zip(models, names, strict=True)]
    if not any(additions):
        return tuple(dense)
    dtypes = {info.dtype for info in (*dense, *others)}
    for addition in additions:
        dtypes |= _dtypes(addition.source) if addition is not None else set()
    wide = "F64" if "F64" in dtypes else "F32"
    return tuple(
        info if addition is None else AdaptedTensor(info, addition.source, addition.scale, wide)
        for info, addition in zip(dense, additions, strict=True)
    )


def _addition(model: Checkpoint, name: str) -> Addition | None:
    return model.additions.get(name) if isinstance(model, AdaptedCheckpoint) else None


def _dtypes(source: Product | TensorInfo) -> set[str]:
    return {source.left.dtype, source.right.dtype} if isinstance(source, Product) else {source.dtype}


def _check_shape(own: TensorInfo, base: TensorInfo) -> None:
    if own.shape != base.shape:
        raise CheckpointError(
            f"{own.file}: {own.name!r} has shape {list(own.shape)}, wanted {list(base.shape)} as "
            f"{base.name!r} in {base.file}"
        )


def names_base(base: Checkpoint, adapter: Adapter) -> bool:
    """Whether an adapter says that it was trained on this base model, or says nothing."""
    wanted = adapter.config.base_model
    known = (str(base.path), str(base.path.resolve()), base.config.get("_name_or_path"))
    return wanted is None or _short(wanted) in map(_short, known)


def _check_base(base: Checkpoint, adapter: Adapter) -> None:
    if not names_base(base, adapter):
        raise CheckpointError(
            f"{adapter.config.path}: was trained on {adapter.config.base_model!r}, the base model here is "
            f"{base.path}; if that is the same model under another name, write "
            f"{base.path}+{adapter.config.path.parent}, or change base_model_name_or_path"
        )


def _short(name: object) -> str | None:
    # The last part of a path or hub id; a hub id's own name where the path leads into the hub's cache.
    if not isinstance(name, str) or not name:
        return None
    parts = Path(name).parts
    cached = [part for part in parts if part.startswith("models--")]
    return (cached[-1].rsplit("--", 1)[-1] if cached else Path(name).name).lower()


def _refuse_tied(name: str, base: Checkpoint, adapter: Adapter) -> None:
    # What transformers takes where the configuration does not say: embedding and head are one tensor.
    if base.config and base.config.get("tie_word_embeddings", True):
        raise CheckpointError(
            f"{adapter.file}: adapts the embedding {name!r}, which is tied to the output head in "
            f"{base.path}; adding to it would change the head as well"
        )
