"""A module whose weights have names, shapes and strides but no memory yet."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from m2m.errors import CheckpointError


def build_hollow(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module without memory for what its checkpoint will fill: parameters and persistent buffers.

    Each parameter is moved to the meta device as it is made, so that at most one has memory at a time; other
    buffers (rotary frequencies, masks) are computed as usual. In the end every weight is a CPU tensor with an
    empty storage, tied ones still one object.

    Args:
        build: The factory. It may initialise its weights, and should not load any.

    Returns:
        The module, in evaluation mode.

    Raises:
        CheckpointError: If a buffer that no checkpoint holds was computed from weights.
    """
    model = build_on_meta(build)
    kept = {id(tensor) for tensor in weights_by_name(model).values()}
    for name, buffer in model.named_buffers():
        if buffer.is_meta and id(buffer) not in kept:
            raise CheckpointError(
                f"buffer {name} is in no checkpoint, and was computed from weights when built"
            )
    _empty_storages(model, kept)
    return model.eval()


def build_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module whose parameters are on the meta device, for what can be known without its weights.

    Args:
        build: The factory.

    Returns:
        The module, as the factory left it.
    """
    hook = register_module_parameter_registration_hook(_on_meta)  # type: ignore[arg-type]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*copying from a non-meta parameter", UserWarning)
            return build()
    finally:
        hook.remove()


def weights_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Name what a checkpoint of a module holds.

    Args:
        model: The module.

    Returns:
        Its parameters and persistent buffers; tied ones are one object under several names.
    """
    state: dict[str, object] = model.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
    if parameter is None or parameter.is_meta:
        return None
    return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)


def _empty_storages(model: nn.Module, kept: set[int]) -> None:
    made: dict[int, Tensor] = {}
    for module in model.modules():
        tensors: dict[str, Tensor | None] = {**module._parameters, **module._buffers}
        for name, tensor in tensors.items():
            if tensor is not None and id(tensor) in kept:
                # setattr, so that modules with lists of their weights (recurrent ones) see the new one
                setattr(module, name, made.setdefault(id(tensor), _without_memory(tensor)))


def _without_memory(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    empty.untyped_storage().resize_(0)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty
