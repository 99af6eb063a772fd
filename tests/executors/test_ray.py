"""A real Ray cluster of three machines, one CPU each; workers and a machine are killed at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import executor_jobs
import pytest
import ray_jobs
import torch
from helpers.commands import HANG_S
from helpers.disk_store import ROOT, SCHEME, register
from helpers.doomed import DOOMED, HIT
from helpers.halting_setup import make
from helpers.merge_cases import make_recipe, make_states, write_models
from helpers.ray_nodes import Nodes, ray_nodes

import m2m
from m2m.errors import ConfigError
from m2m.executors.protocol import Executor, LostWorkerError, Work
from m2m.executors.ray_cluster import Ray
from m2m.merging import merge

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),  # what Ray says about its own future
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # files that Ray leaves open
]

TESTS = Path(__file__).parents[1]
PATH = os.pathsep.join(map(str, (Path(__file__).parent, TESTS, TESTS.parent)))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    with ray_nodes(os.environ | {"PYTHONPATH": PATH}) as found:
        yield found


@pytest.fixture(scope="module")
def cluster(nodes: Nodes) -> Iterator[Ray]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield Ray()
        ray.shutdown()


def test_each_job_is_done_once_on_a_machine_of_the_cluster(cluster: Ray, nodes: Nodes) -> None:
    assert (cluster.places(), cluster.beside(9)) == (3, 1)
    found = dict(cluster.run(ray_jobs.where, range(9)))
    assert sorted(found) == list(range(9))
    assert set(found.values()) <= set(nodes.ids)
    squares = dict(
        cluster.run(executor_jobs.square, [3, 4, 5], initializer=executor_jobs.prepare, initargs=(100,))
    )
    assert {number: value for number, (value, _) in squares.items()} == {0: 109, 1: 116, 2: 125}
    assert len({pid for _, pid in squares.values()}) <= 3
    assert os.getpid() not in {pid for _, pid in squares.values()}


def test_a_team_stays_for_several_rounds(cluster: Ray) -> None:
    with cluster.team(Work(executor_jobs.square, executor_jobs.prepare, (100,))) as team:
        rounds = [dict(team.run([1, 2, 3])) for _ in range(2)]
    assert [sorted(square for square, _ in found.values()) for found in rounds] == [[101, 104, 109]] * 2
    assert len({process for found in rounds for _, process in found.values()}) <= 3


def test_news_several_results_and_errors_travel(cluster: Ray) -> None:
    happened: list[Any] = []
    happened.extend(cluster.run(executor_jobs.tell_half, [3], told=lambda *news: happened.append(news)))
    assert happened == [(0, 1.5), (0, 3)]
    found = list(cluster.run(executor_jobs.count_to, [2, 0, 4]))
    assert sorted(found) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (2, 3)]
    with pytest.raises(ConfigError, match="three is not allowed") as caught:
        list(cluster.run(executor_jobs.refuse, [3]))
    assert "in job 1 of 1: 3" in caught.value.__notes__
    assert list(cluster.run(executor_jobs.compute_threads, [0])) == [(0, ("1", 1))]


def test_a_machine_that_is_no_part_of_it_works_through_the_client_server(nodes: Nodes) -> None:
    script = (
        "import executor_jobs\nfrom m2m.executors.choice import open_executor\n"
        f"cluster = open_executor({nodes.client!r}, 2)\n"
        "start = {'initializer': executor_jobs.prepare, 'initargs': (1,)}\n"
        "found = cluster.run(executor_jobs.square, [3, 4, 5], **start)\n"
        "print(sorted((number, value) for number, (value, _) in found))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment | {"PYTHONPATH": PATH},
        capture_output=True, text=True, check=False, timeout=HANG_S,
    )  # fmt: skip
    assert done.stdout == "[(0, 10), (1, 17), (2, 26)]\n", done.stderr


def test_a_lost_worker_s_job_is_done_again_and_its_results_count_once(
    cluster: Ray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert list(cluster.run(ray_jobs.count_with_a_loss, [tmp_path])) == [(0, n) for n in range(6)]
    assert (tmp_path / "lost").exists()
    assert ["was lost" in record.getMessage() for record in caplog.records] == [True]


def test_a_job_that_loses_every_worker_is_named(cluster: Ray) -> None:
    with pytest.raises(LostWorkerError, match=r"job 2 of 2: 1: 3 workers were lost over it, the last on "):
        list(cluster.run(executor_jobs.vanish, [0, 1]))


def test_a_run_that_loses_a_worker_and_a_machine_ends_in_the_same_results(
    nodes: Nodes, tmp_path: Path
) -> None:
    path, machine = _write_config(tmp_path), nodes.ids[2]
    alone, out = m2m.run(path, tmp_path / "alone", workers=1).folder, tmp_path / "spread"
    (tmp_path / DOOMED).write_text(f"worker {machine}")
    with subprocess.Popen(
        [sys.executable, "-m", "m2m.cli", "run", path.name, "--out", out.name, "--executor", "ray"],
        env=os.environ | {"PYTHONPATH": PATH, "RAY_ADDRESS": nodes.address},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
    ) as run:  # fmt: skip
        _wait_for(tmp_path / f"{HIT}{machine}", run)
        nodes.kill(2)
        said, _ = run.communicate(timeout=HANG_S)
    assert run.returncode == 0, said
    assert (tmp_path / f"{HIT}worker").exists()
    assert said.count("was lost") == 2, said
    assert _found(out) == _found(alone)
    assert _scores(out) == _scores(alone)


def test_a_merge_that_loses_a_worker_and_a_machine_ends_in_the_same_bytes(
    cluster: Ray, nodes: Nodes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = nodes.add()
    (tmp_path / DOOMED).write_text(f"worker {machine}")
    states = make_states({f"t{number}": (40, 500) for number in range(12)}, 2, [torch.bfloat16], 3)
    paths = write_models(states, tmp_path)
    recipe = make_recipe("dare_ties", paths, base=True, shared={"density": 0.5}, each={"weight": [0.5, 0.8]})
    merge(recipe, tmp_path / "alone", shard_size="50kB")
    killer = threading.Thread(target=_kill_once, args=(tmp_path / f"{HIT}{machine}", nodes))
    killer.start()
    merge(recipe, tmp_path / "spread", shard_size="50kB", executor=_Watched(cluster, tmp_path))
    killer.join()
    assert (tmp_path / f"{HIT}worker").exists()
    assert sum("was lost" in record.getMessage() for record in caplog.records) == 2
    found = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("alone", "spread")
    ]
    assert len(found[0]) > 12
    assert found[0] == found[1]


def test_a_merge_of_models_elsewhere_is_sent_by_the_machines_that_merged_it(
    cluster: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT, str(tmp_path / "store"))
    register()
    states = make_states({f"t{number}": (40, 500) for number in range(6)}, 2, [torch.bfloat16], 3)
    (tmp_path / "store").mkdir()
    names = [Path(path).name for path in write_models(states, tmp_path / "store")]
    recipe = make_recipe(
        "linear", [f"{SCHEME}://{name}" for name in names], base=False, shared={}, each={"weight": [0.5, 0.5]}
    )
    merge(recipe, tmp_path / "alone", shard_size="50kB")
    stored = _Stored(cluster, tmp_path / "store")
    report = merge(recipe, f"{SCHEME}://out", shard_size="50kB", executor=stored, verify=True)
    found = [
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (tmp_path / "alone", tmp_path / "store" / "out")
    ]
    assert len(found[0]) > 6
    assert found[0] == found[1]
    assert report.fetched_bytes == report.read_bytes > 0


class _Watched(Executor):
    """A cluster whose workers see that they are doomed before they merge a shard."""

    def __init__(self, cluster: Ray, place: Path) -> None:
        self._cluster, self._place = cluster, place

    def places(self, *, on_gpu: bool = False) -> int:
        return self._cluster.places(on_gpu=on_gpu)

    def beside(self, jobs: int) -> int:
        return self._cluster.beside(jobs)

    def team(self, work: Work, **rest: Any) -> Any:
        return self._cluster.team(work, **rest)

    def run(self, function: Any, jobs: Sequence[Any], **rest: Any) -> Generator[tuple[int, Any], None, None]:
        return self._cluster.run(ray_jobs.merge_shard, [(self._place, job) for job in jobs], **rest)


class _Stored(_Watched):
    """A cluster whose workers reach a store on this disk."""

    def run(self, function: Any, jobs: Sequence[Any], **rest: Any) -> Generator[tuple[int, Any], None, None]:
        return self._cluster.run(ray_jobs.with_store, [(self._place, function, job) for job in jobs], **rest)


def _kill_once(sign: Path, nodes: Nodes) -> None:
    """Kill the last machine that was added, when its sign is there."""
    _wait_for(sign)
    nodes.kill(len(nodes.ids) - 1)


def _write_config(folder: Path) -> Path:
    path = folder / "run.toml"
    path.write_text(
        '[run]\ntarget = "target"\nseed = 3\nvalidate = true\n'
        '[train]\nsteps = 20\nbatch = 2\noptimizer = "sgd"\nlearning_rate = 0.05\n'
        f'[setup]\nkind = "python"\nfactory = "{TESTS / "helpers/halting_setup.py"}:{make.__name__}"\n'
        f'place = "{folder}"\n'
    )
    return path


def _found(folder: Path) -> Any:
    """What a run found, without how long it took."""
    return {
        name: value
        for name, value in json.loads((folder / "results.json").read_text()).items()
        if name != "seconds"
    }


def _scores(folder: Path) -> list[str]:
    """All scores, each once, without when it was made."""
    return sorted(line.rpartition(",")[0] for line in (folder / "scores.csv").read_text().splitlines())


def _wait_for(path: Path, run: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + HANG_S
    while not path.exists():
        if run is not None:
            assert run.poll() is None, run.stdout.read() if run.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
