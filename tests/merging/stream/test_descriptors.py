"""Merges of more files than a process may open, and what the user's system refuses."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.linear_merges import merge_linear

from m2m.checkpoint import Checkpoint, save
from m2m.errors import M2MError
from m2m.merging.stream import execute, output_files, work_folder

#: Python with torch has less than half of them open.
LIMIT = 64
EXPERTS, TENSORS = 5, 30
MERGE = """
import sys
from m2m.merging import merge
folder = sys.argv[1]
models = [{"model": f"{folder}/e{n}", "parameters": {"weight": 1}} for n in range(5)]
rows = {name: [float(m == n) for n in range(5)] for m, name in enumerate("abcde")}
recipe = {"merge_method": "linear", "models": models, "parameters": {"normalize": False}}
merge(recipe, f"{folder}/out", candidates=rows, shard_size=int(sys.argv[2]))
"""


@pytest.fixture
def experts(tmp_path: Path) -> list[Path]:
    """Experts of many shards each."""
    return [
        save(
            {f"t{i}": torch.full((16, 16), float(n * 100 + i)) for i in range(TENSORS)},
            tmp_path / f"e{n}",
            shard_size=1024,
        )
        for n in range(EXPERTS)
    ]


@pytest.mark.parametrize("hard", [LIMIT, 4096])
def test_more_shards_than_descriptors(tmp_path: Path, experts: list[Path], hard: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, min(hard, before[1])))

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert len(Checkpoint(experts[0]).files) == TENSORS
    command = [sys.executable, "-c", MERGE, str(tmp_path), "1024"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    for n, name in enumerate("abcde"):
        state = Checkpoint(tmp_path / "out" / name).state()
        assert all(bool((state[f"t{i}"] == n * 100 + i).all()) for i in range(TENSORS))


def failing(code: int, *, at: int) -> Callable[..., None]:
    calls = iter(range(1000))

    def fail(*_: object, **__: object) -> None:
        if next(calls) == at:
            raise OSError(code, os.strerror(code), "/place")

    return fail


@pytest.mark.parametrize(
    "code",
    [
        errno.EMFILE,
        errno.ENFILE,
        errno.EROFS,
        errno.ESTALE,
        errno.EIO,
        errno.EDQUOT,
        errno.ENOSPC,
        errno.ENOMEM,
    ],
)
@pytest.mark.parametrize("where", ["files", "journal", "finish"])
def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, experts: list[Path], monkeypatch: pytest.MonkeyPatch, code: int, where: str
) -> None:
    with monkeypatch.context() as patch:
        if where == "files":
            patch.setattr(output_files, "_allocate", failing(code, at=0))
        elif where == "journal":
            patch.setattr(work_folder, "write_atomically", failing(code, at=1))
        else:
            patch.setattr(work_folder, "publish", failing(code, at=0))
        with pytest.raises(M2MError, match=os.strerror(code)) as raised:
            merge_linear(experts[:2], [[0.5, 0.5]], tmp_path / "out")
    assert raised.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    kept = (tmp_path / ".out.merging").exists()
    assert kept == ("resume goes on where it stopped" in str(raised.value))
    merge_linear(experts[:2], [[0.5, 0.5]], tmp_path / "out")


def test_what_a_file_system_could_not_keep_is_not_put_in_place(
    tmp_path: Path, experts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    close = execute._close

    def fail(core: object, files: list[Path]) -> None:
        close(SimpleNamespace(close_outputs=lambda: (0, errno.EDQUOT)), files)  # type: ignore[arg-type]

    monkeypatch.setattr(execute, "_close", fail)
    with pytest.raises(
        M2MError, match=r"model.*\.safetensors: was written, but not kept: Disk quota exceeded"
    ):
        merge_linear(experts[:2], [[0.5, 0.5]], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in experts]
