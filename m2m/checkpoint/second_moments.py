"""Adam's second moments beside an expert: what steps were divided by, as `adam_merge` wants to know it.

v̂ = v / (1 − β₂^t), the running mean of squared gradients without its start at zero (Kingma and Ba, Adam,
arXiv 1412.6980, algorithm 1), in float32, by the model's own names of its parameters. From an optimizer at
hand, or from the `optimizer.pt` that transformers' Trainer, and so TRL, leaves in a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.checkpoint.pickled import load_pickled
from m2m.checkpoint.writer import save_file
from m2m.errors import CheckpointError
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.support.outputs import Output, check_outputs
from m2m.support.schema import check_shape, repeated, shown

#: Name of the optimizer's state in a Trainer's checkpoint.
OPTIMIZER_NAME = "optimizer.pt"
_WHAT = "a PyTorch optimizer's state that weights_only loads"
_OF_ADAM = "AdamW's state: exp_avg_sq, step and betas"
#: A state as state_dict gives it. What it keeps of a parameter is looked at once the parameter has its name.
_SHAPE = {
    "state": {str: {}},
    "param_groups": [{"params": [(int, str)], "param_names?": (NoneType, [str])}],
}
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
#: Largest count that float64 tells from the next.
_MOST_STEPS = 2**53


@dataclass(frozen=True)
class Written:
    """What was made.

    Attributes:
        out: The file.
        tensors: Tensors in it.
        nbytes: Their bytes.
        steps: Optimizer steps t that the moments are from.
    """

    out: Path
    tensors: int
    nbytes: int
    steps: int


def second_moments(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Take the second moments of an Adam or AdamW that has trained a model.

    Args:
        optimizer: The optimizer, after its last step.
        model: The model; its names are those of the result.

    Returns:
        v̂ in float32 by parameter; parameters without a step, as frozen ones, have none.

    Raises:
        CheckpointError: If the optimizer keeps no such moments.
    """  # noqa: DOC502 - raised by what is called
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state, name = optimizer.state.get(parameter), names.get(id(parameter))
            if state and name is not None:
                found[name], _ = _without_start(state, group, f"the optimizer's state of {name!r}")
    return found


@checked()
def write_second_moments(checkpoint: str | Path, out: str | Path) -> Written:
    """Turn the `optimizer.pt` of a Trainer's checkpoint into a file of second moments by name.

    The state numbers parameters as the Trainer grouped them: those with weight decay in the order of the
    model's modules, then the others. The model is built without memory to learn that order, and every shape
    is held against it; nothing that is pickled is run.

    Args:
        checkpoint: A folder such as `checkpoint-500`: configuration, weights and `optimizer.pt`.
        out: The safetensors file to write.

    Returns:
        What was made.

    Raises:
        CheckpointError: If there is no such state, it is not AdamW's, or does not fit the model.
        ConfigError: If the model cannot be built, or `out` cannot be written.
    """  # noqa: DOC502 - raised by what is called
    folder = Path(checkpoint)
    check_outputs([Output(argument("out", out), Path(out))], inputs=[folder])
    file = folder / OPTIMIZER_NAME
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file, wanted the folder that it is in: {folder.parent}")
    if not file.exists():
        raise CheckpointError(
            f"{file}: is not there; a Trainer writes it beside the weights, unless save_only_model, "
            "DeepSpeed or FSDP keep it from that"
        )
    if any((folder / name).exists() for name in ADAPTER_NAMES):
        raise CheckpointError(
            f"{folder}: holds an adapter; its optimizer knows the factors, not the weights that they change"
        )
    model = Checkpoint(folder)
    groups = _read_groups(file)
    names = _names(file, groups, folder)
    found = list(_moments(file, groups, names, model))
    if not found:
        raise CheckpointError(f"{file}: holds no parameter's state: nothing was trained")
    moments = {name: tensor for name, tensor, _ in found}
    written = Written(
        Path(out),
        tensors=len(moments),
        nbytes=sum(tensor.nbytes for tensor in moments.values()),
        steps=max(steps for _, _, steps in found),
    )
    save_file(moments, written.out)
    return written


@dataclass(frozen=True)
class _Group:
    options: Mapping[str, Any]
    names: Sequence[str] | None  # of its parameters, if the state tells
    states: Sequence[Mapping[str, Any]]  # of its parameters, empty for one without a step


