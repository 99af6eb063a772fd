"""Builds `m2m._core`: C++17 always, CUDA where nvcc and a GPU are (`M2M_CUDA=auto|0|1`). Needs no torch.

Sources are compiled side by side (`NPY_NUM_BUILD_JOBS` says how many). What was compiled stays in `build/`
and serves the next build, pip's isolated ones too, until something that it was made from changes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

FILES = sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in {".cpp", ".h", ".cu", ".cuh"})
CUDA_SOURCE = "csrc/cuda/launch.cu"  # the only one that nvcc compiles
CUDA_HOST_SOURCE = "csrc/cuda/device.cpp"
SOURCES = [file for file in FILES if file.endswith(".cpp") and file != CUDA_HOST_SOURCE]
CUDA_ARCHS = ["80", "90", "100"]  # A100, H100, B200; the last one's PTX serves what comes later

# Bits must not depend on the compiler's mood: nothing is contracted to fma that is not written as fma.
CXX_FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"]
CXX_FLAGS += ["-pthread"]
NVCC_FLAGS = ["-std=c++17", "-O3", "-Icsrc", "--fmad=false", "-Xcompiler=-fPIC,-fvisibility=hidden"]
NVCC_FLAGS += ["--threads=0", "-Xptxas=-warn-spills,-warn-lmem-usage", "-Werror=all-warnings"]

OBJECTS = f"build/objects-{sysconfig.get_config_var('SOABI')}"
JOBS = min(8, len(os.sched_getaffinity(0)))  # each job takes up to a gigabyte


def find_nvcc() -> str | None:
    """Return the CUDA compiler, None for a build without; fail if one was demanded and is not there."""
    wanted = os.environ.get("M2M_CUDA", "auto")
    if wanted not in {"auto", "0", "1"}:
        raise SystemExit(f"M2M_CUDA={wanted!r}; expected auto, 0 or 1")
    nvcc = shutil.which("nvcc") if wanted == "1" or (wanted == "auto" and has_gpu()) else None
    if nvcc is None and wanted == "1":
        raise SystemExit("M2M_CUDA=1, but there is no nvcc on the PATH")
    if nvcc is None:
        print("m2m: building without CUDA")
    return nvcc


def has_gpu() -> bool:
    """Say whether this machine has a GPU that NVIDIA's driver knows."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return b"GPU" in listed


def toolkit_of(nvcc: str) -> Path:
    """Ask nvcc where its toolkit is: the one on the PATH may be a wrapper that lives elsewhere."""
    dry_run = subprocess.run([nvcc, "-dryrun", "-c", CUDA_SOURCE], capture_output=True, text=True, check=True)
    top = next(line for line in dry_run.stderr.splitlines() if line.startswith("#$ TOP="))
    return Path(top.removeprefix("#$ TOP=").strip().strip('"'))


def arch_flags() -> list[str]:
    """Machine code for every architecture, and PTX of the last."""
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in CUDA_ARCHS]
    return [*flags, f"-gencode=arch=compute_{CUDA_ARCHS[-1]},code=compute_{CUDA_ARCHS[-1]}"]


def compile_once(target: str, command: list[str], compile_it: Callable[[list[str]], object]) -> None:
    """Compile unless `target` was made by the same tools and flags from the same bytes.

    The compiler itself lists the files that it read. Their bytes count, not their times, which copies and
    checkouts change or keep at will. Folders of headers do not count (pip's isolated builds put pybind11 into
    another one each time), but the versions of pybind11 and Python do.
    """
    made_from, key = Path(f"{target}.d"), Path(f"{target}.key")
    flags = [argument for argument in command if not argument.startswith("-I")]
    version = subprocess.run([*flags, "--version"], capture_output=True, text=True, check=False).stdout
    tools = repr((flags, version, pybind11.__version__, sys.version))
    if Path(target).exists() and key.exists() and key.read_text() == fingerprint(tools, made_from):
        return
    key.unlink(missing_ok=True)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    compile_it(["-MMD", "-MF", str(made_from)])
    key.write_text(fingerprint(tools, made_from))


def fingerprint(tools: str, made_from: Path) -> str | None:
    """Hash the tools and every file of csrc/ that the compiler said it read; None if one is gone."""
    digest = hashlib.sha256(tools.encode())
    for file in sorted(set(re.findall(r"(?<!\S)csrc/\S+", made_from.read_text()))):
        if not Path(file).exists():
            return None
        digest.update(file.encode() + hashlib.sha256(Path(file).read_bytes()).digest())
    return digest.hexdigest()


class BuildExt(build_ext):
    """Keeps objects between builds; compiles the one CUDA file with nvcc and links its run time in.

    So importing needs no driver.
    """

    def finalize_options(self) -> None:
        """Keep objects where the next build finds them; which of them still serve is decided one by one."""
        super().finalize_options()
        self.build_temp = OBJECTS
        self.force = True

    def build_extension(self, ext) -> None:
        """Build one extension module, with CUDA if it can be."""
        nvcc = find_nvcc()
        if nvcc is not None:
            self.add_cuda(ext, nvcc)
        compile_one = self.compiler._compile

        def compile_kept(target, source, suffix, cc_args, postargs, pp_opts) -> None:
            def compile_it(more: list[str]) -> None:
                compile_one(target, source, suffix, cc_args, [*postargs, *more], pp_opts)

            compile_once(target, [*self.compiler.compiler_so_cxx, *cc_args, *postargs], compile_it)

        self.compiler._compile = compile_kept
        with ParallelCompile("NPY_NUM_BUILD_JOBS", default=JOBS):
            super().build_extension(ext)

    def add_cuda(self, ext, nvcc: str) -> None:
        """Compile the kernels, and let the extension be linked with them."""
        target = f"{OBJECTS}/{CUDA_SOURCE}.o"
        command = [nvcc, *NVCC_FLAGS, *arch_flags(), "-c"]
        compile_once(target, command, lambda more: self.spawn([*command, CUDA_SOURCE, "-o", target, *more]))
        toolkit = toolkit_of(nvcc)
        archs = ",".join(f"sm_{arch}" for arch in CUDA_ARCHS)
        ext.define_macros.append(("M2M_CUDA_ARCHS", f'"{archs}"'))
        ext.extra_objects.append(target)
        ext.sources.append(CUDA_HOST_SOURCE)
        ext.include_dirs.append(str(toolkit / "include"))
        lib = next(folder for folder in (toolkit / "lib64", toolkit / "lib") if folder.is_dir())
        ext.extra_link_args += [f"-L{lib}", "-lcudart_static", "-ldl", "-lrt"]


CORE = Pybind11Extension(
    "m2m._core", SOURCES, depends=FILES, include_dirs=["csrc"], extra_compile_args=CXX_FLAGS, cxx_std=17
)

setup(ext_modules=[CORE], cmdclass={"build_ext": BuildExt})
