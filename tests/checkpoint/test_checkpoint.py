"""Checkpoints: what is saved comes back bit by bit, in other tools too; what is broken is refused."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2m.checkpoint import Checkpoint, align, save, verify
from m2m.checkpoint.checks import check_ties
from m2m.checkpoint.writer import Entry, plan_layout
from m2m.errors import CheckpointError, RunFolderError

STATE = {
    "h.0.w": torch.linspace(-2, 2, 15).reshape(3, 5).bfloat16(),
    "h.1.w": torch.linspace(-1, 1, 7).half(),
    "norm": torch.linspace(0, 1, 4, dtype=torch.float64),
    "steps": torch.tensor([1, 2, 3]),
    "mask": torch.tensor([True, False]),
    "scale": torch.tensor(0.5),
    "none": torch.empty(0, 4),
}


def assert_same_state(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor), name


@pytest.mark.parametrize("shard_size", [None, 40])
def test_what_is_saved_comes_back(tmp_path: Path, shard_size: int | None) -> None:
    folder = save(STATE, tmp_path / "deep" / "model", {"note": "ü"}, shard_size=shard_size)
    checkpoint = Checkpoint(folder)
    assert_same_state(checkpoint.state(), STATE)
    assert checkpoint.metadata["note"] == "ü"
    assert (len(checkpoint.files) > 1) == (shard_size is not None)
    theirs: dict[str, torch.Tensor] = {}
    for file in checkpoint.files:
        theirs |= safetensors.torch.load_file(file)
    assert_same_state(theirs, STATE)
    assert sorted(path.name for path in tmp_path.glob("deep/*")) == ["model"]


def test_a_file_of_another_writer_is_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(STATE, tmp_path / "theirs.safetensors")
    assert_same_state(Checkpoint(tmp_path / "theirs.safetensors").state(), STATE)


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    shared = torch.ones(3)
    folder = save({"embed": shared, "head": shared, "other": torch.ones(3)}, tmp_path / "m")
    checkpoint = Checkpoint(folder)
    assert set(checkpoint.names) == {"embed", "other"}
    state = checkpoint.state()
    assert state["head"] is state["embed"]
    assert state["other"] is not state["embed"]
    assert torch.equal(checkpoint.read("head"), shared)


@pytest.mark.parametrize(
    ("tied", "message"),
    [
        ('{"b": "a"}', "calls 'b' another name of 'a', but it is stored itself"),
        ('{"a": "a"}', "calls 'a' another name of 'a', but it is stored itself"),
        ('{"a": "b", "b": "a"}', "but it is stored itself"),
        ('{"c": "d", "d": "a"}', "names tensors that are not stored"),  # an alias of an alias
        ('{"c": "d", "d": "c"}', "names tensors that are not stored"),
        ('{"c": "a", "c": "b"}', "is not JSON: the name 'c' occurs twice"),
        ('{"c": ["a"]}', "names tensors that are not stored"),
        ('["a"]', "names tensors that are not stored"),
        ("{", "is not JSON"),
    ],
)
def test_tied_names_that_say_no_one_thing(tmp_path: Path, tied: str, message: str) -> None:
    path = tmp_path / "model.safetensors"
    state = {"a": torch.ones(2), "b": torch.zeros(2)}
    safetensors.torch.save_file(state, path, metadata={"m2m.tied": tied})
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(path).state()


def test_two_names_of_one_tensor_both_count(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path, metadata={"m2m.tied": '{"b": "a", "c": "a"}'})
    assert set(Checkpoint(path).state()) == {"a", "b", "c"}


def test_files_that_tie_differently(tmp_path: Path) -> None:
    for number, tied in enumerate(('{"c": "a0"}', '{"c": "a1"}'), start=1):
        safetensors.torch.save_file(
            {f"a{number - 1}": torch.ones(2)},
            tmp_path / f"model-0000{number}-of-00002.safetensors",
            metadata={"m2m.tied": tied},
        )
    weight_map = {f"a{n}": f"model-0000{n + 1}-of-00002.safetensors" for n in range(2)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"its files differ in the metadata 'm2m.tied'"):
        _ = Checkpoint(tmp_path).tied


@pytest.mark.parametrize(
    "config", ['{"tie_word_embeddings": true}', '{"tie_word_embeddings": false}', "{}", None]
)
@pytest.mark.parametrize("equal", [True, False])
def test_a_configuration_that_ties_what_differs(tmp_path: Path, config: str | None, equal: bool) -> None:
    embedding = torch.arange(12.0).reshape(4, 3)
    state = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding + (0 if equal else 1)}
    save(state, tmp_path / "m")
    if config is not None:
        (tmp_path / "m" / "config.json").write_text(config)
    if config and "true" in config and not equal:
        with pytest.raises(CheckpointError, match=r"embed_tokens.weight' and 'lm_head.weight' are both"):
            check_ties(Checkpoint(tmp_path / "m"))
    else:
        check_ties(Checkpoint(tmp_path / "m"))


def test_a_pickled_checkpoint_is_read_without_running_it(tmp_path: Path) -> None:
    floats = {name: tensor for name, tensor in STATE.items() if tensor.numel()}
    path = tmp_path / "pytorch_model.bin"
    torch.save(floats | {"part": floats["norm"][1:3]}, path)
    assert_same_state(Checkpoint(tmp_path).state(), floats | {"part": floats["norm"][1:3]})
    torch.save({"a": Path("/")}, path)
    with pytest.raises(CheckpointError, match="weights_only"):
        _ = Checkpoint(tmp_path).tensors
    for content, message in [
        (b"not a zip", r"not a file of torch.save"),
        (b"", "is empty"),
        (b"PK\3\4", "cut"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            _ = Checkpoint(tmp_path).tensors
    torch.save(floats, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"is not a zip archive, as torch.save writes since 1.6"):
        _ = Checkpoint(tmp_path).tensors
    torch.save({"a": torch.ones(2, 3).t()}, path)
    with pytest.raises(CheckpointError, match="'a' is stored transposed"):
        _ = Checkpoint(tmp_path).tensors


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12), shard=st.none() | st.integers(1, 60))
def test_a_layout_covers_every_shard_without_holes(sizes: list[int], shard: int | None) -> None:
    entries = [Entry(f"t{i}", ("F32", "BF16", "F64")[i % 3], (size,)) for i, size in enumerate(sizes)]
    layout = plan_layout(entries, {"k": "v"}, shard)
    nbytes = {entry.name: entry.nbytes for entry in entries}
    for part in layout.shards:
        position = len(part.header)
        assert position % 64 == 0
        for name, offset in part.offsets.items():
            assert offset == position
            position += nbytes[name]
        assert position == part.nbytes
        assert shard is None or len(part.offsets) == 1 or position - len(part.header) <= shard
    assert sorted(name for part in layout.shards for name in part.offsets) == sorted(nbytes)
    assert (layout.index is None) == (len(layout.shards) == 1)


def sharded(tmp_path: Path) -> Path:
    return save({"a": torch.ones(4), "b": torch.zeros(4)}, tmp_path / "m", shard_size=16)


def edit_index(folder: Path, **changes: object) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_bytes())
    index["weight_map"] |= changes
    path.write_text(json.dumps(index))


@pytest.mark.parametrize("escape", ["../x.safetensors", "/etc/passwd", "a\\b", "", "x/../../y", "a\0b"])
def test_an_index_cannot_point_outside(tmp_path: Path, escape: str) -> None:
    folder = sharded(tmp_path)
    edit_index(folder, a=escape)
    with pytest.raises(CheckpointError, match="not a file name inside"):
        Checkpoint(folder)


def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    edit_index(folder, c="model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="'c' is in the index only"):
        _ = Checkpoint(folder).tensors
    edit_index(folder, c="model-00003-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"shard 'model-00003-of-00002\.safetensors' is missing"):
        Checkpoint(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(CheckpointError, match="weight_map"):
        Checkpoint(folder)


def test_a_tensor_in_the_wrong_shard_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    edit_index(folder, a="model-00002-of-00002.safetensors", b="model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="the index says"):
        _ = Checkpoint(folder).tensors


def test_a_stale_second_checkpoint_in_the_folder_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="stale"):
        Checkpoint(folder)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder"):
        Checkpoint(tmp_path / "none")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        Checkpoint(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"")
    with pytest.raises(CheckpointError, match="wanted a folder"):
        Checkpoint(tmp_path / "x.gguf")


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    folder = save({"a": torch.ones(100)}, tmp_path / "m")
    checkpoint = Checkpoint(folder)
    assert checkpoint.names == ("a",)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="shrank: tensor 'a'"):
        checkpoint.read("a")


def test_nothing_is_written_over_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "precious").touch()
    with pytest.raises(RunFolderError, match="exists already"):
        save(STATE, tmp_path / "m")
    with pytest.raises(CheckpointError, match="unknown dtype"):
        save({"a": torch.ones(2), "b": torch.ones(2, dtype=torch.complex128)}, tmp_path / "n")
    with pytest.raises(CheckpointError, match="no tensors"):
        save({}, tmp_path / "n")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ({"a": torch.ones(2)}, "lacks tensors of .*'b'"),
        ({"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(1)}, "has more than .*'c'"),
        ({"a": torch.ones(2), "b": torch.ones(4)}, r"tensor 'b' has shape \[4\], wanted \[3\]"),
        ({"a": torch.ones(2), "b": torch.ones(3).half()}, "tensor 'b' is F16, wanted F32"),
        ({"a": torch.ones(2), "b": torch.ones(3, dtype=torch.int32)}, "tensor 'b' is I32, wanted F32"),
    ],
)
def test_experts_that_do_not_fit_are_named(
    tmp_path: Path, expert: dict[str, torch.Tensor], message: str
) -> None:
    base = Checkpoint(save({"a": torch.ones(2), "b": torch.ones(3)}, tmp_path / "base"))
    wrong = Checkpoint(save(expert, tmp_path / "expert"))
    assert align(base, [base]).models == (base,)
    with pytest.raises(CheckpointError, match=message) as caught:
        align(base, [base, wrong], mixed_floats=False)
    assert str(tmp_path / "expert") in str(caught.value)
    if "F16" in message:
        assert align(base, [wrong]).models == (wrong,)


def test_side_files_travel_along(tmp_path: Path) -> None:
    donor = save(STATE, tmp_path / "donor")
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "LICENSE", "README.md", "notes.txt"):
        (donor / name).write_text("{}")
    copy = save(STATE, tmp_path / "copy", side_files_from=donor)
    assert {path.name for path in copy.iterdir()} == {
        "config.json", "tokenizer.json", "chat_template.jinja", "LICENSE", "notes.txt",
        "model.safetensors", "manifest.json",
    }  # fmt: skip


def test_a_side_file_that_leads_to_nothing_is_named(tmp_path: Path) -> None:
    donor = save(STATE, tmp_path / "donor")
    (donor / "notes.txt").symlink_to("nowhere")  # nothing of the model's
    assert Checkpoint(donor).side_files == {}
    (donor / "tokenizer.json").symlink_to("../blobs/1f2e")
    with pytest.raises(CheckpointError, match=r"tokenizer.json: is a link to ../blobs/1f2e, which is not"):
        save(STATE, tmp_path / "copy", side_files_from=donor)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_side_file_that_is_no_file_is_named(make: Callable[[Path], None], tmp_path: Path) -> None:
    donor = save(STATE, tmp_path / "donor")
    (donor / "tokenizer").mkdir()  # a pipeline's part, not a model's file
    assert Checkpoint(donor).side_files == {}
    make(donor / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"tokenizer.json: is no file, though"):
        save(STATE, tmp_path / "copy", side_files_from=donor)
    assert not (tmp_path / "copy").exists()


def test_verify_finds_every_change(tmp_path: Path) -> None:
    folder = save(STATE, tmp_path / "m", shard_size=40)
    assert verify(folder).files == len(list(folder.iterdir())) - 1
    shards = sorted(folder.glob("*.safetensors"))
    content = bytearray(shards[0].read_bytes())
    content[-1] ^= 1
    shards[0].write_bytes(content)
    shards[1].unlink()
    shards[2].write_bytes(shards[2].read_bytes() + b"x")
    (folder / "new").touch()
    with pytest.raises(CheckpointError) as caught:
        verify(folder)
    for expected in (
        f"{shards[0].name} has changed",
        f"{shards[1].name} is missing",
        "wanted",
        "new is not in",
    ):
        assert expected in str(caught.value)


def test_verify_needs_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        verify(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        verify(tmp_path)
    for text in ("", "[]", '{"files": {"../x": {"bytes": 1, "sha256": ""}}}', '{"files": {"x": 3}}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(CheckpointError, match="is not a manifest"):
            verify(tmp_path)


def test_what_a_killed_process_left_of_a_folder_is_cleared_away(tmp_path: Path) -> None:
    dead, alive, other = (tmp_path / f".{name}.new" for name in ("m.0123abcd", "m.4567abcd", "mm.0123abcd"))
    for folder in (dead, alive, other):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"part")
    descriptor = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        save({"a": torch.ones(1)}, tmp_path / "m")
    finally:
        os.close(descriptor)
    assert {path.name for path in tmp_path.iterdir()} == {"m", alive.name, other.name}


def test_a_checkpoint_without_tensors_is_none(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="holds no tensor"):
        _ = Checkpoint(tmp_path).tensors
    torch.save({}, tmp_path / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(CheckpointError, match="holds no tensor"):
        _ = Checkpoint(tmp_path).tensors
