"""A set-up's training loss as a function of the model's output, as the Gauss-Newton matrix needs it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from m2m.errors import InputError
from m2m.setups.protocol import Batch, Setup, logits_of

#: The metric of a set-up's `judge` that is its training loss.
LOSS = "loss"


def run_model(setup: Setup, model: nn.Module, batch: Batch) -> Tensor:
    """Run the model on a batch.

    Args:
        setup: The set-up.
        model: Its module.
        batch: Fields of the examples. each [B, ...]

    Returns:
        The output in which the loss is expanded: the logits. [B, ...]

    Raises:
        InputError: If the model returns neither a tensor nor something with `logits`.
    """
    output: Any = model(**setup.inputs(batch))
    if not isinstance(output, Tensor) and not isinstance(getattr(output, "logits", None), Tensor):
        raise InputError(_refusal(f"the model returns {type(output).__name__}, neither a tensor nor logits"))
    return logits_of(output)


def loss_of_output(setup: Setup, output: Tensor, batch: Batch) -> Tensor:
    """Judge an output by the training loss.

    Args:
        setup: The set-up.
        output: Logits as from `run_model`. [B, ...]
        batch: Fields of the examples. each [B, ...]

    Returns:
        The loss of each example, nat. [B]

    Raises:
        InputError: If `judge` has no such metric.
    """
    values = setup.judge(output, batch)
    if LOSS not in values:
        raise InputError(_refusal(f"its judge gives {list(values)}, no metric {LOSS!r}"))
    return values[LOSS]


def check_output_loss(setup: Setup, model: nn.Module, batch: Batch) -> None:
    """Make sure that `judge` gives the training loss as a differentiable function of the output.

    Args:
        setup: The set-up.
        model: Its module.
        batch: Examples to try it on. each [B, ...]

    Raises:
        InputError: If it does not.
    """
    with torch.no_grad():
        output, trained = run_model(setup, model, batch), setup.loss(model, batch)
    if not output.is_floating_point():
        raise InputError(_refusal(f"the model returns {output.dtype}, which has no derivatives"))
    judged = loss_of_output(setup, output.requires_grad_(), batch)
    if not judged.requires_grad:
        raise InputError(_refusal(f"its judge's {LOSS!r} is not differentiable in the model's output"))
    # The same function in another order of operations agrees to far more than half the digits.
    half = torch.finfo(trained.dtype).eps ** 0.5
    if judged.shape != trained.shape or not torch.allclose(judged.detach(), trained, rtol=half, atol=half):
        raise InputError(_refusal(f"its judge's {LOSS!r} is another function than its training loss"))


def _refusal(why: str) -> str:
    return f"the set-up has no Gauss-Newton matrix, take the Hessian: {why}"
