"""What bash completes from the written script, asked of bash itself; and what `--version` tells."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis.cli
from m2m.build import build_info
from m2m.cli import main
from m2m.cli.entry import PROGRAM
from m2m.support.command_line import SHELLS
from m2m.version import __version__

Main = Callable[[list[str]], int]
#: What bash does when a word is completed: it calls the function that `complete -F` named.
ASK = """
source "$1"; shift
name=$1; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p "$name" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" "$name" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def printed(run: Main, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        run(words)
    assert not left.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("run", "words", "completed"),
    [
        (main, ["m2m", "me"], {"merge"}),
        (main, ["m2m", ""], set(PROGRAM.verbs)),
        (main, ["m2m", "merge", "--st"], {"--strict", "--statistics"}),
        (main, ["m2m", "score", "--mode", "str"], {"streamed"}),
        (main, ["m2m", "run", "co"], {"config.toml"}),
        (analysis.cli.main, ["m2m-analysis", "error"], {"error-bound"}),
    ],
)
def test_bash_completes(
    run: Main, words: list[str], completed: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script").write_text(printed(run, ["--completion", "bash"], capsys))
    (tmp_path / "config.toml").touch()
    command = ["bash", "--norc", "-c", ASK, "bash", "./script", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert completed <= set(done.stdout.split()), done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_all_verbs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(main, ["--completion", shell], capsys)
    assert all(verb in script for verb in PROGRAM.verbs)


def test_the_version_tells_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    line = printed(main, ["--version"], capsys)
    info = build_info()
    assert line.startswith(f"m2m {__version__} (")
    assert line.count("\n") == 1
    assert all(word in line for word in (info["compiler"], "CUDA", info["isa"]))
