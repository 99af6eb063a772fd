"""Builds `m2m._core`: C++17 always, CUDA when nvcc is there (`M2M_CUDA=auto|0|1`). Needs no torch."""

import os
import shutil
import subprocess
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

SOURCES = ["bindings", "bind_device", "bind_merge", "merge_cpu", "merge_device"]
SOURCES += ["lora_factors", "lora_product"]
SOURCES += ["bind_plan", "bind_stream", "stream_executor", "stream_file", "stream_merge", "stream_plan_check"]
SOURCES += ["stream_rider"]
SOURCES += ["bind_gram", "elementwise_pass", "gram_kernel", "gram_merge", "gram_pass", "gram_points"]
SOURCES += ["gram_signs"]
SOURCES += ["bind_select", "ordered_sum", "philox", "select_blocks", "select_chunk"]
SOURCES += ["select_experts", "select_pass", "select_rank", "select_rows", "select_state"]
HEADERS = ["arithmetic", "dtype", "merge", "merge_launch", "tensor_view", "merge_device"]
HEADERS += ["cuda_device", "cuda_handles"]
HEADERS += ["float_environment", "isa_clones", "pack", "lora_factors", "lora_product", "widen"]
HEADERS += ["nonfinite", "stream_buffers", "stream_executor", "stream_failure", "stream_file", "stream_merge"]
HEADERS += ["stream_check", "stream_pass", "stream_plan", "stream_plan_check", "stream_rider", "bind_plan"]
HEADERS += ["elementwise_pass", "gram_kernel", "gram_layout", "gram_merge", "gram_pass", "gram_points"]
HEADERS += ["gram_signs"]
HEADERS += ["float_environment", "ordered_sum", "philox", "select_blocks", "select_chunk"]
HEADERS += ["select_experts", "select_pass", "select_rank", "select_rows", "select_spec", "select_state"]
CUDA_SOURCE = "csrc/merge_launch.cu"  # the only one that nvcc compiles
CUDA_HOST_SOURCE = "csrc/cuda_device.cpp"
CUDA_INPUTS = [CUDA_SOURCE, "csrc/merge_kernels.cuh", *(f"csrc/{name}.h" for name in HEADERS[:4])]
CUDA_ARCHS = ["80", "90", "100"]  # A100, H100, B200; the last one's PTX serves what comes later

# Bits must not depend on the compiler's mood: nothing is contracted to fma that is not written as fma.
CXX_FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"]
CXX_FLAGS += ["-pthread"]
NVCC_FLAGS = ["-std=c++17", "-O3", "--fmad=false", "-Xcompiler=-fPIC,-fvisibility=hidden", "--threads=0"]
NVCC_FLAGS += ["-Xptxas=-warn-spills,-warn-lmem-usage", "-Werror=all-warnings"]


def find_nvcc() -> str | None:
    """Return the CUDA compiler, None for a build without; fail if one was demanded and is not there."""
    wanted = os.environ.get("M2M_CUDA", "auto")
    if wanted not in {"auto", "0", "1"}:
        raise SystemExit(f"M2M_CUDA={wanted!r}; expected auto, 0 or 1")
    nvcc = None if wanted == "0" else shutil.which("nvcc")
    if nvcc is None and wanted == "1":
        raise SystemExit("M2M_CUDA=1, but there is no nvcc on the PATH")
    if nvcc is None:
        print("m2m: building without CUDA")
    return nvcc


def toolkit_of(nvcc: str) -> Path:
    """Ask nvcc where its toolkit is: the one on the PATH may be a wrapper that lives elsewhere."""
    dry_run = subprocess.run([nvcc, "-dryrun", "-c", CUDA_SOURCE], capture_output=True, text=True, check=True)
    top = next(line for line in dry_run.stderr.splitlines() if line.startswith("#$ TOP="))
    return Path(top.removeprefix("#$ TOP=").strip().strip('"'))


def arch_flags() -> list[str]:
    """Machine code for every architecture, and PTX of the last."""
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in CUDA_ARCHS]
    return [*flags, f"-gencode=arch=compute_{CUDA_ARCHS[-1]},code=compute_{CUDA_ARCHS[-1]}"]


class BuildExt(build_ext):
    """Compiles the one CUDA file with nvcc; its run time is linked in: importing needs no driver."""

    def build_extension(self, ext):
        """Build one extension module, with CUDA if it can be."""
        nvcc = find_nvcc()
        if nvcc is not None:
            toolkit = toolkit_of(nvcc)
            target = Path(self.build_temp) / "merge_launch.cu.o"
            target.parent.mkdir(parents=True, exist_ok=True)
            newest = max(Path(file).stat().st_mtime for file in ["setup.py", *CUDA_INPUTS])
            if not target.exists() or target.stat().st_mtime < newest:
                self.spawn([nvcc, *NVCC_FLAGS, *arch_flags(), "-c", CUDA_SOURCE, "-o", str(target)])
            ext.define_macros.append(
                ("M2M_CUDA_ARCHS", '"' + ",".join(f"sm_{arch}" for arch in CUDA_ARCHS) + '"')
            )
            ext.extra_objects.append(str(target))
            ext.sources.append(CUDA_HOST_SOURCE)
            ext.include_dirs.append(str(toolkit / "include"))
            lib = next(folder for folder in (toolkit / "lib64", toolkit / "lib") if folder.is_dir())
            ext.extra_link_args += [f"-L{lib}", "-lcudart_static", "-ldl", "-lrt"]
        super().build_extension(ext)


setup(
    ext_modules=[
        Pybind11Extension(
            "m2m._core",
            [f"csrc/{name}.cpp" for name in SOURCES],
            depends=["setup.py", CUDA_HOST_SOURCE, *CUDA_INPUTS, *(f"csrc/{name}.h" for name in HEADERS)],
            extra_compile_args=CXX_FLAGS,
            cxx_std=17,
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
