from __future__ import annotations

import builtins
import socket
from pathlib import Path
from typing import Any

import pytest

import m2m
from m2m.errors import ConfigError
from m2m.executors.choice import check_executor, open_executor
from m2m.executors.local import Local
from m2m.support.extras import MissingPackageError


@pytest.mark.parametrize(
    "name", ["", "Ray", "ray:", "ray://", "ray://host", "dask", "http://host:1", "local:2"]
)
def test_what_is_no_executor_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="executor must be local, ray, or ray://HOST:PORT, got"):
        check_executor(name)


def test_local_has_a_place_a_worker() -> None:
    executor = open_executor("local", 3)
    assert isinstance(executor, Local)
    assert (executor.places(), executor.places(on_gpu=True)) == (3, 1)
    assert [executor.beside(jobs) for jobs in (0, 2, 9)] == [1, 2, 3]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_ray(name: str, *others: Any, **named: Any) -> Any:
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *others, **named)

    monkeypatch.setattr(builtins, "__import__", no_ray)
    with pytest.raises(
        MissingPackageError, match=r"needs Ray, which is not installed: pip install 'm2m\[ray\]'"
    ):
        open_executor("ray")


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:  # bound, and not listened to
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"nobody answers at {place}"):
            open_executor(f"ray://{place}")
        monkeypatch.setenv("RAY_ADDRESS", place)
        with pytest.raises(ConfigError, match=f"nobody answers at {place}"):
            open_executor("ray")


def test_a_slip_is_said_before_anything_is_made(tmp_path: Path) -> None:
    config = Path(__file__).parents[2] / "examples/quickstart.toml"
    with pytest.raises(ConfigError, match="executor must be"):
        m2m.run(config, tmp_path / "out", executor="slurm")
    assert not (tmp_path / "out").exists()
