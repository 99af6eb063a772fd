"""Every verb × every bad place: one line, exit code 2, before any work; nothing is made, changed or lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.linear_setup import run_config

import analysis.cli
import m2m.cli
from m2m.pipeline import claiming, config

MODELS = "--base base --experts a b --task task.py:loss --model task.py:model"
#: What writes one file: command, and what it reads; `OUT` stands for the place.
FILES = {
    "predict": (
        "predict --mixtures x.csv --scores y.csv --target y --at x.csv --out OUT",
        ["x.csv", "y.csv"],
    ),
    "export": ("export mixture.json --to json --out OUT", ["mixture.json"]),
    "export a run": ("export run --to json --out OUT", []),
    "mix --to": ("mix run.toml --out run --workers 1 --to json=OUT", ["run.toml"]),
    "score": (
        f"score {MODELS} --candidates few.csv --out OUT",
        ["few.csv", "task.py", "a/model.safetensors"],
    ),
    "score --race": (f"score {MODELS} --race --out OUT", ["task.py", "base/model.safetensors"]),
    "score --examples": (
        f"score {MODELS} --out scores.csv --examples OUT",
        ["task.py", "b/model.safetensors"],
    ),
    "search": (f"search {MODELS} --out OUT", ["task.py", "a/model.safetensors"]),
    "search --storage": (
        f"search {MODELS} --out s.csv --strategy tpe --budget 3 --storage OUT",
        ["a/model.safetensors"],
    ),
    "search a run": ("search run --out OUT", []),
}
#: What writes a folder.
FOLDERS = {
    "run": ("run run.toml --workers 1 --out OUT", []),
    "mix": ("mix run.toml --workers 1 --out OUT", []),
    "merge": ("merge recipe.yml OUT", ["base", "a"]),
    "merge --as-adapter": ("merge recipe.yml OUT --as-adapter", ["base", "a"]),
    "merge --resume": ("merge recipe.yml OUT --resume", ["base", "a"]),
    "m2m-analysis fidelity": ("fidelity pairs.csv --merged merged --trained trained --out OUT", []),
    "m2m-analysis fidelity of a run": ("fidelity run --out OUT", []),
    "m2m-analysis orthogonality": ("orthogonality --base base --experts a b --out OUT", ["base", "b"]),
    "m2m-analysis curvature": ("curvature run --out OUT", []),
    "m2m-analysis interaction": ("interaction run --out OUT", []),
    "m2m-analysis error-bound": ("error-bound run --out OUT", []),
    "m2m-analysis validate": ("validate run --no-trainings --out OUT", []),
}
#: Names as the strictest verb wants them.
BAD_FILES = [
    "folder.csv", "fifo.csv", "null.csv", "/dev/full", "/dev/stdout", "-", ".", "", "none/x.csv",
    "x.csv/x.csv", "dangling.csv", "loop.csv", "scores.sqlite", "x.race.csv", ".x.csv.new", "database.csv",
    "run/scores.csv", "run/results.json", "run/experts/x.csv", "run/mix/x.csv", "x" * 252 + ".csv",
]  # fmt: skip
GOOD = {("search --storage", "scores.sqlite"), ("search --storage", "database.csv"), ("mix --to", "")}
BAD_FOLDERS = [
    "x.csv",
    "fifo.csv",
    "null.csv",
    "/dev/full",
    "x.csv/out",
    "loop.csv",
    ".x.merging",
    "run/experts/x",
]


@pytest.fixture(autouse=True)
def nothing_changes(kit: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What there is stays as it is, under its name; nothing is added."""
    monkeypatch.chdir(kit)
    before = everything(kit)
    yield
    assert everything(kit) == before


def everything(folder: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        changed = (
            0 if path.is_dir() else status.st_mtime_ns
        )  # tests put things into folders, and take them away
        found[str(path.relative_to(folder))] = (status.st_ino, status.st_mode, status.st_size, changed)
    return found


def refused(verb: str, command: str, place: str, capsys: pytest.CaptureFixture[str]) -> str:
    main = analysis.cli.main if verb.startswith("m2m-analysis") else m2m.cli.main
    words = [word.replace("OUT", place) for word in command.split()]
    assert main(words) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if ": note: " not in line]
    assert len(told) == 1, told
    assert ": error: " in told[0]
    assert (place or ".") in told[0]  # it is about the place, and not about something later
    return told[0]


