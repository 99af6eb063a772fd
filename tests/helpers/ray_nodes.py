"""A Ray cluster of three machines, as far as Ray can tell: `python ray_nodes.py`, then a line a wish."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Bytes of each machine's object store; answers are small.
STORE = 80 * 2**20


class Nodes:
    """The cluster as tests see it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        first = self._said()
        #: Where it is, for `RAY_ADDRESS`, and the ids of its machines, the head first.
        self.address: str = first["address"]
        #: Where its client server is.
        self.client: str = first["client"]
        self.ids: list[str] = first["ids"]

    def kill(self, number: int) -> None:
        """Kill all processes of a machine at once."""
        self._ask(f"kill {number}")

    def add(self) -> str:
        """Add a machine, and return its id."""
        self.ids.append(self._ask("add")["id"])
        return self.ids[-1]

    def _ask(self, wish: str) -> Any:
        assert self._process.stdin is not None
        print(wish, file=self._process.stdin, flush=True)
        return self._said()

    def _said(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(f"the cluster ended with {self._process.wait()}")


@contextmanager
def ray_nodes(environment: dict[str, str]) -> Iterator[Nodes]:
    """Have a cluster for the block; its workers get the environment."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        cwd=Path(__file__).parent, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield Nodes(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def main() -> None:
    """Start the machines, and do what lines of the input say until it ends."""
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": STORE}
    port = _free_port()
    head = machine | {"include_dashboard": False, "ray_client_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.head_node, *(cluster.add_node(**machine) for _ in range(2))]
    cluster.wait_for_nodes()
    first = {"address": cluster.address, "client": f"ray://127.0.0.1:{port}"}
    print(json.dumps(first | {"ids": [node.node_id for node in nodes]}), flush=True)
    for line in sys.stdin:
        wish, *number = line.split()
        if wish == "kill":
            cluster.remove_node(nodes[int(number[0])], allow_graceful=False)
            print("{}", flush=True)
        else:
            nodes.append(cluster.add_node(**machine))
            print(json.dumps({"id": nodes[-1].node_id}), flush=True)
    cluster.shutdown()


def _free_port() -> int:
    """Find a port below those that workers take by themselves."""
    for port in range(9500, 10_000):
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port between 9500 and 10000 is free")


if __name__ == "__main__":
    main()
