"""Experts that were never written down, tensor by tensor, for methods that need the expert itself."""

from __future__ import annotations

from collections.abc import Sequence

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.header import TensorInfo
from m2m.errors import CheckpointError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.additions import AdaptedTensor, Addition, Product, StackedProduct
from m2m.merging.vocabulary.gathered import GatheredTensor


def expert_tensors(
    models: Sequence[Checkpoint],
    names: Sequence[str],
    others: Sequence[TensorInfo] = (),
    dense: Sequence[TensorInfo | GatheredTensor] | None = None,
) -> tuple[TensorInfo | GatheredTensor | AdaptedTensor, ...]:
    """Resolve one tensor of models of which some are adapted, as methods that merge experts want it.

    Adapted tensors are rounded to float32, or to float64 as soon as anything that the tensor is made of is
    float64: the type to which the inputs of these methods are widened anyway. So an adapter's change is not
    lost between two neighbouring numbers of a 16-bit base model.

    Args:
        models: The inputs. [K]
        names: The tensor's name in each. [K]
        others: What else is read with them, as estimates of each element.
        dense: What is read of each input, where that is not its own tensor as it is stored. [K]

    Returns:
        A tensor that is read, or an adapted one, of each model. [K]

    Raises:
        CheckpointError: If an adapter changes experts of a mixture that its base model stores in one tensor.
    """  # noqa: DOC502 - raised by what is called
    dense = dense or [model.tensors[name] for model, name in zip(models, names, strict=True)]
    if not any(isinstance(model, AdaptedCheckpoint) for model in models):
        return tuple(dense)
    additions = [_addition(model, name) for model, name in zip(models, names, strict=True)]
    if not any(additions):
        return tuple(dense)
    dtypes = {info.dtype for info in (*dense, *others)}
    for addition in additions:
        dtypes |= _dtypes(addition.source) if addition is not None else set()
    wide = "F64" if "F64" in dtypes else "F32"
    return tuple([_on(info, addition, wide) for info, addition in zip(dense, additions, strict=True)])


def _on(
    info: TensorInfo | GatheredTensor, addition: Addition | None, wide: str
) -> TensorInfo | GatheredTensor | AdaptedTensor:
    if addition is None:
        return info
    assert isinstance(info, TensorInfo)  # what is adapted is not gathered
    return addition.on(info, wide)


def _addition(model: Checkpoint, name: str) -> Addition | None:
    addition = model.additions.get(name) if isinstance(model, AdaptedCheckpoint) else None
    if addition is not None and isinstance(addition.source, StackedProduct):
        raise CheckpointError(
            f"{addition.source.file}: adapts {name!r}, in which the base model stores all experts of a "
            "mixture; this method needs the expert itself: write the adapted model first (passthrough), and "
            "merge that"
        )
    return addition


def _dtypes(source: Product | StackedProduct | TensorInfo) -> set[str]:
    return {source.left.dtype, source.right.dtype} if isinstance(source, Product) else {source.dtype}
