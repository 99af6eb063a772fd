"""One candidate's pass of one batch through the network, which waits wherever a weight is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from m2m.scoring.streamed.activations import Activations, Page
from m2m.scoring.streamed.coroutine import Coroutine, Operation
from m2m.scoring.streamed.weights import Weight, Weights


class Forward:
    """A batch on its way through the network with one candidate's weights.

    Args:
        candidate: The candidate's number.
        place: The batch's number.
        work: The model's forward and the task's judgement of its output.

    Attributes:
        candidate: The candidate's number.
        place: The batch's number.
        pages: The activations it holds.
        needs: The weights it waits for; empty before it starts and once it is done.
        done: Whether it has a result.
    """

    def __init__(self, candidate: int, place: int, work: Callable[[], Mapping[str, Tensor]]) -> None:
        self.candidate, self.place = candidate, place
        self.pages: list[Page] = []
        self.needs: frozenset[Weight] = frozenset()
        self.done = False
        self._coroutine = Coroutine(work)
        self._operation: Operation | None = None

    @property
    def result(self) -> Mapping[str, Tensor]:
        """Each metric's value for each example of the batch, each [B]."""
        return self._coroutine.result

    def advance(
        self, weights: Weights, activations: Activations, bring: Callable[[frozenset[Weight]], bool]
    ) -> None:
        """Go on to the first operation whose weights are not there, or to the end.

        Args:
            weights: The module's weights.
            activations: Does the operations.
            bring: Called with the weights that the next operation reads; says whether they are there.
        """
        operation = self._operation or self._coroutine.start()
        self._operation = None
        while operation is not None:
            self.needs = weights.needed(operation)
            if not bring(self.needs):
                self._operation = operation
                return
            operation = self._do(operation, activations)
        self.needs, self.done = frozenset(), True
        activations.release(self.pages)

    def close(self) -> None:
        """Give up, wherever it is."""
        self._operation = None
        self._coroutine.close()

    def _do(self, operation: Operation, activations: Activations) -> Operation | None:
        try:
            value = activations.do(operation, self.pages)
        except Exception as error:
            return self._coroutine.fail(error)
        return self._coroutine.answer(value)
