"""What nvcc makes of the kernel: no spills, and 16-byte accesses."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
PROBE = """
#include "cuda/kernels.cuh"
template __global__ void m2m::merge_kernel<m2m::Bf16, m2m::Bf16, 8>(m2m::MergeArgs, std::int64_t);
template __global__ void m2m::merge_kernel<float, float, 8>(m2m::MergeArgs, std::int64_t);
"""
FLAGS = [
    "-std=c++17",
    "-O3",
    "--fmad=false",
    f"-I{CSRC}",
    "-Xptxas=-warn-spills,-warn-lmem-usage",
    "-Werror=all-warnings",
]


def disassembler_path():
    """A PATH with cuobjdump and nvdisasm, where they are installed: as such, or as NVIDIA's packages."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in spec.submodule_search_locations] if spec else []
    path = os.pathsep.join(
        [os.environ["PATH"], *(str(found) for folder in folders for found in folder.glob("*/bin"))]
    )
    return path if shutil.which("cuobjdump", path=path) and shutil.which("nvdisasm", path=path) else None


@pytest.fixture(scope="module")
def compile_probe(tmp_path_factory):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")
    folder = tmp_path_factory.mktemp("nvcc")
    (folder / "probe.cu").write_text(PROBE)

    def compiled(kind, arch):
        target = folder / f"probe_{arch}.{kind}"
        command = [nvcc, *FLAGS, f"--{kind}", f"-arch={arch}", folder / "probe.cu", "-o", target]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return target

    return compiled


def test_ptx_moves_16_bytes_at_a_time(compile_probe):
    ptx = compile_probe("ptx", "sm_80").read_text()
    kernels = ptx.split(".entry")[1:]
    assert len(kernels) == 2
    for kernel in kernels:
        assert len(re.findall(r"ld\.global\.(?:nc\.)?v4\.[bfu]32", kernel)) >= 1
        assert len(re.findall(r"st\.global\.v4\.[bfu]32", kernel)) == 8
        assert "ld.local" not in kernel


def test_machine_code_moves_16_bytes_and_does_not_spill(compile_probe):
    path = disassembler_path()
    if path is None:
        pytest.skip("no disassembler (pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm)")
    command = [shutil.which("cuobjdump", path=path), "-sass", compile_probe("cubin", "sm_90")]
    environment = {**os.environ, "PATH": path}
    sass = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    kernels = sass.split("Function :")[1:]
    assert len(kernels) == 2
    for kernel in kernels:
        assert "LDG.E.128" in kernel
        assert kernel.count("STG.E.128") == 8
        assert "LDL" not in kernel
        assert "STL" not in kernel


@pytest.mark.gpu
def test_gpu_bits_are_the_cpu_bits():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from m2m.ops import DTYPES, weighted_sum
    from m2m.testing.laws import assert_same_bits

    weights = torch.randn(11, 5, dtype=torch.float64)
    for dtype in DTYPES:
        for out_dtype in DTYPES:
            experts = [torch.randn(3, 1003, dtype=torch.float64).to(dtype) for _ in range(5)]
            on_cpu = weighted_sum(experts, weights, out_dtype=out_dtype)
            on_gpu = weighted_sum([expert.cuda() for expert in experts], weights, out_dtype=out_dtype)
            assert_same_bits(on_gpu.cpu(), on_cpu, f"{dtype} to {out_dtype}")
