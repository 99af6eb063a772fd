"""The compiled module alone: what it borrows, what it refuses, that it needs neither torch nor the GIL."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import m2m
from m2m import _core


def test_numpy_arrays_are_borrowed():
    experts = [np.arange(5, dtype=np.float32), np.ones(5, dtype=np.float32)]
    out = np.zeros(5, dtype=np.float64)
    _core.merge([out], experts, np.array([[2.0, -1.0]], dtype=np.float32), 1)
    assert out.tolist() == [-1.0, 1.0, 3.0, 5.0, 7.0]


@pytest.mark.parametrize(
    ("outs", "inputs", "weights", "threads", "message"),
    [
        (
            [np.zeros(3, "f4")],
            [np.zeros(4, "f4")],
            np.zeros((1, 1), "f4"),
            1,
            r"outputs\[0\] differs in size",
        ),
        (
            [np.zeros(4, "f4")[::2]],
            [np.zeros(2, "f4")],
            np.zeros((1, 1), "f4"),
            1,
            r"outputs\[0\] is not contiguous",
        ),
        ([np.zeros(2, "f4")], [np.zeros(2, "i4")], np.zeros((1, 1), "f4"), 1, r"inputs\[0\] is not float64"),
        ([np.zeros(2, "f4")], [np.zeros(2, "f4")], np.zeros((1, 1), "f8"), 1, "weights is not float32"),
        ([np.zeros(2, "f4")], [np.zeros(2, "f4")], np.zeros((1, 2), "f4"), 1, r"weights is not \[1, 1\]"),
        ([np.zeros(2, "f4")], [np.zeros(2, "f4")], np.zeros(1, "f4"), 1, r"weights is not \[1, 1\]"),
        ([np.zeros(2, "f4")], [np.zeros(2, "f4")], np.zeros((1, 1), "f4"), 0, "threads is 0"),
        ([np.zeros(2, "f4")], [], np.zeros((1, 1), "f4"), 1, "inputs is empty"),
        (
            [np.zeros(2, "f4")],
            [np.zeros(2, "f4"), np.zeros(2)],
            np.zeros((1, 2), "f4"),
            1,
            r"inputs\[1\] differs in dtype",
        ),
        ([np.zeros(2, "f4")], [3], np.zeros((1, 1), "f4"), 1, r"inputs\[0\] is no tensor"),
        ([np.zeros(2, "f4")], [torch.zeros(2).to("meta")], np.zeros((1, 1), "f4"), 1, "."),
    ],
)
def test_refusals(outs, inputs, weights, threads, message):
    with pytest.raises((ValueError, BufferError), match=message):
        _core.merge(outs, inputs, weights, threads)


def test_a_tensor_that_requires_grad_is_not_borrowed():
    with pytest.raises(BufferError, match="gradient"):
        _core.merge([torch.zeros(2)], [torch.zeros(2, requires_grad=True)], torch.ones(1, 1), 1)


def test_instruction_sets():
    current = _core.current_isa()
    assert current == _core.available_isas()[-1]
    assert "baseline" in _core.available_isas()
    with pytest.raises(ValueError, match="no instruction set is called mmx"):
        _core.use_isa("mmx")
    assert _core.current_isa() == current


def test_merging_from_many_threads_at_once():
    experts = [torch.full((40_000,), float(n)).bfloat16() for n in range(4)]
    outs = [torch.empty(40_000, dtype=torch.bfloat16) for _ in range(6)]
    weights = [torch.full((1, 4), float(k)) for k in range(6)]
    workers = [
        threading.Thread(target=_core.merge, args=([out], experts, weight, 2))
        for out, weight in zip(outs, weights, strict=True)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [out.unique().tolist() for out in outs] == [[6.0 * k] for k in range(6)]


def run_python(code: str) -> str:
    root = Path(m2m.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    return done.stdout


def test_importing_m2m_is_cheap():
    heavy = "{'torch', 'numpy', 'transformers', 'matplotlib', 'hypothesis'}"
    assert run_python(f"import sys, m2m; dir(m2m); print({heavy} & set(sys.modules))") == "set()\n"
    assert run_python(f"import sys, m2m; m2m.build_info(); print({heavy} & set(sys.modules))") == "set()\n"


def test_build_info_and_public_names():
    info = m2m.build_info()
    assert info["cuda"] == bool(info["cuda_archs"])
    assert info["isa"] in info["isa_available"]
    assert info["threads"] >= 1
    assert info["version"] == m2m.__version__
    assert dir(m2m) == sorted(m2m.__all__)
    assert all(getattr(m2m, name) is not None for name in m2m.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = m2m.nothing
