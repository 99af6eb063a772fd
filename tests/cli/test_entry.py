"""Exit codes and what is said on stderr: done 0, the user's input 2, our fault 1, interrupted 130."""

from __future__ import annotations

import errno
import subprocess
import sys
from importlib import import_module

import pytest

from m2m.cli import entry, main
from m2m.errors import CheckpointError, M2MError


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `m2m doctor` raise."""

    def execute(args: object) -> int:
        raise error

    monkeypatch.setattr(import_module("m2m.cli.doctor"), "execute", execute)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "VERB"),
        (["merg"], "invalid choice: 'merg'"),
        (["merge", "recipe.yml"], "OUT"),
        (["merge", "r.yml", "out", "--memory", "lots"], "'lots' is not an amount of memory"),
        (["merge", "r.yml", "out", "--threads", "0"], "at least 1"),
        (["run", "c.toml", "--out", "r", "--workers", "1.5"], "'1.5' is not a whole number"),
        (["data", "fetch"], "needs the name"),
        (["doctor", "-v", "-q"], "not allowed with"),
    ],
)
def test_a_mistaken_command_line_is_one_line_and_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(argv)
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("m2m: error: ")
    assert err.count("\n") == 1
    assert said in err


def test_an_input_error_is_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, CheckpointError("expert b, tensor w: got [3], wanted [4]"))
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "m2m: error: expert b, tensor w: got [3], wanted [4]\n"
    assert main(["doctor", "-v"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_not_our_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "out/model.safetensors"))
    assert main(["doctor"]) == 2
    err = capsys.readouterr().err
    assert "No space left on device: 'out/model.safetensors'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "error", [KeyError("w"), FileNotFoundError(errno.ENOENT, "gone"), M2MError("broken")]
)
def test_our_fault_is_1(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert main(["doctor"]) == 1
    err = capsys.readouterr().err
    assert ("Traceback" in err and "report it" in err) or err == "m2m: error: broken\n"


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert main(["doctor"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_goes_away_is_not_an_error() -> None:
    program = "import sys; from m2m.cli import main; sys.exit(main(['data', 'list']))"
    command = f'{sys.executable} -c "{program}" | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (entry.BROKEN_PIPE, "")


@pytest.mark.parametrize("argv", [["--help"], *([verb, "--help"] for verb in entry.VERBS)], ids=" ".join)
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    program = """
import sys
from m2m.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert not left.code
heavy = {"torch", "numpy", "pandas", "scipy", "matplotlib", "tqdm", "yaml", "m2m.pipeline"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: m2m" in done.stdout
