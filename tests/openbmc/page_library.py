# SPDX-License-Identifier: Apache-2.0
"""Platter's own page library as the far end behind bmcweb, within bmcweb's limits.

    with PageLibrary(port, image, workdir) as page:     # image: a path
        ...

web/tools/serve-socket.mjs runs the library and tells where each of its messages ends; here they go
into a WebSocket as they are, neither joined nor cut.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/integration"))

from harness import Program  # noqa: E402
from webui_vue import PATH, TOKEN  # noqa: E402
from ws_client import BINARY, NO_MASK, Closed, WebSocket, frame  # noqa: E402


class PageLibrary:
    def __init__(self, port: int, image: Path, workdir: Path, address: str = "127.0.0.1") -> None:
        self.longest = 0  # bytes of a message that the library has sent
        self.closed: tuple[int, str] | None = None
        path = workdir / "library.sock"
        self._program = Program("serve-socket.mjs", [
            "node", TOP / "web/tools/serve-socket.mjs", "--listen", f"unix:{path}", "--file", image,
            "--bmcweb", "--messages"], workdir / "library.log")
        self._program.wait_for("listening", 30)
        self._library = socket.socket(socket.AF_UNIX)
        self._library.connect(str(path))
        self._page = WebSocket(port, PATH, address, Sec_WebSocket_Protocol=TOKEN)
        assert self._page.status == 101 and self._page.headers["sec-websocket-protocol"] == TOKEN
        self._page.socket.settimeout(None)
        self._threads = [threading.Thread(target=run, daemon=True)
                         for run in (self._to_page, self._to_library)]

    def __enter__(self) -> PageLibrary:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """As when its tab is closed."""
        self._page.socket.shutdown(socket.SHUT_RDWR)
        self._library.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._page.close()
        self._library.close()
        self._program.stop()

    def _to_page(self) -> None:
        with self._library.makefile("rb") as library:
            try:
                while head := library.read(4):
                    length = struct.unpack(">I", head)[0]
                    self.longest = max(self.longest, length)
                    self._page.send(frame(BINARY, library.read(length), mask=NO_MASK))
            except OSError:
                pass  # the page is closed; the other thread knows why

    def _to_library(self) -> None:
        try:
            while True:
                opcode, payload = self._page.message()
                if opcode == BINARY:
                    self._library.sendall(payload)
        except Closed as closed:
            self.closed = closed.code, closed.reason
        except OSError as error:
            self.closed = 1006, str(error)
