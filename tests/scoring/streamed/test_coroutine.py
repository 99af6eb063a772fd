"""Plain code as a coroutine: it stops before operations, takes their results or errors, and can be ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from m2m.scoring.streamed.coroutine import Coroutine, Operation


def drive(coroutine: Coroutine[Tensor]) -> list[str]:
    names, operation = [], coroutine.start()
    with torch.inference_mode():
        while operation is not None:
            names.append(str(operation.function))
            operation = coroutine.answer(operation())
    return names


def test_it_stops_before_each_operation_and_returns_what_plain_code_does() -> None:
    x = torch.randn(3, 4)
    coroutine = Coroutine(lambda: (x @ x.T).relu() + 1)
    assert drive(coroutine) == [
        "aten.numpy_T.default",
        "aten.matmul.default",
        "aten.relu.default",
        "aten.add.Tensor",
    ]
    assert torch.equal(coroutine.result, (x @ x.T).relu() + 1)


def test_its_own_error_reaches_the_driver() -> None:
    def fails() -> Tensor:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        Coroutine(fails).start()


def test_an_operations_error_is_raised_where_it_was_asked_for() -> None:
    def catches() -> Tensor:
        try:
            return torch.ones(2).log()
        except RuntimeError:
            return torch.zeros(1)

    coroutine = Coroutine(catches)
    operation = coroutine.start()
    while operation is not None and "log" not in str(operation.function):
        operation = coroutine.answer(operation())
    operation = coroutine.fail(RuntimeError("no log today"))
    assert operation is not None
    assert "zeros" in str(operation.function)
    coroutine.close()


def test_closing_ends_its_thread_even_where_code_catches_everything() -> None:
    def stubborn() -> Tensor:
        try:
            return torch.ones(2)
        except BaseException:
            return torch.ones(3)

    before = threading.active_count()
    coroutine, unstarted = Coroutine(stubborn), Coroutine(stubborn)
    assert isinstance(coroutine.start(), Operation)
    assert threading.active_count() == before + 1
    coroutine.close()
    unstarted.close()
    assert threading.active_count() == before


@pytest.fixture
def heard() -> Iterator[threading.Event]:
    """Hear one Ctrl-C, even where the tests were started deaf to it, as a shell's background jobs are."""
    heard = threading.Event()

    def hear(*_: object) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    yield heard
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("first", ["closed", "asked"])
def test_an_interruption_while_its_code_runs_ends_it_quietly(
    first: str, heard: threading.Event, capfd: pytest.CaptureFixture[str]
) -> None:
    driver, gone = threading.get_ident(), threading.Event()

    def interrupts() -> Tensor:
        while not heard.wait(0.001):  # one that comes before the driver waits does not wake it
            signal.pthread_kill(driver, signal.SIGINT)
        gone.wait()
        until(lambda: first == "asked" or coroutine._abandoned)
        return torch.ones(2)

    before = threading.active_count()
    coroutine = Coroutine(interrupts)
    with pytest.raises(KeyboardInterrupt):
        coroutine.start()
    gone.set()
    until(lambda: first == "closed" or coroutine._asked is not None)
    coroutine.close()
    assert threading.active_count() == before
    assert capfd.readouterr().err == ""


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)
