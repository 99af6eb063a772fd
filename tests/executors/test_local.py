from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import executor_jobs as jobs
import pytest
from helpers.commands import HANG_S, hear_signals, is_alive

from m2m.errors import ConfigError
from m2m.executors.desk import Desk, opened, packed
from m2m.executors.local import Local
from m2m.executors.protocol import Executor, Work, WorkerError

#: Where other processes find m2m and the jobs.
PATH = os.pathsep.join((str(Path(__file__).parent), str(Path(__file__).parents[2])))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("executor", [Local(1), Local(2, alone=False)], ids=["serial", "processes"])
def test_every_job_is_done_once_after_one_preparation(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_offset", 0)
    found = dict(executor.run(jobs.square, [3, 4, 5, 6, 7], initializer=jobs.prepare, initargs=(100,)))
    assert {number: value for number, (value, _) in found.items()} == {0: 109, 1: 116, 2: 125, 3: 136, 4: 149}
    others = {pid for _, pid in found.values()} - {os.getpid()}
    assert len(others) == (0 if executor.places() == 1 else 2)
    assert not any(map(is_alive, others))


@pytest.mark.parametrize("executor", [Local(1), Local(2, alone=False)], ids=["serial", "processes"])
def test_a_job_tells_how_far_it_is_before_its_result(executor: Executor) -> None:
    happened: list[tuple[int, float]] = []
    walk = executor.run(jobs.tell_half, [3], told=lambda number, news: happened.append((number, news)))
    happened.extend(walk)
    assert happened == [(0, 1.5), (0, 3)]


@pytest.mark.parametrize("executor", [Local(1), Local(2, alone=False)], ids=["serial", "processes"])
def test_a_job_that_has_jobs_done_hears_them_and_tells_its_own_hearer(executor: Executor) -> None:
    happened: list[tuple[int, Any]] = []
    found = list(executor.run(jobs.pass_on, [3], told=lambda *news: happened.append(news)))
    assert found == [(0, [3, 4])]
    assert happened[0] == (0, (0, 1.5))  # the second piece may come too soon


def test_idle_workers_clear_up_before_they_end() -> None:
    script = (
        "import executor_jobs\nfrom m2m.executors.local import Local\n"
        "if __name__ == '__main__':\n"
        "    print(sorted(Local(2).run(executor_jobs.take_semaphore, [1, 2, 3])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[(0, 1), (1, 2), (2, 3)]\n", "")


@pytest.mark.parametrize("executor", [Local(1), Local(2, alone=False)], ids=["serial", "processes"])
def test_a_job_may_have_any_number_of_results_that_come_one_by_one(executor: Executor) -> None:
    found = list(executor.run(jobs.count_to, [2, 0, 4]))
    assert sorted(found) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (2, 3)]
    walk = executor.run(jobs.count_to, [3])
    assert [next(walk) for _ in range(3)] == [(0, 0), (0, 1), (0, 2)]
    with pytest.raises(ConfigError, match="three is not allowed") as caught:
        next(walk)
    assert "in job 1 of 1: 3" in caught.value.__notes__


@pytest.mark.parametrize("executor", [Local(1), Local(2, alone=False)], ids=["serial", "processes"])
def test_an_error_is_itself_and_names_its_job(executor: Executor) -> None:
    walk = executor.run(jobs.refuse, [3, 1])
    with pytest.raises(ConfigError, match="three is not allowed") as caught:
        list(walk)
    assert "in job 1 of 2: 3" in caught.value.__notes__
    if executor.places() == 2:
        assert any("worker's traceback" in note and "in refuse" in note for note in caught.value.__notes__)


def test_results_come_as_they_finish(tmp_path: Path) -> None:
    came = []
    for number, _ in Local(2).run(jobs.wait_for, [tmp_path / "two came", None, None]):
        came.append(number)
        if number == 2:
            (tmp_path / "two came").touch()
    assert came == [1, 2, 0]


@pytest.mark.parametrize(
    ("function", "message", "code"),
    [
        (jobs.vanish, r"job 2 of 2: 1: its worker was killed by SIGKILL \(out of memory\?\)", 2),
        (jobs.crash, r"job 1 of 2: 0: its worker was killed by SIGSEGV", 1),
        (jobs.leave, r"job \d of 2: \d: its worker ended with exit code 7 before it was done", 1),
        (jobs.awkward, "AwkwardError: salt and pepper", 1),
    ],
)
def test_a_lost_worker_or_error_is_an_error_not_a_hang(function: Any, message: str, code: int) -> None:
    with pytest.raises(WorkerError, match=message) as raised:
        list(Local(1, alone=False).run(function, [0, 1]))
    assert raised.value.exit_code == code


def test_results_that_cannot_travel_and_failed_preparation_are_errors() -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        list(Local(1, alone=False).run(jobs.unpicklable, [0]))
    with pytest.raises(ConfigError, match="nothing to prepare with"):
        list(Local(1, alone=False).run(jobs.square, [0], initializer=jobs.fail_to_prepare))


def test_workers_compute_on_one_thread() -> None:
    assert list(Local(1, alone=False).run(jobs.compute_threads, [0])) == [(0, ("1", 1))]


