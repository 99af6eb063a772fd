"""What scoring merges of a large model would take: bytes, passes, hours, and which part of the machine binds.

    python benchmarks/scale.py plan [--tokens 100000] [--candidates 1000] [--experts 20]
    python benchmarks/scale.py check DIR

`plan` prints docs/scale.md's table. Blocks of all experts go disk → host → GPU; on the GPU each of the
candidates in flight is merged from the block and run, and its activations wait in the host's memory. A step
is one block of one pass; disk, link and GPU each do one step at a time, and work at the same time.

`check` holds the bytes and passes of that arithmetic against real merges and real streamed scoring of small
models in DIR: what the engine counted, and what Linux says that this process read and wrote.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

GB, TB = 10**9, 10**12
#: Bytes of activations that wait at a border, over tokens × width × bytes a number: 1.3 GiB of 16 candidates
#: at 17 borders in docs/evaluation.md's table of streamed scoring.
ALIVE = 2.5
#: Share of the host's memory that activations may take.
FOR_ACTIVATIONS = 0.75
#: Share of a GPU's memory that no weights take.
ROOM_TO_RUN = 0.15


@dataclass(frozen=True)
class Work:
    """A model, its experts, and what candidates are scored on.

    Attributes:
        parameters: P.
        layers: Layers of equal size; embeddings count as part of them.
        width: Hidden size.
        experts: N.
        candidates: M.
        tokens: Tokens a candidate is scored on.
        bytes_each: Bytes a number.
    """

    parameters: float = 70e9
    layers: int = 80
    width: int = 8192
    experts: int = 20
    candidates: int = 1000
    tokens: int = 100_000
    bytes_each: int = 2

    @property
    def model_bytes(self) -> float:
        """Bytes of one model."""
        return self.parameters * self.bytes_each

    @property
    def waiting_bytes(self) -> float:
        """Bytes of one candidate's activations at a border of blocks."""
        return ALIVE * self.tokens * self.width * self.bytes_each


@dataclass(frozen=True)
class Machine:
    """Rates in bytes or operations a second; what data sheets say, times what is usually reached.

    Attributes:
        name: What it is called.
        nodes: Hosts.
        gpus: GPUs a node.
        flops: Operations a GPU really does in matrix products.
        gpu_bytes: A GPU's memory.
        gpu_rate: Its bandwidth.
        link_rate: Host to one GPU.
        disk_rate: A node's own disks.
        host_bytes: A node's memory.
        shared_rate: Storage that all nodes share; None where each node has the experts on its own disks.
    """

    name: str
    nodes: int = 1
    gpus: int = 1
    flops: float = 400e12
    gpu_bytes: float = 80 * GB
    gpu_rate: float = 2.7 * TB
    link_rate: float = 50 * GB
    disk_rate: float = 25 * GB
    host_bytes: float = 2 * TB
    shared_rate: float | None = None


MACHINES = (
    Machine("one GPU, one disk", disk_rate=3 * GB, host_bytes=0.25 * TB),
    Machine("one GPU, fast disks"),
    Machine("one node, 8 GPUs", gpus=8),
    Machine("8 nodes of 8, own disks", nodes=8, gpus=8),
    Machine("8 nodes of 8, shared 20 GB/s", nodes=8, gpus=8, shared_rate=20 * GB),
)


@dataclass(frozen=True)
class Prediction:
    """What a pass over the experts with all candidates in flight takes.

    Attributes:
        blocks: Blocks of a pass.
        passes: How often a node reads its experts.
        read_bytes: What all nodes read.
        moved_bytes: What crosses all links, activations there and back.
        busy_s: Seconds that each part of one node works, by part.
        seconds: From start to end.
        gpu_hours: GPUs × hours.
    """

    blocks: int
    passes: int
    read_bytes: float
    moved_bytes: float
    busy_s: dict[str, float]
    seconds: float
    gpu_hours: float

    @property
    def binds(self) -> str:
        """The part that works longest."""
        return max(self.busy_s, key=lambda part: self.busy_s[part])


