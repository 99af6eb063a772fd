"""Plain PyTorch code as a coroutine: it stops before every operation and asks for its result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")

#: Memory that one paused coroutine holds besides tensors: its stack and its frames. Measured on Hugging Face
#: decoders (110 KiB), with room for deeper modules.
PAUSED_BYTES = 192 * 1024
#: Virtual size of a stack; below 2 MiB, so that no huge page is spent on it.
_STACK_BYTES = 1024 * 1024
_stack_size = threading.Lock()


@dataclass(frozen=True)
class Operation:
    """One operation below autograd, about to be done: an operator and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        """Do it."""
        # It was asked for from below autograd's layers, so it is done below them.
        with torch._C._AutoDispatchBelowADInplaceOrView():
            return self.function(*self.args, **self.kwargs)

    def tensors(self) -> Iterator[Tensor]:
        """Walk over the tensors it is given, those in lists too."""
        yield from tensors_in(self.args)
        yield from tensors_in(self.kwargs.values())


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Walk over the tensors among arguments or results, those in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


class _Abandoned(BaseException):
    """Unwinds a coroutine whose result nobody waits for any more."""


class Coroutine(Generic[T]):
    """A function that stops before each of its tensor operations, until somebody hands it the result.

    It has a thread of its own, because only a thread can stop in the middle of other people's code, but never
    runs at the same time as who drives it. Operations are done by the driver: all of them then share one
    pool of compute threads and one heap, however many coroutines are paused. Composite operators are taken
    apart as always, so the operations, and their bits, are those of a plain call. The function runs in
    inference mode.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._go, self._back = threading.Lock(), threading.Lock()  # held by whose turn it is not
        self._go.acquire()
        self._back.acquire()
        self._asked: Operation | None = None
        self._answer: Any = None
        self._error: BaseException | None = None
        self._abandoned = False
        self._result: list[T] = []
        self._thread: threading.Thread | None = None

    def start(self) -> Operation | None:
        """Run up to the first operation, and return it; None if there is none."""
        self._thread = threading.Thread(target=self._run, name="m2m-forward", daemon=True)
        with _stack_size:
            before = threading.stack_size(_STACK_BYTES)
            try:
                self._thread.start()
            finally:
                threading.stack_size(before)
        return self._switch()

    def answer(self, value: Any) -> Operation | None:
        """Hand over the result of the operation asked for; run up to the next one, or None at the end."""
        self._answer = value
        return self._switch()

    def fail(self, error: Exception) -> Operation | None:
        """Raise the operation's error where it was asked for; run up to the next one, or None at the end."""
        self._error = error
        return self._switch()

    @property
    def result(self) -> T:
        """What the function returned."""
        return self._result[0]

    def close(self) -> None:
        """End the coroutine wherever it is."""
        self._abandoned = True
        if self._thread is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # an interrupted `_switch` may have given it its turn already
                self._go.release()
            self._thread.join()

    def _switch(self) -> Operation | None:
        self._go.release()
        self._back.acquire()
        operation, self._asked = self._asked, None
        if operation is None and self._error is not None:
            error, self._error = self._error, None
            raise error
        return operation

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._abandoned:
                with torch.inference_mode(), _Asking(self._ask):
                    self._result.append(self._function())
        except _Abandoned:
            pass
        except BaseException as error:
            self._error = error
        finally:
            del self._function
            with suppress(RuntimeError):  # an interrupted `_switch` has not taken the turn it was given last
                self._back.release()

    def _ask(self, operation: Operation) -> Any:
        if self._abandoned:
            raise _Abandoned  # again, for code that catches everything
        self._asked = operation
        del operation
        self._back.release()
        self._go.acquire()
        if self._abandoned:
            raise _Abandoned
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        value, self._answer = self._answer, None
        return value


class _Asking(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands every operation of its thread to a function instead of doing it."""

    def __init__(self, ask: Callable[[Operation], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ask = ask

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._ask(Operation(func, args, kwargs or {}))
