"""Executors as users name them."""

from __future__ import annotations

import re

from m2m.errors import ConfigError
from m2m.executors.local import Local
from m2m.executors.protocol import Executor
from m2m.executors.ray_cluster import Ray, check_cluster
from m2m.support.arguments import argument

#: What may be asked for, in words.
NAMES = "local, ray, or ray://HOST:PORT"


def check_executor(name: str) -> str:
    """Refuse what is no executor's name, or cannot be reached, before anything else is done.

    Args:
        name: What was asked for.

    Returns:
        The name.

    Raises:
        ConfigError: If there is no such executor, or nobody answers where it should be.
    """
    if not re.fullmatch(r"local|ray|ray://\S+:\d+", name):
        raise ConfigError(f"{argument('executor')} must be {NAMES}, got {name!r}")
    if name != "local":
        check_cluster(_address(name))
    return name


def open_executor(name: str | Executor = "local", workers: int | None = None) -> Executor:
    """Open an executor.

    Args:
        name: `local` for this machine; `ray` for the Ray cluster that `RAY_ADDRESS` or this machine has;
            `ray://HOST:PORT` for the one whose client server is there; an executor is one already.
        workers: Most workers at a time; None: as many as there are places.

    Returns:
        The executor.

    Raises:
        ConfigError: If there is no such executor, or it cannot be reached.
    """  # noqa: DOC502 - partly raised by what is called
    if isinstance(name, Executor):
        return name
    return Local(workers) if check_executor(name) == "local" else Ray(_address(name), workers)


def _address(name: str) -> str | None:
    return None if name == "ray" else name
