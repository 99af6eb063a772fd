"""Exit codes of both programs, and what is said: done 0, the user's input and system 2, our fault 1."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import analysis.cli
from m2m.cli import main
from m2m.errors import CheckpointError, M2MError

ROOT = Path(__file__).parents[2]
#: A command of each program: its first words, its module, its main.
PROGRAMS = {
    "m2m": (["doctor"], "m2m.cli.doctor", main),
    "m2m-analysis": (["fidelity", "table.csv"], "analysis.commands.fidelity", analysis.cli.main),
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def failing(program: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command that raises."""
    words, module, run = PROGRAMS[program]

    def with_error(error: BaseException, *options: str) -> int:
        def execute(args: object) -> int:
            raise error

        monkeypatch.setattr(import_module(module), "execute", execute)
        return run([*words, *options])

    return with_error


def test_an_input_error_is_one_line_and_2(
    program: str, failing: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(CheckpointError("expert b, tensor w: got [3], wanted [4]")) == 2
    assert capsys.readouterr().err == f"{program}: error: expert b, tensor w: got [3], wanted [4]\n"
    assert failing(CheckpointError("x"), "-v") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_line_stays_one_whatever_a_name_holds(
    failing: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(CheckpointError("a\nb\r\nc\0\x1b[2J\udcff θ")) == 2
    assert capsys.readouterr().err.endswith(r"a b c\x00\x1b[2J\udcff θ" + "\n")


SYSTEM = [
    "EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "ENAMETOOLONG", "EMFILE", "ENFILE", "ESTALE", "EIO",
    "EFBIG", "ENOMEM", "ELOOP", "ENOTDIR", "EISDIR", "ENOENT", "ETXTBSY", "ENODEV", "ENXIO",
]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM)
def test_what_the_system_refuses_is_not_our_fault(
    name: str, failing: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, name)
    assert failing(OSError(number, os.strerror(number), "out/model.safetensors")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert os.strerror(number) in line
    assert "out/model.safetensors" in line


def test_a_working_folder_that_is_gone_is_not_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["export", "a=1", "--to", "json", "--out", "mixture.json"]) == 2
    assert "the folder that this was started in is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 bytes"),
        RuntimeError("can't start new thread"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("Resource temporarily unavailable"),
    ],
)
def test_no_memory_says_what_to_do(
    error: Exception, failing: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "not enough memory" in line
    assert ": ;" not in line
    assert "--memory" in line


@pytest.mark.parametrize(
    "error", [KeyError("w"), FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.EBADF, "closed")]
)
def test_our_fault_is_1(
    error: Exception, failing: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "report it" in err


def test_an_unnamed_error_of_ours_is_1(failing: Callable[..., int]) -> None:
    assert failing(M2MError("broken")) == 1


def test_a_traceback_has_an_end(failing: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    def even(n: int) -> int:
        return odd(n)

    def odd(n: int) -> int:
        return even(n)

    with pytest.raises(RecursionError) as endless:
        even(0)
    assert failing(endless.value) == 1
    assert len(capsys.readouterr().err.splitlines()) < 200


def test_an_interruption_is_130(failing: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_output_is_escaped_where_its_encoding_lacks_a_letter(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, module, run = PROGRAMS[program]
    written = io.BytesIO()

    def execute(args: object) -> int:
        print("θ \udcff")
        return 0

    monkeypatch.setattr(import_module(module), "execute", execute)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert run(words) == 0
    assert written.getvalue() == b"\\u03b8 \\udcff\n"


FIDELITY = ["fidelity", "t.csv", "--merged", "x", "--trained", "y", "--out", "o"]
TABLE = "members,x,y\na,1,1.5\nb,2,2.2\nc,3,2.9\na+b,4,4.4\n"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("m2m.cli.__main__", ["data", "list"]),
        ("m2m.cli.__main__", ["run", "--help"]),
        ("analysis.cli", FIDELITY),
        ("analysis.cli", ["--version"]),
    ],
)
@pytest.mark.parametrize(("stdout", "code"), [("/dev/full", 2), ("pipe", 141)])
def test_output_that_cannot_be_written(
    module: str, words: list[str], stdout: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(TABLE, encoding="utf-8")
    reader, writer = os.pipe() if stdout == "pipe" else (-1, os.open(stdout, os.O_WRONLY))
    if reader >= 0:
        os.close(reader)  # gone before a word was said
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
    )
    os.close(writer)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
