"""What is done while faults happen: small commands of every kind, and what they must leave in the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from file_faults import End, Fault, Stage
from helpers.linear_setup import run_config
from helpers.lora_files import factors, save_adapter
from safetensors.torch import save_file

from m2m.checkpoint import save

#: Whether every fault is tried, for a quarter of an hour more, or a third of them.
ALL = os.environ.get("M2M_FAULTS") == "all"
#: What a clock or the machine decides, by its name in JSON and in tables.
MEASURED = {"seconds", "wall_s", "peak_rss_bytes", "created", "versions", "started", "search_s", "counts"}
#: A claim that is judged by the clock, by a part of its words.
JUDGED = "seconds of experts and merged scores"
#: Drawn for people; that they are there is enough.
PICTURES = {".png", ".svg", ".html"}
#: Parts of a table of scores, which come and go as SQLite opens and closes it.
OF_SQLITE = ("-wal", "-shm", "-journal")
#: Computations that are repeated for the statistics' sake, and make no file.
SETTINGS = {
    "analysis.fidelity.intervals:RESAMPLES": 99,
    "analysis.validate.resampling:RESAMPLES": 99,
    "analysis.validate.ratios:FINE": 200,
    "m2m.scoring.table_file:PATIENCE": 0.5,
}
#: The models and tasks of the scenes that score.
TASKS = '''
import torch
from torch import nn

METRICS = {"loss": False}

def model():
    return nn.Linear(4, 3)

def loss(model):
    return {"loss": (model.weight.flatten() - 1.0) ** 2}

class Net(nn.Module):
    """Large enough that half of it does not fit beside all candidates."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(256, 96)
        self.inner = nn.ModuleList(nn.Linear(96, 96) for _ in range(2))
        self.head = nn.Linear(96, 256)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.inner:
            x = layer(x).tanh()
        return self.head(x)
