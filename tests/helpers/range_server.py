"""A web server of a folder, as it is, without ranges, forbidding, or cutting connections."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class RangeServer:
    """How a folder is served, and what was asked for.

    Attributes:
        folder: What is served.
        url: Where.
        ranges: Whether parts of files are served.
        forbidden: How names of files end that nobody may read.
        cuts: So many answers to come are cut off in the middle.
        served: Ranges that were served whole: name, first byte, byte after the last.
    """

    folder: Path
    url: str = ""
    ranges: bool = True
    forbidden: str = "\0"
    cuts: int = 0
    served: list[tuple[str, int, int]] = field(default_factory=list)

    def bytes_of(self, ending: str) -> int:
        """Bytes that were served of files whose names end so."""
        return sum(end - begin for name, begin, end in self.served if name.endswith(ending))


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder on this machine until the end of the block."""
    served = RangeServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            name = unquote(self.path.lstrip("/"))
            file = folder / name
            if name.endswith(served.forbidden):
                return self._empty(403)
            if not file.is_file():
                return self._empty(404)
            content, status = file.read_bytes(), 200
            stamp = f'"{file.stat().st_mtime_ns}-{len(content)}"'
            begin, end = 0, len(content)
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if served.ranges and wanted:
                begin, end, status = int(wanted[1]), min(int(wanted[2]) + 1, end), 206
            self.send_response(status)
            self.send_header("Content-Length", str(end - begin))
            self.send_header("ETag", stamp)
            if status == 206:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
            self.end_headers()
            if not body:
                return None
            if served.cuts > 0 and end - begin > 1:
                served.cuts -= 1
                self.wfile.write(content[begin : (begin + end) // 2])
                self.close_connection = True
                self.connection.close()
                return None
            served.served.append((name, begin, end))
            self.wfile.write(content[begin:end])
            return None

        def _empty(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # clients that go away are part of the game

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
