"""The verbs of `m2m`: mistaken command lines, and help that is light."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis.cli
import m2m
from m2m.cli import main
from m2m.cli.entry import PROGRAM
from m2m.support.exit_codes import BROKEN_PIPE


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["merg"], "no verb 'merg' (did you mean 'merge'?)"),
        (["sculpt"], "no verb 'sculpt'; the verbs are init, run, "),
        (["run", "c.toml", "--outt", "r"], "--outt (did you mean '--out'?), r (try `m2m run --help`)"),
        (["merge", "r.yml", "out", "--cuda"], "--cuda: say --device cuda"),
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


@pytest.mark.parametrize("run", [main, analysis.cli.main])
def test_no_verb_shows_them_all(run: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    program = PROGRAM if run is main else analysis.cli.PROGRAM
    assert all(f"\n    {verb}" in err for verb in program.verbs)


def test_a_reader_that_goes_away_is_not_an_error() -> None:
    program = "import sys; from m2m.cli import main; sys.exit(main(['data', 'list']))"
    command = f'{shlex.quote(sys.executable)} -c "{program}" | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


@pytest.mark.parametrize("argv", [["--help"], *([verb, "--help"] for verb in PROGRAM.verbs)], ids=" ".join)
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


@pytest.mark.parametrize(
    ("option", "said"),
    [("--cuda", "--cuda: say --device cuda"), ("--out-shard-size=5GB", "--out-shard-size: say --shard-size")],
)
def test_options_of_mergekit_get_a_hint(option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["merge", "recipe.yml", "out", option])
    assert said in capsys.readouterr().err


def test_a_source_folder_that_was_not_compiled_says_what_to_do(tmp_path: Path) -> None:
    source = Path(m2m.__file__).parent
    shutil.copytree(source, tmp_path / "m2m", ignore=shutil.ignore_patterns("_core*", "__pycache__"))
    done = subprocess.run(
        # Without installed packages: an editable install would lend its compiled module.
        [sys.executable, "-S", "-c", "import m2m"], cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: {tmp_path}/m2m is m2m's source without its compiled module")
    assert "pip install -e '.[train]'" in said


def test_the_doctor_tells_of_every_extra_that_users_may_want(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)["extras"]
    assert {
        "tables",
        "train",
        "search",
        "ray",
        "remote",
        "report",
        "parquet",
        "lora",
        "lm-eval",
    } <= found.keys()
    assert not {"dev", "docs", "fuzz"} & found.keys()
    assert found["train"]["torch"]
    assert not any("m2m" in packages for packages in found.values())
