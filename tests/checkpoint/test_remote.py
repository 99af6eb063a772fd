"""Checkpoints behind URLs open like folders; what cannot be reached is one line that says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from helpers.range_server import RangeServer, serving

from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.remote.address import remote_url, with_revision
from m2m.checkpoint.remote.session import remote_session
from m2m.errors import CheckpointError
from m2m.merging.describe import info

STATE = {"embed.weight": torch.arange(40.0).reshape(8, 5), "head.weight": torch.ones(3, 5)}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2M_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("m2m.checkpoint.remote.requests.PAUSES", (0.0, 0.0))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    folder = save(STATE, tmp_path / "models" / "tiny", shard_size="100B")
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    (folder / "tokenizer.json").write_text("{}")
    with serving(tmp_path / "models") as served:
        yield served


@pytest.fixture
def mirrors() -> Iterator[None]:
    with remote_session():
        yield


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/a/", "s3://bucket/a"),
        (Path("s3://bucket/a"), "s3://bucket/a"),
        ("HF://org/name@rev/x", "hf://org/name@rev/x"),
        ("models/x", None),
        ("/models/x", None),
        ("c:/x", None),
        ("org/name", None),
    ],
)
def test_what_is_an_address(path: str | Path, url: str | None) -> None:
    assert remote_url(path) == url


def test_a_folder_that_is_called_so_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert remote_url("s3://bucket") is None


def test_revisions_are_the_hubs() -> None:
    assert with_revision("hf://org/name/sub", "refs/pr/1") == "hf://org/name@refs%2Fpr%2F1/sub"
    with pytest.raises(CheckpointError, match="only hf:// has revisions"):
        with_revision("s3://bucket/model", "main")
    with pytest.raises(CheckpointError, match="names a revision itself"):
        with_revision("hf://org/name@a", "b")


@pytest.mark.usefixtures("mirrors")
def test_opens_and_reads_like_a_folder(server: RangeServer, tmp_path: Path) -> None:
    local, far = Checkpoint(tmp_path / "models" / "tiny"), Checkpoint(f"{server.url}/tiny")
    assert far.config == {"model_type": "tiny"}
    assert [*far.side_files] == ["config.json", "tokenizer.json"]
    assert {name: info._replace(file=Path()) for name, info in far.tensors.items()} == {
        name: info._replace(file=Path()) for name, info in local.tensors.items()
    }
    assert server.bytes_of(".safetensors") == sum(  # headers, and a byte each to see that ranges are served
        min(info.offset for info in local.tensors.values() if info.file == file) + 1 for file in local.files
    )
    assert all(torch.equal(far.read(name), tensor) for name, tensor in STATE.items())


@pytest.mark.usefixtures("mirrors")
def test_a_file_by_itself(server: RangeServer) -> None:
    far = Checkpoint(f"{server.url}/tiny/model-00001-of-00002.safetensors")
    assert torch.equal(far.state()["embed.weight"], STATE["embed.weight"])


@pytest.mark.usefixtures("mirrors")
def test_a_listed_folder(tmp_path: Path) -> None:
    folder = save(STATE, tmp_path / "listed")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/listed", recursive=True)
    far = Checkpoint(Path("memory://listed"))  # a slash is lost on the way
    assert [*far.side_files] == ["1_Pooling/config.json"]
    assert torch.equal(far.state()["head.weight"], STATE["head.weight"])


def test_info_reads_no_weights(server: RangeServer) -> None:
    said = info(f"{server.url}/tiny")
    assert (said.tensors, said.parameters) == (2, 55)
    assert 0 < server.bytes_of(".safetensors") < said.nbytes + 1000


def test_mirrors_end_with_their_session(server: RangeServer, tmp_path: Path) -> None:
    with remote_session():
        mirror = Checkpoint(f"{server.url}/tiny").path
        assert Checkpoint(f"{server.url}/tiny").path == mirror
        assert mirror.is_dir()
    assert not [*(tmp_path / "cache").iterdir()]


def test_who_knows_nothing_of_mirrors_gets_a_copy(server: RangeServer, tmp_path: Path) -> None:
    far = Checkpoint(f"{server.url}/tiny")
    assert all(file.read_bytes() == (tmp_path / "models/tiny" / file.name).read_bytes() for file in far.files)
    server.served.clear()
    assert Checkpoint(f"{server.url}/tiny").path == far.path
    assert not server.served
    file = tmp_path / "models" / "tiny" / far.files[0].name
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert Checkpoint(f"{server.url}/tiny").files[0].read_bytes() == file.read_bytes()


def test_a_copy_is_bounded(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2M_REMOTE_CACHE_SIZE", "1kB")
    save({"w": torch.ones(1000)}, server.folder / "large")
    with pytest.raises(CheckpointError, match=r"/large: must be here whole.* raise M2M_REMOTE_CACHE_SIZE"):
        Checkpoint(f"{server.url}/large")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("{url}/nothing", "holds no checkpoint: model.safetensors.index.json and model.safetensors are not"),
        ("{url}/tiny/no.safetensors", r"tiny/no.safetensors: is not there$"),
        ("memory://nothing/here", "nothing is there, or nothing that these credentials may see"),
        ("nonsense://x/y", r"nonsense://x/y: nothing is known of nonsense://; wanted s3"),
        ("file:///models/tiny", r"file:///models/tiny: is a local path: write it without file://"),
        (
            "http://127.0.0.1:9/tiny",
            r"http://127.0.0.1:9/tiny/\S+: the connection failed 3 times, at last: .*Connect",
        ),
    ],
)
def test_what_is_not_there(server: RangeServer, address: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        Checkpoint(address.format(url=server.url))


def test_no_permission(server: RangeServer) -> None:
    server.forbidden = "/config.json"
    with pytest.raises(
        CheckpointError,
        match=r"/tiny/config.json: no permission \(the server says 403\): check the credentials",
    ):
        Checkpoint(f"{server.url}/tiny")


@pytest.mark.usefixtures("mirrors")
def test_a_server_without_ranges(server: RangeServer) -> None:
    server.ranges = False
    with pytest.raises(CheckpointError, match=r"gives whole files only, where parts are needed"):
        _ = Checkpoint(f"{server.url}/tiny").tensors


@pytest.mark.usefixtures("mirrors")
def test_a_cut_connection_is_made_again(server: RangeServer) -> None:
    far = Checkpoint(f"{server.url}/tiny")
    _ = far.tensors
    server.cuts = 2
    assert torch.equal(far.read("embed.weight"), STATE["embed.weight"])
    server.cuts = 3
    with pytest.raises(CheckpointError, match=r"the connection failed 3 times"):
        far.read("embed.weight")


@pytest.mark.usefixtures("mirrors")
def test_changed_between_header_and_body(server: RangeServer, tmp_path: Path) -> None:
    far = Checkpoint(f"{server.url}/tiny")
    _ = far.tensors
    index = json.loads((tmp_path / "models/tiny/model.safetensors.index.json").read_text())
    file = tmp_path / "models" / "tiny" / index["weight_map"]["embed.weight"]
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(CheckpointError, match=rf"^{server.url}/tiny/{file.name}: changed while it was used"):
        far.state()


@pytest.mark.usefixtures("mirrors")
def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/pickled/pytorch_model.bin", b"\x80\x02")
    with pytest.raises(CheckpointError, match="own format, which cannot be read in parts from afar"):
        _ = Checkpoint("memory://pickled").tensors


@pytest.mark.parametrize(
    ("missing", "address", "said"),
    [
        ("fsspec", "s3://bucket/model", "pip install 'm2m[remote]' s3fs"),
        ("s3fs", "s3://bucket/model", "the package of s3:// is missing: pip install s3fs"),
        ("gcsfs", "gs://bucket/model", "the package of gs:// is missing: pip install gcsfs"),
        ("huggingface_hub", "hf://org/name", "the package of hf:// is missing: pip install huggingface_hub"),
        ("aiohttp", "https://host/model", "the package of https:// is missing: pip install aiohttp"),
    ],
)
def test_a_missing_package_is_named(missing: str, address: str, said: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from m2m.cli import main\n"
        f"sys.exit(main(['info', {address!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