'''


@dataclass(frozen=True)
class Scene:
    """One kind of command.

    Attributes:
        name: What it is called.
        make: Writes what it reads into a folder.
        command: The program and its arguments.
        again: What is added after an interruption.
        printed: Whether what it prints is part of the outcome.
    """

    name: str
    make: Callable[[Path], None]
    command: tuple[str, ...]
    again: tuple[str, ...] = ()
    printed: bool = False


@dataclass
class Rehearsal:
    """A scene on a stage, with the outcome that it must always have.

    Attributes:
        scene: The scene.
        stage: Where.
        whole: How it ended undisturbed.
        wanted: What it left, and printed where that counts.
    """

    scene: Scene
    stage: Stage
    whole: End = field(init=False)
    wanted: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        shutil.rmtree(self.stage.folder)
        self.stage.folder.mkdir()
        (self.stage.folder.parent / "user.py").write_text(TASKS)
        self.scene.make(self.stage.folder)
        self._inputs = file_contents(self.stage.folder)
        self._folders = {path for path in self.stage.folder.rglob("*") if path.is_dir()}
        self.whole = self.act()
        assert self.whole.code == 0, self.whole.err
        self.wanted = self.outcome(self.whole)

    @property
    def calls(self) -> int:
        """How many file operations the undisturbed command makes."""
        return len(self.whole.kinds)

    def reset(self) -> None:
        """Remove what the command left; what it reads stays, the same files to the inode."""
        for path in sorted(self.stage.folder.rglob("*"), reverse=True):
            if path.is_dir() and path not in self._folders:
                path.rmdir()
            elif path.is_file() and str(path.relative_to(self.stage.folder)) not in self._inputs:
                path.unlink()

    def act(self, fault: Fault | None = None, headroom: int | None = None, *, again: bool = False) -> End:
        """Run the command once; `again` as one does after an interruption."""
        return self.stage.run(self.command(again=again), fault, headroom)

    def command(self, *, again: bool = False) -> tuple[str, ...]:
        """Return the program and its arguments."""
        return (*self.scene.command, "-q", *(self.scene.again if again else ()))

    def outcome(self, end: End) -> dict[str, Any]:
        """Read everything that the command left, without what clocks decide."""
        paths = [path for path in sorted(self.stage.folder.rglob("*")) if not path.name.endswith(OF_SQLITE)]
        left = {str(path.relative_to(self.stage.folder)): comparable(path) for path in paths}
        return {**left, "printed": without_measured(json.loads(end.out)) if self.scene.printed else None}

    def check_inputs(self) -> None:
        """Nothing that was there before may have changed."""
        for name, content in self._inputs.items():
            assert (self.stage.folder / name).read_bytes() == content, name

    def check_published(self) -> None:
        """What has its final name must be whole; how far the work went may differ."""
        for path in self.stage.folder.rglob("*"):
            name = path.relative_to(self.stage.folder)
            if path.is_dir() or any(part.startswith(".") for part in name.parts):
                continue
            if path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".csv":
                assert path.read_bytes().endswith(b"\n"), name
            elif path.suffix == ".safetensors":
                assert (path.parent / "manifest.json").exists() or str(name) in self._inputs, name
                assert str(name) not in self.wanted or path.read_bytes() == self.wanted[str(name)], name
            elif path.suffix in PICTURES:
                assert path.stat().st_size, name

    def check_end(self) -> None:
        """After whatever happened, the command must end as if nothing had."""
        end = self.act(again=True)
        assert end.code == 0, end.err
        assert self.differences(end) == []

    def differences(self, end: End) -> list[str]:
        """Say in what the outcome is not the undisturbed one's."""
        found = self.outcome(end)
        if "cannot be removed" in end.err:  # it was told: what the system kept is no surprise
            found = {name: content for name, content in found.items() if not name.startswith(".out.merging")}
        return [
            f"{name}: got {found.get(name)!r:.400}, wanted {self.wanted.get(name)!r:.400}"
            for name in sorted(found.keys() | self.wanted.keys())
            if found.get(name) != self.wanted.get(name)
        ]


def tried(faults: int) -> int:
    """How many of so many faults are tried, at equal distances; never fewer than there are signals."""
    return faults if ALL else max(3, faults // 3)


def comparable(path: Path) -> Any:
    """Read a file's content, without what clocks decide."""
    if path.is_dir():
        return "folder"
    if path.suffix in PICTURES or path.name == "verdicts.md":
        return "picture" if path.stat().st_size else "empty"
    if path.suffix == ".sqlite":
        return table_rows(path)
    if path.suffix == ".json":
        return without_measured(json.loads(path.read_bytes()))
    if path.suffix == ".csv":
        lines = [line for line in path.read_text().splitlines() if JUDGED not in line]
        return re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+", "TIME", "\n".join(lines))
    return path.read_bytes()


def without_measured(content: Any) -> Any:
    """Leave out what clocks decide."""
    if isinstance(content, dict):
        return {key: without_measured(value) for key, value in content.items() if key not in MEASURED}
    if isinstance(content, list):
        return [without_measured(item) for item in content if JUDGED not in str(item)]
    return content


def table_rows(path: Path) -> list[tuple[Any, ...]]:
    """Read a score table as it stands on disk."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(scores)") if row[1] != "created"]
        return sorted(connection.execute(f"SELECT {', '.join(names)} FROM scores").fetchall(), key=repr)


def file_contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_models(folder: Path) -> None:
    """A base model with a tokenizer, three experts, recipes, a table of candidates, labelled examples."""
    generator = torch.Generator().manual_seed(3)
    for name in ("base", "a", "b", "c"):
        # Many small shards: much happens to files.
        tensors = {f"t{i}": torch.randn(40, 8, generator=generator) for i in range(4)}
        save(tensors, folder / name, shard_size="3KB")
    (folder / "base" / "config.json").write_text("{}")
    (folder / "base" / "tokenizer.json").write_text('{"version": "1.0"}')
    models = "".join(f"  - {{model: {name}, parameters: {{weight: 0.4, density: 0.5}}}}\n" for name in "abc")
    tail = f"base_model: base\ntokenizer_source: base\nmodels:\n{models}dtype: bfloat16\n"
    for method in ("ties", "dare_ties"):
        (folder / f"{method}.yml").write_text(f"merge_method: {method}\n{tail}")
    linear = re.sub(", density: 0.5", "", tail)
    (folder / "linear.yml").write_text(f"merge_method: linear\n{linear}")
    (folder / "candidates.csv").write_text("a,b,c\n1,0,0\n0.5,0.5,0\n0.2,0.3,0.5\n")


def make_adapters(folder: Path) -> None:
    """A base model and two adapters of it."""
    generator = torch.Generator().manual_seed(3)
    names = [f"layers.{i}.q" for i in range(3)]
    save({f"{name}.weight": torch.randn(16, 12, generator=generator) for name in names}, folder / "base")
    for seed, expert in enumerate(("a", "b")):
        parts = [factors(name, 16, 12, 4, seed=10 * seed + i) for i, name in enumerate(names)]
        save_adapter(folder / expert, {key: value for part in parts for key, value in part.items()})
    models = "".join(f"  - {{model: {name}, parameters: {{weight: 0.4}}}}\n" for name in "ab")
    (folder / "lora.yml").write_text(
        f"merge_method: linear\nbase_model: base\nmodels:\n{models}dtype: float32\n"
    )


def make_scored(folder: Path) -> None:
    """A base, three experts and labelled examples of the small model."""
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn(3, 4, generator=generator)
    inputs = torch.randn(60, 4, generator=generator)
    save_file({"input": inputs, "label": (inputs @ truth.T).argmax(1)}, folder / "data.safetensors")
    for size, name in enumerate(("base", "a", "b", "c")):
        noise = torch.randn(3, 4, generator=generator)
        save({"weight": size * truth + noise, "bias": torch.zeros(3)}, folder / name)


def make_streamed(folder: Path) -> None:
    """A base, three experts and a text of the larger model."""
    shapes = {"embed.weight": (256, 96), "head.weight": (256, 96), "head.bias": (256,)}
    for i in range(2):
        shapes |= {f"inner.{i}.weight": (96, 96), f"inner.{i}.bias": (96,)}
    for seed, name in enumerate(("base", "a", "b", "c")):
        generator = torch.Generator().manual_seed(seed)
        save(
            {key: torch.randn(shape, generator=generator) / 9 for key, shape in shapes.items()}, folder / name
        )
    (folder / "text.txt").write_text(
        "Eighty bytes of text are five windows of sixteen bytes, each is a row..."
    )


def make_run(folder: Path) -> None:
    """A run configuration of linear regression, with what `m2m mix` wants to know."""
    mix = '[mix]\nregressor = "scheffe"\nseeds = 14\npoints = 32\ntop_k = 3\nbootstrap = 2\n'
    (folder / "run.toml").write_text(run_config("seed = 3") + mix)


def make_study(folder: Path) -> None:
    """A configuration for `m2m-analysis validate`."""
    (folder / "run.toml").write_text(run_config())


def make_table(folder: Path) -> None:
    """A finished table of scores and a table of mixtures."""
    rows = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.2, 0.3, 0.5)]
    mixtures = "".join(f"{i},{','.join(map(str, row))}\n" for i, row in enumerate(rows))
    scores = "".join(f"{i},{row[0] + row[1] ** 2 - row[2]}\n" for i, row in enumerate(rows))
    (folder / "x.csv").write_text(f"index,a,b,c\n{mixtures}")
    (folder / "y.csv").write_text(f"index,loss\n{scores}")
    (folder / "mixture.json").write_text(json.dumps({"a": 0.25, "b": 0.75}))


def make_texts(folder: Path) -> None:
    """Three files of many texts."""
    for name in "abc":
        rows = [{"text": f"{name} says {n} and {n * 7919}, and what is more, {n**3}."} for n in range(400)]
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


_SCORED = ("--base", "base", "--experts", "a", "b", "c", "--out", "scores.csv")
_MODEL = ("--model", "../user.py:model")
_MERGES = ("--threads", "2", "--shard-size", "2KB")

MERGES = [
    Scene("linear", make_models, ("m2m", "merge", "linear.yml", "out", *_MERGES), ("--resume",)),
    Scene("ties", make_models, ("m2m", "merge", "ties.yml", "out", *_MERGES), ("--resume",)),
    Scene("dare_ties", make_models, ("m2m", "merge", "dare_ties.yml", "out", *_MERGES, "--resume")),
    Scene(
        "candidates",
        make_models,
        ("m2m", "merge", "linear.yml", "out", *_MERGES, "--candidates", "candidates.csv"),
        ("--resume",),
    ),
    Scene("lora", make_adapters, ("m2m", "merge", "lora.yml", "out", "--durable"), ("--resume",)),
]
SCORES = [
    Scene("resident", make_scored, ("m2m", "score", *_SCORED, *_MODEL, "--task", "../user.py:loss")),
    Scene(
        "streamed",
        make_streamed,
        ("m2m", "score", *_SCORED, "--model", "../user.py:Net", "--task", "lm:text.txt", "--context", "16",
         "--mode", "streamed", "--memory", "6.5MiB", "--passes", "2"),
    ),
    Scene(
        "race",
        make_scored,
        ("m2m", "score", *_SCORED, *_MODEL, "--task", "classify:data.safetensors", "--race"),
    ),
]  # fmt: skip
SEARCHES = [
    Scene(
        "search-live",
        make_scored,
        ("m2m", "search", *_SCORED, *_MODEL, "--task", "../user.py:loss", "--strategy", "greedy", "--json"),
        printed=False,
    ),
]
RUNS = [
    Scene("run", make_run, ("m2m", "run", "run.toml", "--out", "out", "--workers", "1", "--validate")),
    Scene("mix", make_run, ("m2m", "mix", "run.toml", "--out", "out", "--workers", "1")),
    Scene("workers", make_run, ("m2m", "run", "run.toml", "--out", "out", "--workers", "2")),
]
STUDIES = [
    Scene(
        "validate",
        make_study,
        ("m2m-analysis", "validate", "run.toml", "--out", "out", "--workers", "1"),
    ),
]
WRITERS = [
    Scene(
        "predict",
        make_table,
        ("m2m", "predict", "--mixtures", "x.csv", "--scores", "y.csv", "--target", "loss", "--model",
         "ridge-log", "--at", "x.csv", "--out", "pred.csv", "--save", "predictor.json"),
    ),
    Scene("init", make_texts, ("m2m", "init", "new", "--data", "a.jsonl", "b.jsonl", "--target", "c.jsonl")),
    Scene("export", make_table, ("m2m", "export", "mixture.json", "--to", "csv", "--out", "c.csv")),
]  # fmt: skip
