"""`setup.py` compiles again what a change touches, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cpp_programs import find_compiler

SETUP = Path(__file__).parents[2] / "setup.py"
MODULE = """
#include <Python.h>
#include "core/outer.h"
int other();
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core"};
PyMODINIT_FUNC PyInit__core() {
  PyObject* module = PyModule_Create(&definition);
  PyModule_AddIntConstant(module, "figure", 10 * OUTER + other());
  return module;
}
"""
FILES = {
    "csrc/bind/module.cpp": MODULE,
    "csrc/core/other.cpp": '#include "core/inner.h"\nint other() { return INNER; }\n',
    "csrc/core/outer.h": "#define OUTER 1\n",
    "csrc/core/inner.h": "#define INNER 2\n",
    "m2m/__init__.py": "",
}


class Tree:
    """A small source tree with the real `setup.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(SETUP, folder)
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def build(self, **environment: str) -> set[str]:
        """Build in place; return the names of the sources that were compiled."""
        before = self._times()
        command = [sys.executable, "setup.py", "build_ext", "--inplace"]
        settings = {**os.environ, "M2M_CUDA": "0", "CXX": find_compiler(), "CXXFLAGS": "-O0", **environment}
        done = subprocess.run(
            command, cwd=self.folder, env=settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {name for name, time in self._times().items() if before.get(name) != time}

    def figure(self) -> int:
        """Return what the built module says."""
        code = "import m2m._core; print(m2m._core.figure)"
        done = subprocess.run([sys.executable, "-c", code], cwd=self.folder, capture_output=True, check=True)
        return int(done.stdout)

    def rewrite(self, name: str, old: str, new: str) -> None:
        """Change a file and leave its times as they were, as copies and checkouts may."""
        path = self.folder / name
        before, text = path.stat(), path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _times(self) -> dict[str, int]:
        return {path.stem: path.stat().st_mtime_ns for path in self.folder.rglob("*.o")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A tree that was built once, in a folder with characters that shells and makes stumble over."""
    pytest.importorskip("pybind11", reason="needs the extra `dev`")
    tree = Tree(tmp_path_factory.mktemp("a tree+"))
    assert tree.build() == {"module", "other"}
    assert tree.figure() == 12
    return tree


def test_nothing_is_compiled_twice(tree: Tree) -> None:
    for path in (tree.folder / "csrc").rglob("*.*"):
        path.touch()
    assert tree.build() == set()


def test_a_header_reaches_those_who_include_it(tree: Tree) -> None:
    tree.rewrite("csrc/core/inner.h", "INNER 2", "INNER 3")
    assert tree.build() == {"other"}
    assert tree.figure() % 10 == 3
    tree.rewrite("csrc/core/outer.h", "#define OUTER 1", '#include "core/inner.h"\n#define OUTER INNER')
    assert tree.build() == {"module"}
    assert tree.figure() == 33
    tree.rewrite("csrc/core/inner.h", "INNER 3", "INNER 4")  # now through another header
    assert tree.build() == {"module", "other"}
    assert tree.figure() == 44


def test_flags_reach_everything(tree: Tree) -> None:
    assert tree.build(CXXFLAGS="-O0 -DUNUSED") == {"module", "other"}
    assert tree.build() == {"module", "other"}


def test_what_a_killed_compiler_left_is_not_used(tree: Tree) -> None:
    assert tree.build() == set()
    (half,) = tree.folder.rglob("other.o")
    half.with_name("other.o.key").unlink()  # written last
    half.write_bytes(b"")
    assert tree.build() == {"other"}
