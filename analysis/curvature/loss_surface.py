"""Losses around the base: values, gradients and Hessian-vector products at any displacement from θ₀."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from analysis.curvature.products import (
    Matrix,
    Multiply,
    check_matrix,
    check_output_loss,
    differentiate,
    gauss_newton,
    hessian,
    loss_of_output,
    run_model,
)
from m2m.errors import CheckpointError, InputError
from m2m.setups.protocol import Batch, Examples, Setup, load_state, trainable

#: Elements of two long vectors that are multiplied at a time, so that float64 copies stay small.
_BLOCK = 1 << 20


class LossSurface:
    """The mean training losses of a set-up as functions of the displacement x = θ − θ₀.

    Only what fine-tuning moves is a coordinate; frozen tensors stay the base's. The module runs in evaluation
    mode, so dropout is off and batch-norm statistics are the base's. Memory: one batch's graph, and the
    vectors that are asked for; no matrix of P² numbers.

    Args:
        setup: The model and its data; wrap it in `study_setup` for float64.
        base: θ₀, tensor by name.
        l2: ℓ, with which every loss gets ½ℓ‖θ‖² more: what weight decay makes of it under SGD.

    Attributes:
        setup: The set-up.
        l2: ℓ.
        size: Number P of coordinates.
    """

    def __init__(self, setup: Setup, base: Mapping[str, Tensor], l2: float = 0.0) -> None:
        self.setup, self.l2 = setup, l2
        self._model = load_state(setup.build(), base).eval()
        self._parameters = trainable(self._model)
        self._origin = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._judge_is_checked = False
        self.size = sum(p.numel() for p in self._parameters.values())

    def displacement(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return where a model lies: for an expert, its task vector τ.

        Args:
            state: Tensor by name, as from a checkpoint.

        Returns:
            x = θ − θ₀ over the trained coordinates, in the precision of the surface. [P]

        Raises:
            CheckpointError: If a trained tensor is missing or has another shape.
        """
        for name, origin in self._origin.items():
            got = list(state[name].shape) if name in state else "nothing"
            if got != list(origin.shape):
                raise CheckpointError(
                    f"tensor {name}: got {got}, wanted {list(origin.shape)} as in the base model"
                )
        return torch.cat(
            [(state[name].to(origin.dtype) - origin).flatten() for name, origin in self._origin.items()]
        )

    @property
    def origin(self) -> Tensor:
        """θ₀ over the trained coordinates. [P]."""
        return torch.cat([origin.flatten() for origin in self._origin.values()])

    def zeros(self, *rows: int) -> Tensor:
        """Make vectors of zeros.

        Args:
            *rows: Leading axes.

        Returns:
            Zeros in the precision of the surface. [*rows, P]
        """
        return next(iter(self._origin.values())).new_zeros(*rows, self.size)

    def value(self, examples: Examples, at: Tensor | None = None) -> float:
        """Average the loss over examples.

        Args:
            examples: The examples.
            at: Displacement from θ₀; None: at the base. [P]

        Returns:
            The mean loss, in nat.
        """
        with self._placed(at), torch.no_grad():
            mean = sum(loss.item() for loss in self._shares(examples))
            return mean + self.l2 / 2 * norms(self._place(at)[None]).item() ** 2 if self.l2 else mean

    def gradient(self, examples: Examples, at: Tensor | None = None) -> Tensor:
        """Differentiate the mean loss.

        Args:
            examples: The examples.
            at: Displacement from θ₀; None: at the base. [P]

        Returns:
            The gradient, in nat a unit of weight. [P]
        """
        total = self.zeros()
        with self._placed(at):
            for loss in self._shares(examples):
                total += _flat(differentiate([loss], list(self._parameters.values())))
        if self.l2:
            total += self.l2 * self._place(at)
        return _finite(total, "the gradient", at)

    def products(
        self, examples: Examples, vectors: Tensor, at: Tensor | None = None, *, matrix: Matrix = "hessian"
    ) -> Tensor:
        """Multiply the curvature of the mean loss by several vectors, batch by batch.

        A batch's graphs are built once and serve all vectors.

        Args:
            examples: The examples.
            vectors: What to multiply, as rows. [K, P]
            at: Displacement from θ₀; None: at the base. [P]
            matrix: `hessian` H, or `ggn`, the generalised Gauss-Newton matrix G = Jᵀ H_out J, J the
                Jacobian of the logits and H_out the loss's Hessian in them.

        Returns:
            H v or G v for every v, as rows. [K, P]
        """
        check_matrix(matrix)
        total = self.zeros(len(vectors))
        with self._placed(at):
            for batch in examples.batches(self.setup.batch_size):
                multiply = self._multiplier(batch, len(examples), matrix)
                for k, vector in enumerate(vectors):
                    total[k] += _flat(multiply(self._split(vector)))
                del multiply  # with its graphs, before the next batch builds its own
        if self.l2:
            total += self.l2 * vectors
        return _finite(total, f"a product with the {matrix}", at)

    def check_deterministic(self, examples: Examples) -> None:
        """Make sure that the same place gives the same gradient twice, bit by bit.

        Args:
            examples: Examples to try it on; one batch of them is used.

        Raises:
            InputError: If it does not: the model draws random numbers, or an operation is not repeatable.
        """
        few = Examples(next(examples.batches(self.setup.batch_size)))
        if not torch.equal(self.gradient(few), self.gradient(few)):
            raise InputError(
                "the gradient at the base differs from one evaluation to the next: the model draws random "
                "numbers in evaluation mode or uses an operation that does not repeat"
            )

    def _shares(self, examples: Examples) -> Iterator[Tensor]:
        """Yield each batch's share of the mean loss, whatever the size of the last batch."""
        for batch in examples.batches(self.setup.batch_size):
            yield self._share(batch, len(examples))

    def _share(self, batch: Batch, count: int) -> Tensor:
        # The fused attention kernels have no second derivative; the plain one does.
        with sdpa_kernel(SDPBackend.MATH):
            return self.setup.loss(self._model, batch).sum() / count

    def _multiplier(self, batch: Batch, count: int, matrix: Matrix) -> Multiply:
        # A batch's share of the mean loss's matrix.
        parameters = list(self._parameters.values())
        if matrix == "hessian":
            return hessian(self._share(batch, count), parameters)
        if not self._judge_is_checked:
            check_output_loss(self.setup, self._model, batch)
            self._judge_is_checked = True
        with sdpa_kernel(SDPBackend.MATH):
            output = run_model(self.setup, self._model, batch)
        return gauss_newton(output, lambda z: loss_of_output(self.setup, z, batch).sum() / count, parameters)

    def _place(self, at: Tensor | None) -> Tensor:
        return self.origin if at is None else self.origin + at

    def _split(self, vector: Tensor) -> list[Tensor]:
        shapes = [origin.shape for origin in self._origin.values()]
        parts = torch.split(vector, [shape.numel() for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    @contextmanager
    def _placed(self, at: Tensor | None) -> Iterator[None]:
        """Move the module to θ₀ + x for the block."""
        try:
            if at is not None:
                self._move(self._split(at))
            yield
        finally:
            self._move(None)

    def _move(self, parts: list[Tensor] | None) -> None:
        with torch.no_grad():
            for i, (name, parameter) in enumerate(self._parameters.items()):
                origin = self._origin[name]
                parameter.copy_(origin if parts is None else origin + parts[i])


def inner(left: Tensor, right: Tensor) -> Tensor:
    """Multiply rows [A, P] with rows [B, P], in float64 whatever their type. [A, B]."""
    total = torch.zeros(len(left), len(right), dtype=torch.float64)
    blocks = zip(torch.split(left, _BLOCK, dim=1), torch.split(right, _BLOCK, dim=1), strict=True)
    for a, b in blocks:
        total += a.double() @ b.double().T
    return total


def row_products(left: Tensor, right: Tensor) -> Tensor:
    """Multiply each row with the row beside it, in float64 whatever their type. [A]."""
    total = torch.zeros(len(left), dtype=torch.float64)
    for a, b in zip(torch.split(left, _BLOCK, dim=1), torch.split(right, _BLOCK, dim=1), strict=True):
        total += torch.linalg.vecdot(a.double(), b.double())
    return total


def norms(rows: Tensor) -> Tensor:
    """Measure the lengths of rows [A, P], in float64. [A]."""
    return torch.stack([inner(row[None], row[None])[0, 0].sqrt() for row in rows])


def _finite(rows: Tensor, what: str, at: Tensor | None) -> Tensor:
    # Here the place is still known; a solver would only say that it did not converge.
    if not rows.isfinite().all():
        where = "at the base" if at is None else "away from the base"
        raise InputError(f"{what} {where} is not finite: the loss overflows there")
    return rows


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().flatten() for part in parts])
