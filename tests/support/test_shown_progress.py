"""Progress: silent when asked to be, sparse in a file, a bar with the time left on a terminal."""

from __future__ import annotations

import pytest

from m2m.support import shown_progress as module
from m2m.support.shown_progress import progress


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    progress(quiet=True)(1, 2, "experts")
    assert capfd.readouterr() == ("", "")


def test_a_file_gets_the_ends_of_each_stage_and_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = iter(float(second) for second in range(1000))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    say = progress(quiet=False)
    for done in range(101):
        say(done, 100, "experts")
    say(0, 3, "merged candidates")
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "m2m: experts 0/100"
    assert lines[1] == "m2m: experts 15/100, 1:25 left"
    assert lines[-2] == "m2m: experts 100/100"
    assert lines[-1] == "m2m: merged candidates 0/3"
    assert len(lines) == 9


def test_bytes_are_written_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    progress(quiet=False, unit="B")(0, 3 * 2**19, "merging")
    assert capfd.readouterr().err == "m2m: merging 0 B/1.5 MiB\n"


def test_a_resumed_stage_reckons_from_where_it_began(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 20.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    say = progress(quiet=False)
    say(90, 100, "experts")
    say(95, 100, "experts")
    assert "95/100, 0:20 left" in capfd.readouterr().err


def test_a_terminal_gets_a_bar_a_stage(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    say = progress(quiet=False)
    for total in (4, 3):
        for done in range(total + 1):
            say(done, total, f"stage of {total}")
    err = capfd.readouterr().err
    assert "stage of 4: 100%" in err
    assert "stage of 3: 100%" in err