@pytest.mark.parametrize("place", BAD_FILES, ids=lambda place: place[-20:] or "empty")
@pytest.mark.parametrize("verb", FILES)
def test_no_file_is_written_in_a_bad_place(verb: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    if (verb, place) in GOOD:
        return
    refused(verb, FILES[verb][0], place, capsys)


@pytest.mark.parametrize("place", BAD_FOLDERS)
@pytest.mark.parametrize("verb", FOLDERS)
def test_no_folder_is_made_in_a_bad_place(verb: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(verb, FOLDERS[verb][0], place, capsys)


@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
@pytest.mark.parametrize(
    ("verb", "read"), [(verb, read) for verb, (_, inputs) in FILES.items() for read in inputs]
)
def test_no_input_is_written_over(
    verb: str, read: str, how: str, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = kit / read if how == "itself" else kit / "alias.csv"
    if how == "link":
        place.symlink_to(read)
    elif how == "hard link":
        os.link(kit / read, place)
    try:
        told = refused(verb, FILES[verb][0], str(place), capsys)
    finally:
        if how != "itself":
            place.unlink()
    if place.suffix == ".csv" and verb != "search --storage":
        assert "is an input" in told


@pytest.mark.parametrize("inside", ["", "/new"])
@pytest.mark.parametrize(
    ("verb", "read"), [(verb, read) for verb, (_, inputs) in FOLDERS.items() for read in inputs]
)
def test_no_input_folder_is_written_into(
    verb: str, read: str, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "an input" in refused(verb, FOLDERS[verb][0], read + inside, capsys)


@pytest.mark.parametrize(
    ("verb", "beside"),
    [
        ("score", "tried.sqlite"),
        ("score", "tried.sqlite-wal"),
        ("score --race", "tried.race.csv"),
        ("score --race", "tried.race.json"),
        ("search", "tried.sqlite"),
    ],
)
def test_files_that_a_verb_names_itself_count(
    verb: str, beside: str, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kit / beside).mkdir()
    (kit / "tried.sqlite").touch() if beside.endswith("-wal") else None
    try:
        assert f"{beside} is a folder, wanted a file" in refused(verb, FILES[verb][0], "tried.csv", capsys)
    finally:
        (kit / beside).rmdir()
        if beside.endswith("-wal"):
            (kit / "tried.sqlite").unlink()


def test_a_file_of_results_that_is_read_or_no_file_is_refused(
    kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = kit / "results"
    results.mkdir()
    try:
        shutil.copy("pairs.csv", results / "fidelity_points.csv")
        command = "fidelity results/fidelity_points.csv --merged merged --trained trained --out OUT"
        assert "is an input" in refused("m2m-analysis", command, "results", capsys)
        (results / "fidelity.json").mkdir()
        command = FOLDERS["m2m-analysis fidelity"][0]
        assert "fidelity.json is a folder" in refused("m2m-analysis", command, "results", capsys)
    finally:
        shutil.rmtree(results)


@pytest.mark.parametrize("files", ['"data.csv"', '["none.txt", "*.csv"]', '"../kit/d*"'])
def test_data_of_a_set_up_are_inputs(files: str, kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = kit / "reading.toml"
    text = f'kind = "language"\n[setup.datasets.a]\nfiles = {files.replace("../kit", f"../{kit.name}")}\n'
    config.write_text(run_config().partition("kind")[0] + text)
    try:
        for command in (
            "score --base base --experts a b --setup reading.toml --target t --out OUT",
            "score --base base --experts a b --setup reading.toml --target t --out s.csv --examples OUT",
            "search --base base --experts a b --setup reading.toml --target t --out OUT",
            "mix reading.toml --out mixed --to json=OUT",
        ):
            assert "is an input" in refused("m2m", command, "data.csv", capsys)
    finally:
        config.unlink()


def test_a_report_takes_no_other_things_place(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kit / "run" / "report.html").mkdir()
    try:
        assert "report.html is a folder" in refused("report", "report run", "", capsys)
    finally:
        (kit / "run" / "report.html").rmdir()


@pytest.mark.parametrize(
    ("files", "place"), [("notes/**/*", "notes/deep/run"), ("notes/*/*.json", "notes/run")]
)
@pytest.mark.parametrize("verb", ["run", "mix"])
def test_a_run_is_not_made_in_its_own_data(
    verb: str, files: str, place: str, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kit / "reading.toml"
    path.write_text(
        run_config().partition("kind")[0] + f'kind = "language"\n[setup.datasets.a]\nfiles = "{files}"\n'
    )
    try:
        assert "lies in data" in refused("m2m", f"{verb} reading.toml --out OUT", place, capsys)
    finally:
        path.unlink()


def test_a_run_beside_its_data_is_not_in_them(tmp_path: Path) -> None:
    path = tmp_path / "reading.toml"
    path.write_text(
        run_config().partition("kind")[0]
        + 'kind = "language"\n[setup.datasets.a]\nfiles = ["notes/*.json", "notes/**/*.txt"]\n'
    )
    claiming.check(tmp_path / "notes" / "run", config.load(path))


@pytest.mark.parametrize("inside", ["recipe", "candidates"])
def test_a_merge_clears_away_no_recipe_and_no_candidates(
    inside: str, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = kit / ".merged.merging"
    work.mkdir()
    files = {"recipe": kit / "recipe.yml", "candidates": kit / "few.csv"}
    files[inside] = Path(shutil.copy(files[inside], work))
    command = f"merge {files['recipe']} OUT --candidates {files['candidates']}"
    try:
        assert "is cleared away, and holds an input" in refused("m2m", command, "merged", capsys)
        assert files[inside].exists()
    finally:
        shutil.rmtree(work)
