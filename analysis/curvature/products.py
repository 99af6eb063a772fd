"""Products of one batch's curvature matrix with vectors: its graphs are built once and serve every vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, autograd, nn

from m2m.errors import ConfigError, InputError
from m2m.setups.protocol import Batch, Setup, logits_of

#: The Hessian, or the generalised Gauss-Newton matrix: PSD where the loss is convex in the logits.
Matrix = Literal["hessian", "ggn"]
#: Multiplies a matrix by one vector that is cut up as the parameters are. each [*shape]
Multiply = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
#: The metric of a set-up's `judge` that is its training loss.
LOSS = "loss"


def check_matrix(name: str) -> None:
    """Refuse an unknown kind of matrix."""
    if name not in get_args(Matrix):
        raise ConfigError(f"the matrix must be one of {', '.join(get_args(Matrix))}, got {name!r}")


def hessian(loss: Tensor, parameters: Sequence[Tensor]) -> Multiply:
    """Prepare H v by double backward (Pearlmutter, Neural Comput. 6, 1994); holds the gradient's graph."""
    gradients = differentiate([loss], parameters, create_graph=True)
    bent = [i for i, gradient in enumerate(gradients) if gradient.requires_grad]

    def multiply(vector: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if not bent:
            return _zeros(parameters)
        return differentiate(
            [gradients[i] for i in bent], parameters, [vector[i] for i in bent], retain_graph=True
        )

    return multiply


def gauss_newton(output: Tensor, loss: Callable[[Tensor], Tensor], parameters: Sequence[Tensor]) -> Multiply:
    """Return what multiplies Jᵀ H_out J by a vector, J the Jacobian of the output; holds the output's graph.

    Schraudolph, Neural Computation 14, 2002. Jᵀu is linear in u, so that its own derivative by u in the
    direction v is J v: backward mode does all three steps, and whatever has a double backward will do.
    """
    place = output.detach().requires_grad_()
    [slope] = differentiate([loss(place)], [place], create_graph=True)
    weights = torch.zeros_like(output, requires_grad=True)
    pulled = differentiate([output], parameters, [weights], create_graph=True) if output.requires_grad else ()
    live = [i for i, part in enumerate(pulled) if part.requires_grad]

    def multiply(vector: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if not (live and slope.requires_grad):
            return _zeros(parameters)
        [pushed] = differentiate(
            [pulled[i] for i in live], [weights], [vector[i] for i in live], retain_graph=True
        )
        [bent] = differentiate([slope], [place], [pushed], retain_graph=True)
        return differentiate([output], parameters, [bent], retain_graph=True)

    return multiply


def differentiate(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor] | None = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Differentiate a weighted sum of outputs (None: of scalars); inputs that take no part get zeros."""
    return autograd.grad(
        outputs,
        inputs,
        weights,
        retain_graph=retain_graph,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )


def _zeros(parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(torch.zeros_like(parameter) for parameter in parameters)


def run_model(setup: Setup, model: nn.Module, batch: Batch) -> Tensor:
    """Run the model on a batch: the logits [B, ...], in which the loss is expanded."""
    output: Any = model(**setup.inputs(batch))
    if not isinstance(output, Tensor) and not isinstance(getattr(output, "logits", None), Tensor):
        raise InputError(_refusal(f"the model returns {type(output).__name__}, neither a tensor nor logits"))
    return logits_of(output)


def loss_of_output(setup: Setup, output: Tensor, batch: Batch) -> Tensor:
    """Judge logits [B, ...] by the training loss of each example, nat. [B]."""
    values = setup.judge(output, batch)
    if LOSS not in values:
        raise InputError(_refusal(f"its judge gives {list(values)}, no metric {LOSS!r}"))
    return values[LOSS]


def check_output_loss(setup: Setup, model: nn.Module, batch: Batch) -> None:
    """Make sure that `judge` gives the training loss as a differentiable function of the output."""
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
