"""Which files there are at an address: listed, or asked for by name where nothing can be listed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from m2m.checkpoint.remote.address import is_web, last_part, open_filesystem
from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.remote_file import RemoteFile
from m2m.checkpoint.remote.requests import request
from m2m.errors import CheckpointError

#: How the names of single files of weights end.
_FILES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
#: What a web server is asked for, which lists nothing.
_ASKED = (
    "model.safetensors.index.json", "model.safetensors",
    "adapter_config.json", "adapter_model.safetensors",
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json", "preprocessor_config.json",
    "processor_config.json", "modules.json", "LICENSE", "LICENSE.txt",
)  # fmt: skip
_THREADS = 8
#: Folders below the checkpoint's that are listed: a tokenizer's, or a sentence embedder's modules.
_LEVELS = 2


def list_files(url: str) -> dict[str, RemoteFile]:
    """List the files of a checkpoint.

    Args:
        url: Its folder or file.

    Returns:
        Files by their names in the folder; one with an empty name where the address is a file's own.

    Raises:
        CheckpointError: If nothing is there, or no file system reaches it.
        OSError: If it may not be read, or cannot be reached.
    """  # noqa: DOC502 - raised by what is called
    filesystem, path = open_filesystem(url)
    if last_part(url).endswith(_FILES):
        return {"": RemoteFile(url, filesystem, path)}
    if is_web(url):
        found = _ask_for(url, filesystem, _ASKED)
        if not found:
            asked = " and ".join(_ASKED[:2])
            raise CheckpointError(f"{url}: holds no checkpoint: {asked} are not there")
        return found

    def ask() -> Mapping[str, Mapping[str, Any]]:
        filesystem.invalidate_cache(path)
        listed: Mapping[str, Mapping[str, Any]] = filesystem.find(path, maxdepth=_LEVELS, detail=True)
        return listed

    listed = request(ask, url)
    if not listed:
        raise CheckpointError(f"{url}: nothing is there, or nothing that these credentials may see")
    found = {}
    for name, info in listed.items():
        own = name.removeprefix(path.rstrip("/")).lstrip("/")  # nothing is left of a file by itself
        if info.get("type") != "directory" and not name.endswith("/"):
            found[own] = RemoteFile(f"{url}/{own}".rstrip("/"), filesystem, name, info.get("size"))
    return found


def shards_of(url: str, index: Path, found: Mapping[str, RemoteFile]) -> dict[str, RemoteFile]:
    """Ask a web server for the shards that an index names; what else is wrong with it is found later."""
    if not is_web(url):
        return {}
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    plain = [name for name in names if isinstance(name, str) and _is_plain(name) and name not in found]
    return _ask_for(url, open_filesystem(url)[0], sorted(plain))


def _is_plain(name: str) -> bool:
    return name.isprintable() and not {*"/\\:?#"} & {*name} and not name.startswith(".") and len(name) < 256


def _ask_for(url: str, filesystem: Any, names: Iterable[str]) -> dict[str, RemoteFile]:
    found: dict[str, RemoteFile] = {}

    def ask(name: str) -> None:
        address = f"{url}/{quote(name)}"
        with suppress(FileNotFoundError):
            found[name] = RemoteFile(address, filesystem, address)

    with Crew(_THREADS) as crew:
        crew.map(ask, list(names))
    return dict(sorted(found.items()))
