"""Headers: nothing in a file is believed before it is checked, and whatever is wrong is a CheckpointError."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.checkpoint.header import MAX_HEADER_BYTES, SIZES, read_header
from m2m.errors import CheckpointError


def make_file(table: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


GOOD = make_file(
    {
        "__metadata__": {"format": "pt"},
        "b": entry("BF16", [1, 3], [8, 14]),
        "a": entry(),
        "empty": entry("I64", [0, 5], [8, 8]),
        "scalar": entry("U8", [], [14, 15]),
    },
    bytes(15),
)


def header_of(folder: Path, content: bytes) -> Any:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    return read_header(path)


def test_a_good_header_is_read_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    header = header_of(tmp_path, GOOD)
    assert list(header.tensors) == ["a", "empty", "b", "scalar"]
    assert header.metadata == {"format": "pt"}
    b = header.tensors["b"]
    assert (b.dtype, b.shape, b.nbytes, b.elements) == ("BF16", (1, 3), 6, 3)
    assert b.offset == len(GOOD) - 15 + 8


BAD = {
    "empty file": (b"", "0 bytes are too few"),
    "seven bytes": (bytes(7), "too few"),
    "length beyond the file": (make_file({}, length=3), "is cut off"),
    "huge length": (make_file({}, length=2**63), f"at most {MAX_HEADER_BYTES}"),
    "not JSON": (make_file(b"{nonsense"), "not valid JSON"),
    "not an object": (make_file(b"[1]"), "does not start with"),
    "leading blank": (make_file(b" {}"), "does not start with"),
    "not UTF-8": (make_file(b'{"\xff": 1}'), "not valid JSON"),
    "lone surrogate": (make_file(b'{"\\ud800": 1}'), "not valid JSON"),
    "nested too deep": (make_file(b'{"a":' + b"[" * 200_000), "not valid JSON"),
    "number with too many digits": (make_file(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "name twice": (make_file(b'{"a":1,"a":2}'), "'a' occurs twice"),
    "name twice, once well-formed": (
        make_file(b'{"a":1,"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', bytes(1)),
        "'a' occurs twice",
    ),
    "key twice in a tensor": (
        make_file(b'{"a":{"dtype":"F32","dtype":"U8","shape":[],"data_offsets":[0,1]}}', bytes(1)),
        "'dtype' occurs twice",
    ),
    "key twice in the metadata": (make_file(b'{"__metadata__":{"a":"1","a":"2"}}'), "'a' occurs twice"),
    "metadata twice": (make_file(b'{"__metadata__":{},"__metadata__":{}}'), "'__metadata__' occurs twice"),
    "key of metadata in escapes": (
        make_file(b'{"__metadata__":{"a":"1","\\u0061":"2"}}'),
        "'a' occurs twice",
    ),
    "metadata twice, once first": (
        make_file(b'{"__metadata__":{"a":"1"},"__metadata__":{}}'),
        "'__metadata__' occurs twice",
    ),
    "comma after the metadata": (make_file(b'{"__metadata__":{},}'), "not valid JSON"),
    "nothing after the metadata": (make_file(b'{"__metadata__":{}'), "not valid JSON"),
    "metadata nested too deep": (make_file(b'{"__metadata__":{"a":' + b"[" * 200_000), "not valid JSON"),
    "metadata with a lone surrogate": (make_file(b'{"__metadata__":{"a":"\\ud800"}}'), "not valid JSON"),
    "metadata not text": (make_file({"__metadata__": {"a": 1}}), "__metadata__"),
    "unknown dtype": (make_file({"a": entry("F31")}, bytes(8)), "tensor 'a': unknown dtype 'F31'"),
    "dtype not text": (make_file({"a": entry([1])}, bytes(8)), "unknown dtype"),
    "missing key": (make_file({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "wanted dtype, shape"),
    "no elements, and too large": (
        make_file({"a": {"dtype": "F32", "shape": [0, 7, 2**62], "data_offsets": [0, 0]}}),
        "nothing of that size",
    ),
    "negative size": (make_file({"a": entry(shape=[-2])}, bytes(8)), "bad shape"),
    "boolean size": (make_file({"a": entry(shape=[True])}, bytes(8)), "bad shape"),
    "float size": (make_file({"a": entry(shape=[2.0])}, bytes(8)), "bad shape"),
    "product overflows 64 bits": (
        make_file({"a": entry(shape=[2**62, 2**62, 2**62], offsets=[0, 8])}, bytes(8)),
        "takes",
    ),
    "offset beyond 64 bits": (
        make_file({"a": entry(offsets=[2**64, 2**64 + 8])}, bytes(8)),
        "bad data_offsets",
    ),
    "offsets backwards": (make_file({"a": entry(offsets=[8, 0])}, bytes(8)), "give -8"),
    "three offsets": (make_file({"a": entry(offsets=[0, 4, 8])}, bytes(8)), "bad data_offsets"),
    "length does not fit shape": (make_file({"a": entry(shape=[3])}, bytes(8)), "takes 12 bytes"),
    "past the end": (make_file({"a": entry()}, bytes(7)), "is cut off"),
    "bytes left over": (make_file({"a": entry()}, bytes(9)), "belong to no tensor"),
    "hole at the start": (make_file({"a": entry(offsets=[1, 9])}, bytes(9)), "'a' .* leaves a hole"),
    "hole between": (
        make_file({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
        "'b' .* leaves a hole",
    ),
    "overlap": (make_file({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "'b' .* overlaps"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_header_is_refused_and_the_file_named(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        header_of(tmp_path, content)
    assert "model.safetensors" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}/none: cannot be read")):
        read_header(tmp_path / "none")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    content = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["cut", "flip", "length", "digit", "insert"]))
        at = draw(st.integers(0, max(0, len(content) - 1)))
        if kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "length":
            content[:8] = draw(st.integers(0, 2**64 - 1) | st.integers(0, 400)).to_bytes(8, "little")
        elif content:
            digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
            if kind == "digit" and digits:
                content[draw(st.sampled_from(digits))] = ord(draw(st.sampled_from("0123456789-.e")))
            else:
                content[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


@given(content=mutated())
def test_a_mutated_file_is_refused_or_safe_to_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)
    try:
        header = header_of(folder, content)
    except CheckpointError:
        return
    covered = sorted((tensor.offset, tensor.offset + tensor.nbytes) for tensor in header.tensors.values())
    ends = [end for _, end in covered]
    assert [start for start, _ in covered[1:]] == ends[:-1]
    assert not ends or ends[-1] == len(content)
    assert all(tensor.elements * SIZES[tensor.dtype] == tensor.nbytes for tensor in header.tensors.values())


def test_headers_that_place_tensors_alike_are_parsed_once(tmp_path: Path) -> None:
    notes = [{"format": "pt"}, {"format": "pt", "run": "ünï" * 9}, {}]
    headers = []
    for i, metadata in enumerate(notes):
        table = {"__metadata__": metadata} | {f"t{n}": entry("U8", [1], [n, n + 1]) for n in range(50)}
        path = tmp_path / f"{i}.safetensors"
        path.write_bytes(
            make_file(json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode(), bytes(50))
        )
        headers.append((path, read_header(path)))
    assert len({id(header.table) for _, header in headers}) == 1
    for (path, header), metadata in zip(headers, notes, strict=True):
        assert header.metadata == metadata
        assert {info.file for info in header.tensors.values()} == {path}
        assert header.tensors["t49"].offset == path.stat().st_size - 1
    # Of a file of another length the same words are wrong.
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(headers[0][0].read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut off"):
        read_header(cut)