def predict(work: Work, machine: Machine) -> Prediction:
    """Plan blocks and passes, then let the steps run.

    Args:
        work: What is scored.
        machine: What scores it.

    Returns:
        What it takes.

    Raises:
        ValueError: A single candidate's activations do not fit the host's memory.
    """
    blocks = work.layers * _parts_of_a_layer(work, machine)
    of_node = math.ceil(work.candidates / machine.nodes)
    at_once = int(FOR_ACTIVATIONS * machine.host_bytes / work.waiting_bytes)
    if not at_once:
        raise ValueError(f"{machine.name}: one candidate's activations take {work.waiting_bytes:.2g} bytes")
    passes = math.ceil(of_node / at_once)
    of_gpu = of_node / passes / machine.gpus
    block = work.experts * work.model_bytes / blocks
    rate = min(machine.disk_rate, (machine.shared_rate or math.inf) / machine.nodes)
    moved = block + 2 * of_gpu * work.waiting_bytes
    merged = (work.experts + 1) * work.model_bytes / blocks / machine.gpu_rate
    forward = 2 * work.parameters / blocks * work.tokens / machine.flops
    step = {"disk": block / rate, "link": moved / machine.link_rate, "GPU": of_gpu * (merged + forward)}
    steps = passes * blocks
    seconds = run_steps(list(step.values()), steps)
    return Prediction(
        blocks=blocks,
        passes=passes,
        read_bytes=block * steps * machine.nodes,
        moved_bytes=moved * steps * machine.nodes * machine.gpus,
        busy_s={part: each * steps for part, each in step.items()},
        seconds=seconds,
        gpu_hours=seconds / 3600 * machine.nodes * machine.gpus,
    )


def _parts_of_a_layer(work: Work, machine: Machine) -> int:
    # As few as let two blocks of all experts and two merged ones lie on the GPU, beside room to run.
    copies = 2 * work.experts + 2
    room = machine.gpu_bytes * (1 - ROOM_TO_RUN)
    return math.ceil(copies * work.model_bytes / work.layers / room)


def run_steps(durations: list[float], steps: int, ahead: int = 2) -> float:
    """Let steps go through parts in turn: a part waits for the one before it, and for room at the one after.

    Args:
        durations: Seconds a step, by part.
        steps: How many.
        ahead: Steps that fit between two parts.

    Returns:
        When the last step leaves the last part.
    """
    ends = [[0.0] * len(durations) for _ in range(ahead)]  # of the last steps, oldest first
    for _ in range(steps):
        now: list[float] = []
        for part, takes in enumerate(durations):
            before = now[part - 1] if part else 0.0
            room = ends[0][part + 1] if part + 1 < len(durations) else 0.0
            now.append(max(before, ends[-1][part], room) + takes)
        ends = [*ends[1:], now]
    return ends[-1][-1]


def merged_one_by_one(work: Work, disk_rate: float) -> tuple[float, float, float]:
    """Bytes read and written, and seconds, of merging each candidate to disk and loading it again."""
    read = work.candidates * (work.experts + 1) * work.model_bytes
    written = work.candidates * work.model_bytes
    return read, written, (read + written) / disk_rate


def trained_gpu_hours(work: Work, tokens: float, flops: float) -> float:
    """GPU hours of training on every candidate's mixture: 6 P operations a token."""
    return work.candidates * 6 * work.parameters * tokens / flops / 3600


def plan(work: Work) -> None:
    """Print what each machine takes."""
    print(f"{work}\n")
    read, written, seconds = merged_one_by_one(work, 25 * GB)
    print(
        f"merged to disk one by one: {read / TB:.0f} TB read, {written / TB:.0f} TB written, "
        f"{seconds / 3600:.0f} h of disks at 25 GB/s"
    )
    print(f"trained on 1e9 tokens each: {trained_gpu_hours(work, 1e9, 400e12):.0f} GPU hours\n")
    print("| machine | blocks | passes | read TB | moved TB |", end="")
    print(" disk h | link h | GPU h | hours | GPU hours | binds |")
    print("| --- " * 11 + "|")
    for machine in MACHINES:
        found = predict(work, machine)
        hours = [found.busy_s[part] / 3600 for part in ("disk", "link", "GPU")]
        cells = [machine.name, found.blocks, found.passes, f"{found.read_bytes / TB:.1f}"]
        cells += [f"{found.moved_bytes / TB:.0f}", *(f"{each:.2f}" for each in hours)]
        cells += [f"{found.seconds / 3600:.2f}", f"{found.gpu_hours:.1f}", found.binds]
        print("| " + " | ".join(map(str, cells)) + " |")