def _read_groups(file: Path) -> list[_Group]:
    content = load_pickled(file, _WHAT)
    check_shape(content, _SHAPE, f"{file} is not {_WHAT}", CheckpointError)
    states, groups = content["state"], content["param_groups"]
    for at, group in enumerate(groups):
        names, count = group.get("param_names"), len(group["params"])
        if names is not None and len(names) != count:
            raise CheckpointError(
                f"{file}: param_groups[{at}].param_names has {len(names)} names, wanted {count} as in params"
            )
    for key in ("params", "param_names"):
        twice = repeated(part for group in groups for part in group.get(key) or ())
        if twice is not None:
            raise CheckpointError(f"{file}: {key} of param_groups has {twice!r} twice, wanted each once")
    return [
        _Group(group, group.get("param_names"), [states.get(number, {}) for number in group["params"]])
        for group in groups
    ]


def _names(file: Path, groups: Sequence[_Group], folder: Path) -> list[Sequence[str]]:
    if all(group.names is not None or not group.states for group in groups):
        return [group.names or () for group in groups]
    from m2m.checkpoint.hugging_face import trainer_groups

    names = [group for group in trainer_groups(folder) if group]
    got, wanted = [len(group.states) for group in groups if group.states], [len(group) for group in names]
    if got != wanted:
        raise CheckpointError(
            f"{file}: has groups of {got} parameters, the model in {folder} trains {wanted} (with weight "
            "decay, without): which is which cannot be told of frozen parameters or other groups"
        )
    iterator = iter(names)
    return [next(iterator) if group.states else () for group in groups]


def _moments(
    file: Path, groups: Sequence[_Group], names: Sequence[Sequence[str]], model: Checkpoint
) -> Iterator[tuple[str, Tensor, int]]:
    for group, own in zip(groups, names, strict=True):
        for name, state in zip(own, group.states, strict=True):
            stored = model.tensors.get(model.tied.get(name, name))
            if stored is None:
                raise CheckpointError(f"{file}: its parameter {name!r} is no tensor of {model.path}")
            if not state:
                continue
            moments, steps = _without_start(state, group.options, f"{file}: the state of {name!r}")
            if tuple(moments.shape) != stored.shape:
                raise CheckpointError(
                    f"{file}: the state of {name!r} has shape {list(moments.shape)}, wanted "
                    f"{list(stored.shape)} as in {stored.file}: another model's, or grouped in another way"
                )
            yield name, moments, steps


def _without_start(state: Mapping[str, Any], group: Mapping[str, Any], whose: str) -> tuple[Tensor, int]:
    # v̂, and t. amsgrad divides by the largest v so far, corrected as the last one.
    key = "max_exp_avg_sq" if "max_exp_avg_sq" in state else "exp_avg_sq"
    if key not in state or "step" not in state:
        raise CheckpointError(f"{whose} has {sorted(map(str, state))}; wanted {_OF_ADAM}")
    squares, step, beta = _squares(state[key], f"{whose}: {key}"), state["step"], _second_beta(group, whose)
    count = _number(step)
    if not (1 <= count <= _MOST_STEPS and count.is_integer()):
        raise CheckpointError(
            f"{whose}: step is {shown(step)}, wanted a whole number of at least 1 and at most 2^53"
        )
    found = (squares.double() / (1 - beta**count)).float()
    if not torch.isfinite(found).all() or bool((found < 0).any()):
        raise CheckpointError(f"{whose} has second moments that are negative, NaN or infinite")
    return found.contiguous(), int(count)


def _second_beta(group: Mapping[str, Any], whose: str) -> float:
    betas = group.get("betas")
    numbers = [_number(beta) for beta in betas] if isinstance(betas, list | tuple) else []
    if len(numbers) != 2 or not all(0 <= number < 1 for number in numbers):
        raise CheckpointError(f"{whose}: betas of its group is {shown(betas)}, wanted two numbers in [0, 1)")
    return numbers[1]


def _squares(value: object, where: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{where} is {shown(value)}, wanted a tensor")
    unlike = _unlike_plain(value) or (str(value.dtype) if value.dtype not in _FLOATS else None)
    if unlike:
        raise CheckpointError(f"{where} is {unlike}, wanted a plain tensor of floats")
    return value


def _unlike_plain(tensor: Tensor) -> str | None:
    if tensor.is_nested or tensor.layout != torch.strided:
        return "nested" if tensor.is_nested else "sparse"
    if tensor.is_quantized:
        return "quantized"
    return "without its numbers (on the device meta)" if tensor.is_meta else None


def _number(value: object) -> float:
    # NaN, which no range holds, for what is no real number.
    if isinstance(value, Tensor):
        value = value.item() if not _unlike_plain(value) and value.numel() == 1 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
