# SPDX-License-Identifier: Apache-2.0
"""A far end that comes back as the page does: when its line is lost it connects anew with the token
of its session, again and again, until the device or the test says that it is over.

    with Returning(line.port, image) as page:
        page.wait_state("serving")
        line.cut(5)
        page.wait_returned()

What it serves, and how oddly, is far_end.FarEnd's business (tests/integration): give a subclass.
"""

from __future__ import annotations

import sys
import threading
import time

from .build import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests/integration"))

from far_end import FarEnd  # noqa: E402
from ws_client import Closed  # noqa: E402

# The page's own figures: how long the device may be silent, and how long a try may take.
SILENCE = 6.0
TRY_LIMIT = 4.0
PAUSE = 0.3
# Goodbyes after which there is nothing to come back to.
FINAL = (1000, 1001, 4001, 4002, 4005, 4006)


class Connected(FarEnd):
    """One connection of it."""

    says_alive = True
    try_limit = TRY_LIMIT


class Returning:
    """`far_end` makes one connection: a subclass of Connected. `port` may be changed at any time,
    and is where the next connection goes to."""

    def __init__(
        self, port: int, image: object, far_end: type[Connected] = Connected, **query: object
    ) -> None:
        self.port = port
        self.token: str | None = None
        self.ends: list[Connected] = []  # every connection that was made, the latest last
        self.closed: tuple[int, str] | None = None  # how it was over
        self._image = image
        self._far_end = far_end
        self._query = query
        self._leaving = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Returning:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._leaving = True
        if self.ends:
            self.ends[-1].disconnect()
        if kind is None:
            self._thread.join(30)
            assert not self._thread.is_alive(), "the device has not closed the WebSocket"
        assert self._error is None, self._error

    def disconnect(self) -> None:
        """What the page's Disconnect does; waits for the end."""
        self.__exit__(None)

    def wait_state(self, state: str, timeout: float = 30) -> None:
        """Waits until the present connection's last word was this state."""
        self._wait(lambda: self._state() == state, state, timeout)

    def count(self) -> int:
        """How many connections have come to serve."""
        return sum(any(word["state"] == "serving" for word in end.states) for end in self.ends)

    def wait_count(self, count: int, timeout: float = 60) -> None:
        """Waits until so many connections have come to serve, the present one among them."""
        self._wait(
            lambda: self.count() >= count and self._state() == "serving",
            f"serving for the {count}. time",
            timeout,
        )

    def _state(self) -> str | None:
        end = self.ends[-1] if self.ends else None
        if not end or end.closed or not end.states:
            return None
        return end.states[-1]["state"]

    def _wait(self, is_so, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not is_so():
            assert self._thread.is_alive() or is_so(), f"over: {self.closed} {self._error}"
            assert time.monotonic() < deadline, f"in {timeout} s not {what}: {self.tell()}"
            time.sleep(0.02)

    def tell(self) -> str:
        rows = [f"{end.closed} {[word['state'] for word in end.states][-4:]}" for end in self.ends]
        return f"{len(self.ends)} connections, the last: {rows[-5:]}"

    def _run(self) -> None:
        while not self._leaving:
            query = {**self._query, **({"resume": self.token} if self.token else {})}
            try:
                end = self._far_end(self.port, self._image, **query)
            except (OSError, Closed, AssertionError):
                time.sleep(PAUSE)  # no line yet, or no platterd behind it
                continue
            end.socket.socket.settimeout(SILENCE)
            self.ends.append(end)
            end.thread.start()
            if self._leaving:
                end.disconnect()
            end.thread.join()
            end.socket.close()
            self._error = self._error or end.error
            if end.states:
                self.token = end.states[0].get("token", self.token)
            self.closed = end.closed
            if self._error or end.closed[0] in FINAL:
                return
