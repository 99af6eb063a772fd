"""A base model with an adapter on top, tensor by tensor: what is read, and what is added."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from m2m.checkpoint.checkpoint import Checkpoint, read_tensor
from m2m.checkpoint.checks import has_token_rows, head_ties, same_bytes
from m2m.checkpoint.header import TensorInfo
from m2m.errors import CheckpointError
from m2m.merging.lora.adapter import Adapter, Factors
from m2m.merging.lora.additions import Addition, Product, first_rows
from m2m.merging.lora.base_name import check_base
from m2m.merging.lora.fused import FusedFactors, fused_factors
from m2m.merging.lora.layout import is_stored_transposed
from m2m.merging.lora.module_names import ModuleParts, module_parts
from m2m.merging.lora.names import match_tensors

if TYPE_CHECKING:
    from torch import Tensor


class AdaptedCheckpoint(Checkpoint):
    """A model that is a base model plus an adapter; it was never written down.

    `tensors` are the base model's, but for those that the adapter holds whole; `additions` is what is added.

    Attributes:
        base: The base model.
        adapter: The adapter.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter, *, named: bool = True, cut: bool = False) -> None:
        """Put an adapter on a base model.

        Args:
            base: The base model.
            adapter: The adapter.
            named: Whether the base model that the adapter names must be this one; False where that is known
                from elsewhere.
            cut: Whether only the first rows of what the adapter holds whole are used, where the base model
                has fewer (`resized`).

        Raises:
            CheckpointError: If the adapter names another base model.
        """  # noqa: DOC502 - raised by what is called
        self.path, self.files, self._weight_map = base.path, base.files, None
        self.base, self.adapter, self._cut = base, adapter, cut
        self.opened = base.opened | adapter.opened
        if named:
            check_base(base, adapter)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The base model's."""
        return self.base.metadata

    @cached_property
    def tied(self) -> dict[str, str]:
        """The base model's second names of stored tensors."""
        return self.base.tied

    @cached_property
    def _ties(self) -> dict[str, str]:
        # Embedding by name of a head that the base model does not store.
        return head_ties(self.base)

    @cached_property
    def _module(self) -> ModuleParts:
        return module_parts(self.base)

    @cached_property
    def _fused(self) -> Mapping[str, FusedFactors]:
        return fused_factors(self.adapter, self._module)

    @cached_property
    def _names(self) -> dict[str, str]:
        # The base model's name, stored or tied, of every tensor that the adapter changes.
        wanted = [f"{module}.weight" for module in self.adapter.factors if module not in self._fused]
        wanted += [f"{module}.bias" for module in self.adapter.biases]
        wanted += self.adapter.full
        tied = {name: name for name in wanted if name in self._ties}
        rest = list(dict.fromkeys(name for name in wanted if name not in tied))
        try:
            return tied | match_tensors(rest, self.base.names, self.adapter.file, self.base.path)
        except CheckpointError:
            names = {part.target: part.stored for part in self._module.parts if not any(part.start)}
            if names.keys() >= set(rest):
                return tied | {name: names[name] for name in rest}
            raise

    @cached_property
    def _whole(self) -> dict[str, TensorInfo]:
        # What the adapter holds whole, by the base model's names; a copy of the embedding is no head.
        copies = self.adapter.copies
        named = {name: self._names[name] for name in self.adapter.full}
        return {
            own: self.adapter.full[name]
            for name, own in named.items()
            if not (name in copies and own in self._ties)
        }

    @cached_property
    def unties(self) -> dict[str, str]:
        """Heads that it holds apart from the embedding that the base ties them to: embedding by head."""
        found = {}
        for head, info in self._whole.items():
            embedding = self._ties.get(head)
            if embedding is not None:
                beside = self._whole.get(embedding, self.base.tensors[embedding])
                if not same_bytes(info, beside):
                    found[head] = embedding
        return found

    @cached_property
    def resized(self) -> dict[str, TensorInfo]:
        """Embeddings and heads that it holds whole for another number of tokens, by the base's names."""
        found = {}
        for name, info in self._whole.items():
            wanted = self.base.tensors[self._ties.get(name, name)]
            if info.shape[1:] == wanted.shape[1:] and info.shape != wanted.shape and has_token_rows(name):
                found[name] = info
        return found

    @cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """What is read of each tensor, by name: the base model's, or the adapter's own.

        Raises:
            CheckpointError: If the adapter holds one of another shape, or unties the head.
        """
        for head, embedding in self.unties.items():
            raise CheckpointError(
                f"{self.adapter.file}: holds {head!r} apart from {embedding!r}, which are one tensor in "
                f"{self.base.path}; m2m merge writes a model in which they are two"
            )
        own = {name: info for name, info in self._whole.items() if name not in self._ties}
        for name, info in own.items():
            wanted = self.base.tensors[name]
            if self._cut and name in self.resized:
                own[name] = first_rows(info, wanted.shape[0])
            _check_shape(own[name], wanted)
        return {
            name: own[name]._replace(name=name) if name in own else info
            for name, info in self.base.tensors.items()
        }

    @cached_property
    def modules(self) -> Mapping[str, tuple[str, Factors]]:
        """Module and factors of each tensor that a product is added to, by the base model's names.

        Raises:
            CheckpointError: If a tied embedding and its head are both adapted.
        """
        found: dict[str, tuple[str, Factors]] = {}
        for module, factors in self.adapter.factors.items():
            if module in self._fused:
                continue
            name = self._names[f"{module}.weight"]
            name = self._ties.get(name, name)
            if name in found:
                raise CheckpointError(
                    f"{self.adapter.file}: adapts both {found[name][0]!r} and {module!r}, which are one "
                    f"tensor in {self.base.path}"
                )
            found[name] = module, factors
        return found

    @cached_property
    def additions(self) -> Mapping[str, Addition]:
        """What is added to each tensor that is not only read, by the base model's names.

        Raises:
            CheckpointError: If the adapter does not fit the base model.
        """  # noqa: DOC502 - raised by what is called
        found: dict[str, Addition] = {}
        for name, (module, factors) in self.modules.items():
            found[name] = Addition(self._product(name, module, factors), factors.scale, factors.magnitudes)
        for fused in self._fused.values():
            found |= fused.additions(self.tensors)
        for module, (bias, scale) in self.adapter.biases.items():
            name = self._names[f"{module}.bias"]
            _check_shape(bias, self.tensors[name])
            found[name] = Addition(bias, scale)
        return found

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """What a merged model cannot be as the adapter was trained: a tied tensor changed in one place."""
        if self.adapter.config.ties_weights:
            return ()
        tied = {*self.base.tied.values(), *self._ties.values()}
        if self.base.config.get("tie_word_embeddings", bool(self.base.config)):
            tied |= {name for name, (_, factors) in self.modules.items() if factors.embedding}
        return tuple(
            f"{self.adapter.file}: adapts {module!r}, and {name!r} of {self.base.path} is embedding and head "
            "in one: a merged model is changed in both, as by PEFT's merge_and_unload, while the adapter "
            "itself changes one of them"
            for name, (module, _) in self.modules.items()
            if name in tied
        )

    def _product(self, name: str, module: str, factors: Factors) -> Product:
        shape = self.tensors[name].shape
        b_a = (factors.b.shape[0], factors.a.shape[1])
        transposed = factors.embedding or is_stored_transposed(
            module, b_a, shape, self.base.config, flag=self.adapter.config.fan_in_fan_out
        )
        if (b_a[::-1] if transposed else b_a) != shape:
            raise CheckpointError(
                f"{self.adapter.file}: B·A of {name!r} is {list(b_a)}, the tensor in {self.base.path} is "
                f"{list(shape)}"
            )
        left, right = (factors.a, factors.b) if transposed else (factors.b, factors.a)
        return Product(name, shape, left, right, transposed)

    def read(self, name: str) -> Tensor:
        """Form one adapted tensor.

        Args:
            name: Its name.

        Returns:
            W with what is added, rounded to the type of W. [*shape]
        """
        from m2m.merging.methods.exact import sum_inputs

        info, addition = self.tensors[name], self.additions.get(name)
        if addition is not None:
            return addition.on(info, info.dtype).form()
        tensor = read_tensor(info)
        return sum_inputs([tensor], [1.0], tensor.dtype)


def _check_shape(own: TensorInfo, base: TensorInfo) -> None:
    if own.shape != base.shape:
        raise CheckpointError(
            f"{own.file}: {own.name!r} has shape {list(own.shape)}, wanted {list(base.shape)} as "
            f"{base.name!r} in {base.file}"
        )
