"""A trainer outside m2m in plain Python: SGD on linear regression, told by M2M_JOB alone; it imports no m2m.

Options: `--fail NAME` fails on that mixture after it has said why; `--leave KIND` leaves something else;
`--wait FILE` writes its process number there and waits for ever.
"""

import argparse
import json
import math
import os
import struct
import sys
import time
from pathlib import Path

Tensors = dict[str, tuple[str, list[int], list[float]]]
CODES = {"F64": "d", "I64": "q"}


def read(path: Path) -> Tensors:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    found = {}
    for name, about in header.items():
        begin, end = (8 + size + at for at in about["data_offsets"])
        kind = CODES[about["dtype"]]
        found[name] = (
            about["dtype"],
            about["shape"],
            list(struct.unpack(f"<{(end - begin) // 8}{kind}", data[begin:end])),
        )
    return found


def write(path: Path, tensors: Tensors) -> None:
    header, body = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}{CODES[dtype]}", *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(packed)]}
        body += packed
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def descend(theta: list[float], batch: list[dict], rate: float) -> list[float]:
    errors = [math.fsum(t * x for t, x in zip(theta, row["x"], strict=True)) - row["y"] for row in batch]
    gradient = [
        math.fsum(e * row["x"][i] for e, row in zip(errors, batch, strict=True)) / len(batch)
        for i in range(len(theta))
    ]
    return [t - rate * g for t, g in zip(theta, gradient, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fail", default="")
    parser.add_argument("--leave", default="model")
    parser.add_argument("--wait", default="")
    options = parser.parse_args()
    job = json.loads(Path(os.environ["M2M_JOB"]).read_text())
    print("training on", job["name"], flush=True)
    if options.wait:
        Path(options.wait).write_text(str(os.getpid()))
        time.sleep(3600)
    if job["name"] == options.fail:
        sys.exit("out of luck")
    tensors = read(Path(job["base"]) / "model.safetensors")
    rows = [json.loads(line) for line in Path(job["data"]).read_text().splitlines()]
    size = job["recipe"]["batch"]
    assert len(rows) == job["steps"] * size == job["examples"]
    dtype, shape, theta = tensors["theta"]
    for start in range(0, len(rows), size):
        theta = descend(theta, rows[start : start + size], job["recipe"]["learning_rate"])
    tensors["theta"] = (dtype, shape, theta)
    output = Path(job["output"])
    output.mkdir(exist_ok=True)
    if options.leave == "another":
        del tensors["theta"]
    if options.leave != "nothing":
        write(output / "model.safetensors", tensors)


if __name__ == "__main__":
    main()
