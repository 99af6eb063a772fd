"""A folder with what every verb reads, a finished run among it, and places where nothing can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers.linear_setup import run_config

from m2m import pipeline
from m2m.checkpoint import save
from m2m.pipeline import config

TASK = """
import torch

METRICS = {"loss": False}

def model():
    return torch.nn.Linear(2, 2)

def loss(model):
    return {"loss": model.weight.detach().flatten().tolist()}
"""
TABLES = {
    "x.csv": "index,a,b\n1,1,0\n2,0,1\n3,0.5,0.5\n4,0.25,0.75\n5,0.75,0.25\n6,0.4,0.6\n",
    "y.csv": "index,y\n1,1\n2,2\n3,1.5\n4,1.75\n5,1.25\n6,1.6\n",
    "few.csv": "a,b\n1,0\n0.5,0.5\n",
    "pairs.csv": "merged,trained\n1,1\n2,3\n3,2\n4,4\n",
    "mixture.json": '{"a": 0.5, "b": 0.5}',
    "recipe.yml": "merge_method: linear\nmodels:\n"
    "  - {model: base, parameters: {weight: 0.5}}\n  - {model: a, parameters: {weight: 0.5}}\n",
    "task.py": TASK,
    "run.toml": run_config("validate = true"),
    "data.csv": "text that a set-up may read",
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every verb reads, a finished run among it, and bad places."""
    folder = tmp_path_factory.mktemp("kit")
    for name, text in TABLES.items():
        (folder / name).write_text(text, encoding="utf-8")
    for number, name in enumerate(("base", "a", "b")):
        save({"weight": torch.full((2, 2), float(number)), "bias": torch.zeros(2)}, folder / name)
    pipeline.run(config.load(folder / "run.toml"), folder / "run", workers=1)
    (folder / "folder.csv").mkdir()
    (folder / "database.csv").write_bytes(b"SQLite format 3\0" + bytes(100))
    os.mkfifo(folder / "fifo.csv")
    for link, target in {
        "null.csv": "/dev/null",
        "dangling.csv": "none/x.csv",
        "loop.csv": "loop.csv",
    }.items():
        (folder / link).symlink_to(target)
    return folder
