"""Products of one batch's curvature matrix with vectors: its graphs are built once and serve every vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, autograd

from m2m.errors import ConfigError

#: The Hessian, or the generalised Gauss-Newton matrix: PSD where the loss is convex in the logits.
Matrix = Literal["hessian", "ggn"]
#: Multiplies a matrix by one vector that is cut up as the parameters are. each [*shape]
Multiply = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


def check_matrix(name: str) -> None:
    """Refuse an unknown kind of matrix.

    Args:
        name: What was asked for.

    Raises:
        ConfigError: If it is none of `Matrix`.
    """
    if name not in get_args(Matrix):
        raise ConfigError(f"the matrix must be one of {', '.join(get_args(Matrix))}, got {name!r}")


def hessian(loss: Tensor, parameters: Sequence[Tensor]) -> Multiply:
    """Prepare H v by double backward (Pearlmutter, Neural Computation 6, 1994).

    Args:
        loss: A scalar, with its graph.
        parameters: What it is differentiated by.

    Returns:
        Multiplies the loss's Hessian by a vector; holds the gradient's graph.
    """
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
    """Prepare Jᵀ H_out J v, J the Jacobian of the output (Schraudolph, Neural Computation 14, 2002).

    Jᵀu is linear in u, so that its own derivative by u in the direction v is J v: backward mode does all
    three steps, and whatever has a double backward will do.

    Args:
        output: What the model returned, with its graph.
        loss: A scalar as a function of the output.
        parameters: What the output is differentiated by.

    Returns:
        Multiplies the loss's generalised Gauss-Newton matrix by a vector; holds the output's graph.
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
    """Differentiate a weighted sum of outputs; inputs that take no part get zeros.

    Args:
        outputs: What is differentiated.
        inputs: By what.
        weights: Weights of the outputs' elements; None: 1, for scalars.
        retain_graph: Whether the graph is kept for another call.
        create_graph: Whether the result has a graph of its own.

    Returns:
        A derivative an input, of its shape.
    """
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
