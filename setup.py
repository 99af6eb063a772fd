"""Builds `m2m._core`: C++17 always, CUDA when nvcc is there. `M2M_CUDA=auto|0|1` decides; torch is not needed."""

import os
import shutil
import subprocess
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

SOURCES = ["bindings.cpp", "bind_merge.cpp", "merge_cpu.cpp"]
SOURCES += ["bind_stream.cpp", "stream_executor.cpp", "stream_file.cpp", "stream_merge.cpp"]
HEADERS = ["arithmetic.h", "dtype.h", "merge.h", "merge_launch.h", "tensor_view.h", "nonfinite.h"]
HEADERS += ["stream_buffers.h", "stream_executor.h", "stream_failure.h", "stream_file.h", "stream_merge.h"]
HEADERS += ["stream_pass.h", "stream_plan.h"]
CUDA_SOURCE = "csrc/merge_launch.cu"
CUDA_HEADERS = ["csrc/merge_kernels.cuh", "csrc/merge_launch.h", "csrc/merge.h", "csrc/arithmetic.h", "csrc/dtype.h"]
CUDA_ARCHS = ["80", "90", "100"]  # A100, H100, B200; the last one's PTX serves what comes later

# Bits must not depend on the compiler's mood: nothing is contracted to fma that is not written as fma.
CXX_FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-pthread"]
NVCC_FLAGS = [
    "-std=c++17", "-O3", "--fmad=false", "-Xcompiler=-fPIC,-fvisibility=hidden", "--threads=0",
    "-Xptxas=-warn-spills,-warn-lmem-usage", "-Werror=all-warnings",
]  # fmt: skip


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
    """build_ext that compiles the one CUDA file with nvcc and links it in, with the CUDA run time linked statically."""

    def build_extension(self, ext):
        nvcc = find_nvcc()
        if nvcc is not None:
            toolkit = toolkit_of(nvcc)
            target = Path(self.build_temp) / "merge_launch.cu.o"
            target.parent.mkdir(parents=True, exist_ok=True)
            newest = max(Path(file).stat().st_mtime for file in [CUDA_SOURCE, "setup.py", *CUDA_HEADERS])
            if not target.exists() or target.stat().st_mtime < newest:
                self.spawn([nvcc, *NVCC_FLAGS, *arch_flags(), "-c", CUDA_SOURCE, "-o", str(target)])
            ext.define_macros.append(("M2M_CUDA_ARCHS", '"' + ",".join(f"sm_{arch}" for arch in CUDA_ARCHS) + '"'))
            ext.extra_objects.append(str(target))
            lib = next(folder for folder in (toolkit / "lib64", toolkit / "lib") if folder.is_dir())
            ext.extra_link_args += [f"-L{lib}", "-lcudart_static", "-ldl", "-lrt"]
        super().build_extension(ext)


setup(
    ext_modules=[
        Pybind11Extension(
            "m2m._core",
            [f"csrc/{name}" for name in SOURCES],
            depends=["setup.py", CUDA_SOURCE, "csrc/merge_kernels.cuh", *[f"csrc/{name}" for name in HEADERS]],
            extra_compile_args=CXX_FLAGS,
            cxx_std=17,
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
