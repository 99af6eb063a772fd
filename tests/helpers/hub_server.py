"""A hub on this machine: what its client asks to list and read models, of folders `ORGANISATION/NAME`."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "1a2b3c4d" * 5
_MODEL = r"/api/models/([^/]+/[^/]+)"


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the models of a folder, all at one commit, until the end of the block.

    Args:
        folder: Of folders `ORGANISATION/NAME`.

    Yields:
        The hub's address; the ranges of bytes that were asked for, as `NAME REVISION FILE RANGE`.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            if found := re.fullmatch(rf"{_MODEL}(?:/revision/([^/]+))?", path):
                self._describe(found[1], found[2])
            elif found := re.fullmatch(rf"{_MODEL}/tree/([^/]+)", path):
                files = sorted(file for file in (folder / found[1]).rglob("*") if file.is_file())
                self._answer([_described(file, folder / found[1]) for file in files])
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._give(*found.groups())
            else:
                self._answer({"error": "not found"}, 404)

        def _describe(self, model: str, revision: str | None) -> None:
            if not (folder / model).is_dir():
                self._answer({"error": "Repository not found"}, 404, code="RepoNotFound")
            elif revision not in (None, "main", COMMIT, COMMIT[:8]):
                self._answer({"error": f"Invalid rev id: {revision}"}, 404, code="RevisionNotFound")
            else:
                self._answer({"id": model, "sha": COMMIT, "siblings": [], "tags": [], "private": False})

        def _give(self, model: str, revision: str, name: str) -> None:
            content = (folder / model / name).read_bytes()
            wanted = self.headers.get("Range", "")
            asked.append(f"{model} {revision} {name} {wanted}")
            first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups()  # type: ignore[union-attr]
            part = content[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(part)))
            end = int(first) + len(part) - 1
            self.send_header("Content-Range", f"bytes {first}-{end}/{len(content)}")
            self.end_headers()
            self.wfile.write(part)

        def _answer(self, said: Any, status: int = 200, code: str = "") -> None:
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _described(file: Path, root: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {
        "type": "file", "path": str(file.relative_to(root)), "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }  # fmt: skip
