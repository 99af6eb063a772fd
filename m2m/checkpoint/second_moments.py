"""Adam's second moments beside an expert: what steps were divided by, as `adam_merge` wants to know it.

v̂ = v / (1 − β₂^t), the running mean of squared gradients without its start at zero (Kingma and Ba, Adam,
arXiv 1412.6980, algorithm 1), in float32, by the model's own names of its parameters. From an optimizer at
hand, or from the `optimizer.pt` that transformers' Trainer, and so TRL, leaves in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.checkpoint.writer import save_file
from m2m.errors import CheckpointError
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.support.doors import reading, require_file
from m2m.support.outputs import Output, check_outputs

#: Name of the optimizer's state in a Trainer's checkpoint.
OPTIMIZER_NAME = "optimizer.pt"
_WHAT = "a PyTorch optimizer's state that weights_only loads"
_OF_ADAM = "AdamW's state: exp_avg_sq, step and betas"


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
                found[name] = _without_start(state, group, f"the optimizer's state of {name!r}")
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
    if not file.is_file():
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
    moments = dict(_moments(file, groups, names, model))
    if not moments:
        raise CheckpointError(f"{file}: holds no parameter's state: nothing was trained")
    save_file(moments, Path(out))
    steps = max(int(float(state["step"])) for group in groups for state in group.states if state)
    return Written(Path(out), len(moments), sum(tensor.nbytes for tensor in moments.values()), steps)


@dataclass(frozen=True)
class _Group:
    options: Mapping[str, Any]
    states: Sequence[Mapping[str, Any]]  # of its parameters, empty for one without a step


def _read_groups(file: Path) -> list[_Group]:
    require_file(file, _WHAT, CheckpointError)
    with reading(_WHAT, file, CheckpointError):
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        states = content["state"]
        groups = [
            _Group(options, [states.get(number, {}) for number in options["params"]])
            for options in content["param_groups"]
        ]
        if not all(isinstance(state, dict) for group in groups for state in group.states):
            raise CheckpointError(f"{file} is not {_WHAT}: wanted {_OF_ADAM}")
        return groups


def _names(file: Path, groups: Sequence[_Group], folder: Path) -> list[list[str]]:
    given = [group.options.get("param_names") for group in groups]
    if all(given):
        return [list(map(str, names)) for names in given if names]
    from m2m.checkpoint.hugging_face import trainer_groups

    names = [group for group in trainer_groups(folder) if group]
    filled = [group for group in groups if group.options["params"]]
    got, wanted = [len(group.states) for group in filled], [len(group) for group in names]
    if got != wanted:
        raise CheckpointError(
            f"{file}: has groups of {got} parameters, the model in {folder} trains {wanted} (with weight "
            "decay, without): which is which cannot be told of frozen parameters or other groups"
        )
    iterator = iter(names)
    return [next(iterator) if group.options["params"] else [] for group in groups]


def _moments(
    file: Path, groups: Sequence[_Group], names: Sequence[Sequence[str]], model: Checkpoint
) -> Iterator[tuple[str, Tensor]]:
    for group, own in zip(groups, names, strict=True):
        for name, state in zip(own, group.states, strict=True):
            stored = model.tensors.get(model.tied.get(name, name))
            if stored is None:
                raise CheckpointError(f"{file}: its parameter {name!r} is no tensor of {model.path}")
            if not state:
                continue
            moments = _without_start(state, group.options, f"{file}: the state of {name!r}")
            if tuple(moments.shape) != stored.shape:
                raise CheckpointError(
                    f"{file}: the state of {name!r} has shape {list(moments.shape)}, wanted "
                    f"{list(stored.shape)} as in {stored.file}: another model's, or grouped in another way"
                )
            yield name, moments


def _without_start(state: Mapping[str, Any], group: Mapping[str, Any], whose: str) -> Tensor:
    # amsgrad divides by the largest v so far, corrected as the last one.
    squares, step, betas = (
        state.get("max_exp_avg_sq", state.get("exp_avg_sq")),
        state.get("step"),
        group.get("betas"),
    )
    if not isinstance(squares, Tensor) or step is None or not betas:
        raise CheckpointError(f"{whose} has {sorted(map(str, state))}; wanted {_OF_ADAM}")
    count = float(step)
    if not count >= 1 or not 0 <= betas[1] < 1:
        raise CheckpointError(
            f"{whose} is of step {count:g} with β₂ = {betas[1]}; wanted one step or more, β₂ < 1"
        )
    found: Tensor = (squares.double() / (1 - betas[1] ** count)).float()
    if not torch.isfinite(found).all() or bool((found < 0).any()):
        raise CheckpointError(f"{whose} has second moments that are negative, NaN or infinite")
    return found.contiguous()
