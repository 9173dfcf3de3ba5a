# SPDX-License-Identifier: Apache-2.0
"""The demo's own small HTTP server, on the loopback: its page, Debian's noVNC, and what the page
asks for while it runs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "demo"
NOVNC = Path("/usr/share/novnc")


class DemoServer:
    """Serves until close(). `start` is told once, `state` is asked each second."""

    def __init__(
        self,
        port: int,
        start: dict[str, str],
        state: Callable[[], dict],
        reset: Callable[[], None],
    ) -> None:
        answers = {"/start.json": lambda: start, "/state.json": state}
        handler = partial(_Handler, answers=answers, reset=reset, directory=str(PAGE))
        try:
            self._server = _Server(("127.0.0.1", port), handler)
        except OSError:  # the port is taken: any will do
            self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """A browser that left in the middle of an answer is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(
        self,
        *arguments,
        answers: dict[str, Callable[[], dict]],
        reset: Callable[[], None],
        directory: str,
    ) -> None:
        self._answers = answers
        self._reset = reset
        super().__init__(*arguments, directory=directory)

    def do_GET(self) -> None:
        answer = self._answers.get(self.path)
        if answer:
            self._say(answer())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        # Another site's page may not press the button: it cannot claim our origin.
        if self.path != "/reset" or self.headers["Origin"] != f"http://{self.headers['Host']}":
            self.send_error(403)
            return
        self._reset()
        self._say({})

    def translate_path(self, path: str) -> str:
        if path.startswith("/novnc/"):
            self.directory, path = str(NOVNC), path.removeprefix("/novnc")
        return super().translate_path(path)

    def _say(self, answer: dict) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The terminal is for the person."""