def test_workers_leave_ctrl_c_to_their_parent() -> None:
    # in a process of its own: there the first worker starts multiprocessing's resource tracker along
    code = (
        "import executor_jobs; from m2m.executors.local import Local\n"
        "if __name__ == '__main__': print(*Local(1, alone=False).run(executor_jobs.interrupt_itself, [0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("(0, True)\n", ""), "it is to be pending for ever"


def test_no_jobs_start_nothing() -> None:
    assert list(Local(3).run(jobs.leave, [])) == []
    assert list(Local(1).run(jobs.leave, [], initializer=jobs.fail_to_prepare)) == []
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        Local(0)


def test_a_walk_given_up_early_leaves_no_worker() -> None:
    walk = Local(2).run(jobs.square, list(range(100)))
    pids = {next(walk)[1][1] for _ in range(20)}
    walk.close()  # type: ignore[attr-defined]
    assert pids
    assert not any(map(is_alive, pids))


PARENT = """
import sys
from pathlib import Path
import executor_jobs
from m2m.executors.local import Local
if __name__ == "__main__":
    try:
        list(Local(2).run(executor_jobs.mark_and_wait, [Path(sys.argv[1])] * 4))
    except KeyboardInterrupt:
        sys.exit(130)
"""


class Parent(NamedTuple):
    process: subprocess.Popen[bytes]
    marks: Path
    workers: list[int]

    def said(self) -> bytes:
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextmanager
def parent_at_work(folder: Path, prepare: Callable[[], object] = hear_signals) -> Iterator[Parent]:
    """A program with two workers at work, in a session of its own.

    So, like a terminal's Ctrl-C, a signal goes to parent and workers alike.
    """
    script, marks = folder / "parent.py", folder / "marks"
    script.write_text(PARENT)
    marks.mkdir()
    with subprocess.Popen(
        [sys.executable, script, marks],
        env=os.environ | {"PYTHONPATH": PATH},
        start_new_session=True,
        preexec_fn=prepare,
        stderr=subprocess.PIPE,
    ) as process:
        until(lambda: len(list(marks.iterdir())) == 2)
        yield Parent(process, marks, [int(mark.name) for mark in marks.iterdir()])


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_interrupted_or_killed_parents_take_their_workers_along(
    tmp_path: Path, how: signal.Signals, code: int
) -> None:
    with parent_at_work(tmp_path) as parent:
        # the workers wait for what never comes: without being ended they would be there for ever
        (os.killpg if how is signal.SIGINT else os.kill)(parent.process.pid, how)
        assert parent.process.wait(HANG_S) == code
        until(lambda: not any(map(is_alive, parent.workers)))
        assert parent.said() == b"", "workers do not print their own interrupts"


def test_impatient_ctrl_c_ends_workers_that_do_not_answer(tmp_path: Path) -> None:
    with parent_at_work(tmp_path) as parent:
        for worker in parent.workers:
            os.kill(worker, signal.SIGSTOP)
        os.kill(parent.process.pid, signal.SIGINT)
        time.sleep(0.1)  # while it waits for them
        os.kill(parent.process.pid, signal.SIGINT)
        parent.process.wait(HANG_S)
        until(lambda: not any(map(is_alive, parent.workers)))


@pytest.mark.parametrize("given", ["a file", "standard input"])
def test_a_script_that_starts_workers_is_not_run_again_by_them(tmp_path: Path, given: str) -> None:
    script = (
        "import executor_jobs\nfrom m2m.executors.local import Local\n"
        "print(sorted(found for _, (found, _) in Local(2).run(executor_jobs.square, [1, 2, 3])))\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py") if given == "a file" else "-"], input=script,
        env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[1, 4, 9]\n", "")


def test_jobs_may_need_what_the_script_defines(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from m2m.executors.local import Local\ndef double(number):\n    return 2 * number\n"
        "if __name__ == '__main__':\n    print(sorted(Local(2).run(double, [1, 2, 3])))\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=os.environ | {"PYTHONPATH": PATH},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[(0, 2), (1, 4), (2, 6)]\n", "")


def test_a_worker_that_has_jobs_done_does_them_itself() -> None:
    found = dict(Local(2).run(jobs.have_squared, [[3, 4], [5]]))
    assert [[value for value, _ in found[number]] for number in (0, 1)] == [[9, 16], [25]]
    assert [len({process for _, process in found[number]}) for number in (0, 1)] == [1, 1]


def test_a_parent_that_was_started_deaf_to_ctrl_c_goes_on(tmp_path: Path) -> None:
    with parent_at_work(tmp_path, lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as parent:
        os.killpg(parent.process.pid, signal.SIGINT)
        (parent.marks / "go").touch()
        assert parent.process.wait(HANG_S) == 0
        assert parent.said() == b""


def test_a_machine_without_the_command_s_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    setup = packed(Work(jobs.square))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rmdir()
    answers: list[bytes] = []
    Desk(setup, answers.append).do(pickle.dumps(3))
    with pytest.raises(ConfigError, match=r"here: No such file or directory on .*; all machines .* must see"):
        opened(answers[0], 0, [3], lambda number, news: None)


def test_relative_paths_start_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    setup = packed(Work(jobs.folder))
    monkeypatch.chdir(Path(__file__).parent)
    answers: list[bytes] = []
    Desk(setup, answers.append).do(pickle.dumps(0))
    assert opened(answers[0], 0, [0], lambda number, news: None) == ([str(tmp_path)], True)
