"""Functions that users name in an option or a configuration: `FILE.py:FUNCTION` or `MODULE:FUNCTION`.

A user's code may fail, leave by `sys.exit`, or change what the whole process shares. What it raises is the
user's error, with its place; the working directory and torch's global modes are given back as they were.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

from m2m.errors import ConfigError, M2MError
from m2m.support.schema import did_you_mean

#: Where m2m's own code lies: the programs' packages.
_OURS = tuple(str(Path(__file__).parents[2] / package) + os.sep for package in ("m2m", "analysis"))
#: Source files of users' code that was loaded so far.
_theirs: set[str] = set()


def load_function(reference: str, root: Path, what: str) -> Callable[..., Any]:
    """Find a user's function by `file.py:function`, from the folder `root`, or `module:function`."""
    place, name = check_reference(reference, root, what)
    module = _loaded(place, root, what)
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"{what}: {place} has no function {name!r}{did_you_mean(name, names)}; it has {names}"
        )
    return guarded(function, f"{what} {reference}")


def check_reference(reference: str, root: Path, what: str) -> tuple[str, str]:
    """Split `file.py:function` or `module:function`, and refuse a file that is not there; nothing is run."""
    place, separator, name = reference.rpartition(":")
    if not separator or not place or not name:
        raise ConfigError(f"{what} must be FILE.py:FUNCTION or MODULE:FUNCTION, got {reference!r}")
    if place.endswith(".py") and not (root / place).is_file():
        raise ConfigError(f"{what}: there is no file {root / place}")
    return place, name


def guarded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Have a user's function fail as the user's, and leave the process as it was."""
    source = inspect.unwrap(function).__globals__.get("__file__") if inspect.isfunction(function) else None
    if source is not None and not source.startswith(_OURS):
        _theirs.add(source)  # whoever loaded it
    return _Guarded(function, name)


class _Guarded:
    """A user's function, guarded; it goes to other processes if the function itself can."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        functools.update_wrapper(self, function)
        self._function, self._name = function, name

    def __call__(self, *args: Any, **more: Any) -> Any:
        process = os.getpid()
        try:
            with _users_code(self._name), _no_silent_end(process):
                return self._function(*args, **more)
        finally:
            if os.getpid() != process:
                _end_copy(self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return guarded, (self._function, self._name)


def as_users(error: BaseException) -> BaseException:
    """Blame a user's code, called from anywhere, for what came out of it if theirs ran last."""
    place = None if isinstance(error, M2MError) else _place(error)
    if place is None:
        return error
    blamed = ConfigError(f"{place} {_what(error)}")
    blamed.__cause__ = error
    return blamed


@contextmanager
def _users_code(name: str) -> Iterator[None]:
    try:
        with _process_kept():
            yield
    except M2MError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        place = _place(error)
        raise ConfigError(f"{name} {_what(error)}" + (f" ({place})" if place else "")) from error


class _Ending(SystemExit):
    """Raised in place of `os._exit`."""


@contextmanager
def _no_silent_end(process: int) -> Iterator[None]:
    # `os._exit(0)` would end the program at once, without a word, as if all was done. Copies of the process
    # that theirs forks may end so.
    ending = os._exit

    def end(status: int) -> NoReturn:
        if os.getpid() == process:
            raise _Ending(status)
        ending(status)

    os._exit = end
    try:
        yield
    finally:
        os._exit = ending


def _end_copy(name: str) -> NoReturn:
    # A copy that came back here would go on with m2m's work beside m2m, and write to the same files.
    said = f"m2m: error: {name} forks, and the copy of m2m returned from it: end it there with os._exit\n"
    os.write(2, said.encode(errors="backslashreplace"))
    os._exit(2)


@contextmanager
def _process_kept() -> Iterator[None]:
    folder, torch = _folder(), sys.modules.get("torch")
    modes: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [] if torch is None else [
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    ]  # fmt: skip
    before = [read() for read, _ in modes]
    try:
        yield
    finally:
        for (read, write), mode in zip(modes, before, strict=True):
            if read() != mode:
                write(mode)
        if folder is not None and folder != _folder():
            os.chdir(folder)


def _folder() -> str | None:
    with suppress(OSError):  # it may have been deleted
        return os.getcwd()
    return None


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        called = "os._exit" if isinstance(error, _Ending) else "sys.exit"
        return f"calls {called}({error.code!r}), which would end m2m as if all was done"
    return f"fails: {error!r}"


def _place(error: BaseException) -> str | None:
    # The last line of ours or theirs that ran, if it is theirs; libraries that it called are on its account.
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename in _theirs or frame.filename.startswith(_OURS)
    ]  # fmt: skip
    if not frames or frames[-1].filename not in _theirs:
        return None
    return f"{frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}"


def _loaded(place: str, root: Path, what: str) -> ModuleType:
    try:
        with _process_kept(), _no_silent_end(os.getpid()):
            module = (
                _file((root / place).resolve()) if place.endswith(".py") else importlib.import_module(place)
            )
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ConfigError(f"{what}: {place} fails while it is loaded: {error!r}") from error
    source = getattr(module, "__file__", None)
    if source is not None and not source.startswith(_OURS):
        _theirs.add(source)
    return module


class _Afresh(SourceFileLoader):
    """Compiles what the file holds now: kept bytecode is told by second and size, which an edit may keep."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _file(path: Path) -> ModuleType:
    # Unique to the file, so that two `task.py` do not meet; registered, because dataclasses look it up.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Afresh(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
