"""PyTorch files that are odd, damaged or malicious: one line that names the file, and no code is run."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError

PLAIN = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        _ = Checkpoint(path).tensors
    said = str(raised.value)
    assert str(path) in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({**PLAIN, 3: torch.ones(1)}, "has the key 3"),
        ({**PLAIN, "model": {"a": torch.ones(1)}}, "'model' is a dict, no tensor"),
        ({"step": 5, **PLAIN}, "'step' is a int, no tensor"),
        ([torch.ones(1)], "holds a list"),
        ({"a": torch.eye(3).to_sparse()}, "sparse or quantized"),
        ({"a": torch.arange(6.0).reshape(2, 3).T}, "stored transposed"),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, "tensor 'a': unknown dtype"),
    ],
)
def test_what_is_no_plain_state_dict_is_named(content: Any, said: str, tmp_path: Path) -> None:
    assert said in refused(saved(content, tmp_path / "m.bin"))


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(saved({"a": Evil()}, tmp_path / "m.bin"))
    assert not (tmp_path / "ran").exists()


def repacked(path: Path, compression: int, **changed: bytes) -> Path:
    """Write the archive again, members compressed or replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for member in old.infolist():
            name = member.filename.rpartition("/")[2].partition(".")[0]
            new.writestr(member.filename, changed.get(name, old.read(member)))
    path.write_bytes(out.getvalue())
    return path


def test_a_packed_tensor_is_not_read_where_it_lies(tmp_path: Path) -> None:
    path = repacked(saved({"a": torch.zeros(1000)}, tmp_path / "m.bin"), zipfile.ZIP_DEFLATED)
    assert "compressed or encrypted" in refused(path)


def test_a_tensor_does_not_reach_beyond_its_storage(tmp_path: Path) -> None:
    path = saved({"a": torch.zeros(300), "b": torch.ones(300)}, tmp_path / "m.bin")
    with zipfile.ZipFile(path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        content = archive.read(name)
    wider = content.replace(pickle.BININT2 + (300).to_bytes(2, "little"), pickle.BININT2 + b"\x40\x01")
    assert wider != content
    # The shape says 320, and so does what is said of the storage; the archive has 300.
    assert "in no record" in refused(repacked(path, zipfile.ZIP_STORED, data=wider))


@pytest.mark.parametrize("seed", range(4))
def test_flipped_and_lost_bytes_are_the_files_fault(seed: int, tmp_path: Path) -> None:
    path = saved(PLAIN, tmp_path / "m.bin")
    whole, draw = path.read_bytes(), random.Random(seed)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 1, 4, 32])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice([len(content)] * 3 + [draw.randrange(len(content))])])
        found = {}
        with suppress(CheckpointError):
            found = Checkpoint(path).tensors
        # What changed was a number, or nothing that is read; or it is refused, and nothing is here.
        assert all(info.offset + info.nbytes <= len(whole) for info in found.values())
