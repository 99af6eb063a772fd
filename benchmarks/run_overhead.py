"""Where the CPU time of `m2m run` goes: training, forwards of scoring, and all the rest.

python benchmarks/run_overhead.py CONFIG.toml [OPTION OF m2m run ...]

Runs the command in this process with one worker, into a new temporary folder, and prints CPU seconds by what
they were spent on. A part that is called within another counts only for itself. `overhead` is the share of
all that is neither a training step (pretraining of the base model among them) nor a forward (those of the
similarity baseline among them). The caches of m2m and of Python (`__pycache__`) are used as they are: run it
twice.
"""

from __future__ import annotations

import argparse
import builtins
import importlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

#: What is counted, by module and the name of a function or a class's method there.
PARTS = {
    "training": ("m2m.training.fine_tune:_descend", "m2m.setups.byte_gpt:ByteModel.base_state"),
    "forwards": (
        "m2m.scoring.tasks.scorer:score_model",
        "m2m.scoring.live.stacked:_score_task",
    ),
    "similarity": ("m2m.scoring.tasks.targets:similarities",),
    "merging": (
        "m2m.scoring.live.live_model:LiveModel.merge_ahead",
        "m2m.scoring.live.live_model:LiveModel.merge_stacked",
        "m2m.scoring.live.live_model:LiveModel.__init__",
    ),
    "reading": ("m2m.scoring.targets:load_targets",),
    "models written": ("m2m.checkpoint.writer:save",),
    "report": ("m2m.pipeline.report.write:write_report",),
}


class Account:
    """CPU seconds by part; the innermost part that is under way is charged."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._under_way = ["rest"]
        self._since = 0.0  # of the process's start

    def enter(self, part: str) -> None:
        """Charge this part from now on."""
        self._settle()
        self._under_way.append(part)

    def leave(self) -> None:
        """Charge what was under way before again."""
        self._settle()
        self._under_way.pop()

    def charged(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function whose calls are charged to a part."""

        @wraps(work)
        def counted(*args: Any, **options: Any) -> Any:
            self.enter(part)
            try:
                return work(*args, **options)
            finally:
                self.leave()

        return counted

    def _settle(self) -> None:
        now = time.process_time()
        self.seconds[self._under_way[-1]] += now - self._since
        self._since = now


def watch(account: Account) -> None:
    """Put every function of `PARTS` on the account, wherever it was imported to."""
    for part, places in PARTS.items():
        for place in places:
            module, _, path = place.partition(":")
            *outer, name = path.split(".")
            owner: Any = importlib.import_module(module)
            for step in outer:
                owner = getattr(owner, step)
            original = getattr(owner, name)
            counted = account.charged(part, original)
            setattr(owner, name, counted)
            for other in [m for key, m in sys.modules.items() if key.startswith("m2m.") and not outer]:
                if getattr(other, name, None) is original:
                    setattr(other, name, counted)


def main() -> None:
    """Run, and print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    args, options = parser.parse_known_args()
    account = Account()
    account.enter("imports")  # and the start of Python
    from m2m.cli import main as command

    importlib.import_module("m2m.verbs")
    importlib.import_module("m2m.pipeline.merge_to_mix")
    watch(account)
    account.leave()
    builtins.__import__ = account.charged("imports", builtins.__import__)  # those that come later
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        code = command(["run", str(args.config), "--out", out, "--workers", "1", "-q", *options])
    account.enter("end")  # settles what is under way
    found = {part: round(seconds, 2) for part, seconds in account.seconds.items()}
    total = sum(account.seconds.values())
    worked = sum(account.seconds[part] for part in ("training", "forwards", "similarity"))
    print(json.dumps({"exit": code, "cpu_s": round(total, 2), **found, "overhead": 1 - worked / total}))


if __name__ == "__main__":
    main()
