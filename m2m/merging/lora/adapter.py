"""A PEFT adapter folder: its configuration and its factors, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import same_bytes
from m2m.checkpoint.header import MERGEABLE, TensorInfo
from m2m.checkpoint.identity import check_unchanged, identify
from m2m.checkpoint.locate import ADAPTER_NAMES, find_folder
from m2m.errors import CheckpointError
from m2m.merging.lora.config import NAME, LoraConfig, read_config
from m2m.merging.lora.names import Part, Role, read_name


def is_adapter(path: str | Path) -> bool:
    """Say whether a path is an adapter's folder.

    Args:
        path: What a recipe names.

    Returns:
        Whether it is a local folder with an adapter's configuration.
    """
    return (Path(path) / NAME).is_file()


@dataclass(frozen=True)
class Factors:
    """What an adapter does to one module."""

    #: Where A lies. [r, in]; of an embedding [r, rows of the table]
    a: TensorInfo
    #: Where B lies. [out, r]; of an embedding [columns of the table, r]
    b: TensorInfo
    #: The factor before B·A.
    scale: float
    #: Whether the module is an embedding, whose weight is (B·A)ᵀ.
    embedding: bool
    #: Lengths that the outputs' rows of W + s·BA are scaled to, if they are (DoRA). [out]
    magnitudes: TensorInfo | None = None

    @property
    def rank(self) -> int:
        """Rows of A, columns of B."""
        return self.a.shape[0]


class Adapter:
    """An adapter on disk. Its base model is not needed to open it.

    Attributes:
        path: The local folder.
        config: What `adapter_config.json` says.
        opened: What its two files were when it was opened.
    """

    def __init__(self, path: str | Path, revision: str | None = None) -> None:
        """Read an adapter's configuration and find its file.

        Args:
            path: A local folder, or a model id on the Hugging Face hub.
            revision: Branch, tag or commit of a model id.

        Raises:
            CheckpointError: If there is no adapter, or it is of a kind that is not W + s·BA.
        """
        self.path = find_folder(path, revision)
        if not is_adapter(self.path):
            raise CheckpointError(f"{self.path}: holds no adapter; wanted {NAME} and {ADAPTER_NAMES[0]}")
        opened = identify([self.path / NAME])
        self.config: LoraConfig = read_config(self.path)
        file = next((self.path / name for name in ADAPTER_NAMES if (self.path / name).is_file()), None)
        if file is None:
            raise CheckpointError(f"{self.path}: holds no {' or '.join(ADAPTER_NAMES)}")
        self._weights = Checkpoint(file)
        self.opened = opened | self._weights.opened

    def __repr__(self) -> str:
        return f"Adapter({str(self.path)!r})"

    def check_unchanged(self) -> None:
        """Hold the files against what they were when the adapter was opened.

        Raises:
            CheckpointError: If one was written to, replaced or removed; names it.
        """  # noqa: DOC502 - raised by what is called
        check_unchanged(self.opened)

    @property
    def file(self) -> Path:
        """The file that holds the factors."""
        return self._weights.path

    @cached_property
    def _parts(self) -> dict[Part, TensorInfo]:
        found: dict[Part, TensorInfo] = {}
        for name, info in self._weights.tensors.items():
            part = read_name(name, self.file)
            if part is None:
                continue
            if part in found and not same_bytes(found[part], info):
                raise CheckpointError(f"{self.file}: {name!r} and {found[part].name!r} are the same factor")
            found[part] = info
        return found

    @cached_property
    def factors(self) -> Mapping[str, Factors]:
        """The factors by module.

        Raises:
            CheckpointError: If one of a pair is missing, or shapes and configuration do not fit together.
        """
        a, b = self._by_role("A", "embedding_A"), self._by_role("B", "embedding_B")
        for module in sorted(a.keys() ^ b.keys()):
            has, lacks = ("lora_A", "lora_B") if module in a else ("lora_B", "lora_A")
            raise CheckpointError(f"{self.file}: module {module!r} has {has} but no {lacks}")
        if not a and not self.full:
            raise CheckpointError(f"{self.file}: holds no factors")
        return {module: self._factors(module, a[module], b[module]) for module in a}

    @cached_property
    def full(self) -> Mapping[str, TensorInfo]:
        """Tensors that take the place of the base model's (`modules_to_save`, trained biases), by name."""
        return self.copies | self._by_leaf("full")

    @cached_property
    def copies(self) -> dict[str, TensorInfo]:
        """Those of them that nobody trained: the base model's own, beside factors."""
        return self._by_leaf("copy")

    @cached_property
    def biases(self) -> Mapping[str, tuple[TensorInfo, float]]:
        """Biases of B (`lora_bias`) and the scale before them, by module.

        Raises:
            CheckpointError: If one belongs to no factor.
        """
        found = self._by_role("bias")
        for module in found.keys() - self.factors.keys():
            raise CheckpointError(f"{self.file}: module {module!r} has a bias of lora_B but no factors")
        return {module: (info, self.factors[module].scale) for module, info in found.items()}

    def _by_leaf(self, role: Role) -> dict[str, TensorInfo]:
        parts = self._parts.items()
        return {f"{part.module}.{part.leaf}": info for part, info in parts if part.role == role}

    def _by_role(self, *roles: Role) -> dict[str, TensorInfo]:
        return {part.module: info for part, info in self._parts.items() if part.role in roles}

    def _factors(self, module: str, a: TensorInfo, b: TensorInfo) -> Factors:
        where = f"{self.file}: module {module!r}"
        for info in (a, b):
            if len(info.shape) != 2 or 0 in info.shape:
                raise CheckpointError(
                    f"{where}: {info.name!r} has shape {list(info.shape)}; wanted a matrix "
                    "(convolutions are not merged)"
                )
            if info.dtype not in MERGEABLE:
                raise CheckpointError(
                    f"{where}: {info.name!r} is {info.dtype}; wanted {', '.join(sorted(MERGEABLE))}"
                )
        wanted = self.config.rank_of(module)
        fused = bool(self.config.parameters) and a.shape[0] % wanted == 0  # a factor for each expert
        if a.shape[0] != b.shape[1] or (a.shape[0] != wanted and not fused):
            raise CheckpointError(
                f"{where}: A is {list(a.shape)} and B {list(b.shape)}; {NAME} says rank {wanted}"
            )
        embedding = Part(module, "embedding_A") in self._parts
        magnitudes = self._parts.get(Part(module, "magnitude"))
        self._check_magnitudes(module, magnitudes, b.shape[0])
        return Factors(a, b, self.config.scale_of(module), embedding, magnitudes)

    def _check_magnitudes(self, module: str, magnitudes: TensorInfo | None, rows: int) -> None:
        if (magnitudes is not None) != self.config.dora:
            holds, says = ("holds", "false") if magnitudes else ("lacks", "true")
            raise CheckpointError(
                f"{self.file}: {holds} the magnitude vector of {module!r}, {NAME} says use_dora: {says}"
            )
        if magnitudes is not None and (magnitudes.elements != rows or magnitudes.dtype not in MERGEABLE):
            raise CheckpointError(
                f"{self.file}: {magnitudes.name!r} is {magnitudes.dtype} {list(magnitudes.shape)}; wanted a "
                f"float for each of the {rows} outputs"
            )
