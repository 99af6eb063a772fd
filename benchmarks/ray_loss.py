"""Does a run on a cluster that loses a machine end in the results of a run here?

    python benchmarks/ray_loss.py DIR [--config examples/quickstart.toml] [--kill-at 3]

Runs the configuration in one process into `DIR/alone`, then on a Ray cluster of three machines with a CPU
each, as far as Ray can tell, into `DIR/spread`; one machine is killed when so many mixtures were trained.
Says what differs in `results.json` but for seconds, and how long both took. Needs `m2m[ray]`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Bytes of each machine's object store; answers are small.
STORE = 80 * 2**20


def main() -> None:
    """Run both ways, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--config", type=Path, default=Path("examples/quickstart.toml"))
    parser.add_argument("--kill-at", type=int, default=3, metavar="TRAINED")
    args = parser.parse_args()
    began = time.monotonic()
    if start(args.config, args.out / "alone", "--workers", "1").wait():
        sys.exit(f"the run here failed: {args.out / 'alone'}")
    alone, began = time.monotonic() - began, time.monotonic()
    lose_a_machine(args.config, args.out / "spread", args.kill_at)
    spread = time.monotonic() - began
    one, other = found(args.out / "alone"), found(args.out / "spread")
    differ = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    print(f"in one process {alone:.0f} s, on three machines of which one dies {spread:.0f} s")
    print(f"differs: {', '.join(differ)}" if differ else "the same results.json")
    sys.exit(bool(differ))


def start(config: Path, out: Path, *more: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start `m2m run`."""
    command = [sys.executable, "-m", "m2m.cli", "run", "--out", str(out), *more, "--", str(config)]
    return subprocess.Popen(command, env=os.environ | environment)


def lose_a_machine(config: Path, out: Path, trained: int) -> None:
    """Run on three machines, and kill one when so many mixtures were trained."""
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    try:
        doomed, _ = cluster.add_node(**machine), cluster.add_node(**machine)
        cluster.wait_for_nodes()
        run = start(config, out, "--executor", "ray", RAY_ADDRESS=cluster.address)
        while run.poll() is None and len(list((out / "mixtures").glob("*"))) < trained:
            time.sleep(0.2)
        cluster.remove_node(doomed, allow_graceful=False)
        if run.wait():
            sys.exit(f"the run on the cluster failed: {out}")
    finally:
        cluster.shutdown()


def found(folder: Path) -> dict[str, Any]:
    """Read what a run found, without how long it took."""
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if name != "seconds"}


if __name__ == "__main__":
    main()
