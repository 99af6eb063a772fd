from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import m2m
from m2m.errors import ConfigError
from m2m.executors.choice import check_executor, open_executor
from m2m.executors.local import Local
from m2m.executors.ray_cluster import _offer_token
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
    monkeypatch.setattr("m2m.executors.ray_cluster.find_spec", lambda name: None)
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
        with pytest.raises(ConfigError, match=f"^RAY_ADDRESS={place}: nobody answers at {place}"):
            open_executor("ray")


def test_a_token_that_lies_here_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "")  # so that it is as before afterwards
    del os.environ["RAY_AUTH_MODE"]
    _offer_token()
    assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    _offer_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    _offer_token()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize("executor", ["slurm", "ray://127.0.0.1:1"])
def test_a_slip_is_said_before_anything_is_made(executor: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    config = Path(__file__).parents[2] / "examples/quickstart.toml"
    with pytest.raises(ConfigError, match=r"executor must be|nobody answers at 127\.0\.0\.1:1 "):
        m2m.run(config, tmp_path / "out", executor=executor)
    assert not (tmp_path / "out").exists()