def check(folder: Path) -> None:
    """Merge and score small models, and print what was counted beside what the arithmetic says."""
    import numpy as np
    import torch
    from evaluate_streamed import CONTEXT, text_task
    from models import make

    import m2m
    from m2m import Checkpoint
    from m2m.scoring import StreamedWalk
    from m2m.scoring.live.huggingface import HuggingFaceFolder

    experts = 4
    paths = make(folder / "models", experts, 4, 128, 1024, torch.float32)
    size = sum(tensor.nbytes for tensor in Checkpoint(paths[1]).tensors.values())
    work = Work(size / 4, 4, 128, experts, bytes_each=4)
    print(f"N = {experts} experts of {size} bytes\n")
    print("| what | predicted read | counted | Linux | predicted written | counted | Linux |")
    print("| --- " * 7 + "|")
    models = [{"model": str(path), "parameters": {"weight": 0.25}} for path in paths[1:]]
    recipe = {"merge_method": "linear", "models": models}
    m2m.merge(recipe, folder / "merged-warm")  # what is imported is not read a second time
    for candidates in (1, 4):
        rows = np.random.default_rng(0).dirichlet(np.ones(experts), size=candidates)
        table = {f"c{m}": row.tolist() for m, row in enumerate(rows)} if candidates > 1 else None
        before = _moved_so_far()
        report = m2m.merge(recipe, folder / f"merged-{candidates}", candidates=table)
        linux = [after - start for after, start in zip(_moved_so_far(), before, strict=True)]
        wanted = experts * work.model_bytes, candidates * work.model_bytes
        _row(f"merge, M = {candidates}", wanted, (report.read_bytes, report.written_bytes), linux)
    warm = False
    for passes in (1, 1, 2):
        rows = np.random.default_rng(0).dirichlet(np.ones(experts), size=4)
        base, *opened = [Checkpoint(path) for path in paths]
        before = _moved_so_far()
        walk = StreamedWalk(
            HuggingFaceFolder(paths[0], CONTEXT).build_empty, base, opened, rows, [text_task(256)],
            memory=2**26, passes=passes,
        )  # fmt: skip
        for _ in walk:
            pass
        if not warm:  # that one imported
            warm = True
            continue
        linux = [after - start for after, start in zip(_moved_so_far(), before, strict=True)]
        assert walk.counts.passes == passes, walk.counts
        counted = walk.counts.bytes_read, walk.counts.bytes_spilled
        _row(f"streamed, M = 4, passes: {passes}", (passes * experts * size, 0), counted, linux)


def _row(what: str, wanted: tuple[float, float], counted: tuple[int, int], linux: list[int]) -> None:
    for count, want in zip(counted, wanted, strict=True):
        assert math.isclose(count, want, rel_tol=0.01), what
    cells = [f"{wanted[0]:.0f}", counted[0], linux[0], f"{wanted[1]:.0f}", counted[1], linux[1]]
    print("| " + " | ".join(map(str, [what, *cells])) + " |", flush=True)


def _moved_so_far() -> tuple[int, int]:
    # Bytes through read() and write(), the page cache's too.
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


def main() -> None:
    """Plan, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    planning = commands.add_parser("plan")
    for option in ("tokens", "candidates", "experts"):
        planning.add_argument(f"--{option}", type=int, default=getattr(Work, option))
    commands.add_parser("check").add_argument("folder", type=Path)
    args = vars(parser.parse_args())
    if args.pop("command") == "check":
        check(args["folder"])
    else:
        plan(Work(**args))


if __name__ == "__main__":
    main()
