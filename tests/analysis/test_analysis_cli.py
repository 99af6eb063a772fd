"""`m2m-analysis`: what it writes, its exit codes, and that help is light."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
from analysis import cli
from m2m.errors import ConfigError

ROWS = "members,x,y\na,1,1.5\nb,2,2.2\nc,3,2.9\na+b,4,4.4\na+c,5,4.1\nb+c,6,6.6\na+b+c,7,6.5\n"
FILES = {
    "fidelity.json",
    "fidelity.csv",
    "fidelity_choices.csv",
    "fidelity_points.csv",
    "fidelity_beside.csv",
    "fidelity_regrets.csv",
    "fidelity_scatter.png",
    "fidelity_scatter.svg",
    "fidelity_beside.png",
    "fidelity_beside.svg",
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def run(*arguments: object) -> int:
    return cli.main(["fidelity", *map(str, arguments)])


def test_a_table(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "out"
    assert run(table, "--merged", "x", "--trained", "y", "--out", out) == 0
    assert {path.name for path in out.iterdir()} == FILES
    found = json.loads((out / "fidelity.json").read_text(encoding="utf-8"))
    assert all(
        set(found["mixtures"][name]) >= {"value", "low", "high", "n"}
        for name in ("pearson", "spearman", "kendall")
    )
    assert found["mixtures"] == found["by"]["all"]["mixtures"]
    source = found["source"]
    assert [source.pop(name) for name in ("table", "merged", "trained", "by", "again")] == [
        "table.csv",
        "x",
        "y",
        None,
        None,
    ]
    assert source.pop("sha256") == hashlib.sha256(table.read_bytes()).hexdigest()
    assert len(source.pop("config")) == 32
    assert (source, found["seed"]) == ({}, 0)
    assert {"m2m", "python", "numpy", "scipy"} <= set(found["versions"])
    said = capsys.readouterr().out
    assert "Pearson 0.852 (no interval: these mixtures: no second training seed; new datasets: cannot" in said


def test_the_same_table_gives_the_same_bytes(table: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(table, "--merged", "x", "--trained", "y", "--out", tmp_path / name)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_json_is_one_line(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(table, "--merged", "x", "--trained", "y", "--out", tmp_path / "out", "--json")
    [line] = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert [found[part]["pearson"]["n"] for part in ("mixtures", "with_singletons")] == [4, 7]


def test_constant_scores_are_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "flat.csv"
    table.write_text("x,y\n1,1\n1,2\n1,3\n1,4\n", encoding="utf-8")
    assert run(table, "--merged", "x", "--trained", "y", "--out", tmp_path / "out") == 0
    assert "not defined (all merged scores are equal" in capsys.readouterr().out
    without_members = FILES - {"fidelity_beside.png", "fidelity_beside.svg"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == without_members


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--merged", "x", "--trained", "z", "--out", "{out}"], "has no column 'z'"),
        (["--merged", "x", "--trained", "y"], "a table needs --out"),
        (["--merged", "x", "--out", "{out}"], "a table needs --trained"),
        (["--merged", "x", "--trained", "y", "--out", "{table}"], "is a file, wanted a folder"),
    ],
)
def test_mistakes_are_one_line_and_two(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    filled = [option.format(out=tmp_path / "out", table=table) for option in options]
    assert run(table, *filled) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("m2m-analysis: error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_run_folder_takes_no_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--merged", "x") == 2
    assert "are for tables" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["fidelity", "table.csv", "--wrong"],
        ["fidelity", "table.csv", "--seed", "-1"],
        ["fidelity", "table.csv", "--seed", "1.5"],
        ["fidelity", "table.csv", "--seed", "9" * 5000],
        ["trust", "table.csv", "--budget", "1.5"],
        ["validate", "run", "--out", "o", "--workers", "-1"],
        ["orthogonality", "run", "--out", "o", "--threads", "0"],
        ["orthogonality", "run", "--out", "o", "--subspaces", "-1"],
        ["orthogonality", "run", "--out", "o", "--memory", "lots"],
        ["curvature", "run", "--out", "o", "--examples", "-1"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_a_wrong_option_is_two(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(arguments)
    assert leaving.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("m2m-analysis: error: ")


@pytest.mark.parametrize("sizes", ["1/0", "0", "-1", "nan", "1e999999999", "a"])
def test_a_wrong_step_size_is_two(sizes: str, tmp_path: Path) -> None:
    assert cli.main(["interaction", "run", "--out", str(tmp_path / "o"), f"--step-sizes={sizes}"]) == 2


#: The function of each verb.
FUNCTIONS = {
    "fidelity": analysis.measure_fidelity,
    "trust": analysis.measure_trust,
    "orthogonality": analysis.measure_orthogonality,
    "curvature": analysis.measure_curvature,
    "interaction": analysis.measure_interaction,
    "error-bound": analysis.bound_error,
    "outlook": analysis.measure_outlook,
    "validate": analysis.validate_claims,
    "papers": analysis.redraw_papers,
}


@pytest.mark.parametrize("verb", cli.PROGRAM.verbs)
def test_every_option_is_an_argument(verb: str) -> None:
    known = set(inspect.signature(FUNCTIONS[verb]).parameters)
    options = {action.dest for action in cli.PROGRAM.verb_parser(verb)._actions}
    assert options - {"help", "json", "verbose", "quiet"} <= known
    assert {function.__name__ for function in FUNCTIONS.values()} == set(analysis.__all__)
    assert all(f"{name} " in str(analysis.__doc__) for name in analysis.__all__)


def test_python_writes_what_the_command_writes(table: Path, tmp_path: Path) -> None:
    assert run(table, "--merged", "x", "--trained", "y", "--out", tmp_path / "command") == 0
    outcome = analysis.measure_fidelity(table, tmp_path / "python", merged="x", trained="y")
    written = {path.name: path.read_bytes() for path in outcome.out.iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "command").iterdir()}
    with pytest.raises(ConfigError, match=r"^a table needs trained"):
        analysis.measure_fidelity(table, tmp_path / "python", merged="x")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom analysis.cli import PROGRAM\nPROGRAM.parser().format_help()\n"
        "print(*{'numpy', 'scipy', 'pandas', 'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
