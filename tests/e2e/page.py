# SPDX-License-Identifier: Apache-2.0
"""The person in front of Platter's page, for tests in Python: page.mjs with a real browser below.

    with Page(url, Path("some.iso"), "cd") as page:      picks the file and connects
        page.wait_for_state("serving")
        page.disconnect()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

_DRIVER = Path(__file__).resolve().parent / "page.mjs"


class PageError(Exception):
    """The page did not do what was asked of it; the text holds all it said."""


class Page:
    """One browser with one tab. Leaving the context ends it, whatever it is doing."""

    def __init__(
        self, url: str, file: Path, kind: str | None = None, prefix: list[str] | None = None
    ) -> None:
        self._command = [*(prefix or []), "node", str(_DRIVER), "--url", url, "--file", str(file)]
        if kind:
            self._command += ["--kind", kind]
        self._said: list[dict] = []
        self._errors = ""
        self._over = False
        self._begun = 0  # where in `_said` the present session begins
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Page:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the test, which then ends it
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if not process:
            return
        try:
            process.stdin.close()
            process.wait(15)
        except (OSError, subprocess.TimeoutExpired):
            self.kill_browser()
            process.kill()
            process.wait()

    def wait_for_state(self, state: str, timeout: float = 60) -> dict:
        """Waits until the present session is in this state; the driver's line that says so."""
        return self._wait(lambda line: line.get("state") == state, f"state {state}", timeout)

    def wait_until_ended(self, timeout: float = 60) -> dict:
        """Waits for the session's end: its cause, code and reason, and the title and text shown."""
        return self.wait_for_state("ended", timeout)

    def wait_until_refused(self, timeout: float = 60) -> str:
        """Waits until the page refuses the file; the sentence it shows."""
        return self._wait(lambda line: "refused" in line, "a refusal", timeout)["refused"]

    def wait_until_blocked(self, timeout: float = 60) -> str:
        """Waits until the page says that the drive is in use; its words."""
        return self._wait(lambda line: "blocked" in line, "a drive in use", timeout)["blocked"]

    def connect(self) -> None:
        """Connects again, after an end."""
        self._begun = len(self._said)
        self._say("connect")

    def forget(self) -> None:
        """What the page was before does not count for the waits from now on; what it is does."""
        self._begun = len(self._said)
        self._say("state")

    def retry(self) -> None:
        """Presses Try now, while the line is lost."""
        self._say("retry")

    def reload(self) -> None:
        """Loads the page anew, which then waits for its file; what it was counts no more."""
        self._begun = len(self._said)
        self._say("reload")

    def choose_again(self, file: Path) -> None:
        """Chooses a file for the drive that waits after a reload."""
        self._begun = len(self._said)
        self._say(f"again {file}")

    def wait_until_wrong(self, timeout: float = 60) -> dict:
        """Waits until a page that waits for its file says why what it got is not that."""
        return self._wait(
            lambda line: line.get("state") == "waiting" and (line["wrong"] or line["title"]),
            "a file refused",
            timeout,
        )

    def remove(self, timeout: float = 60) -> dict:
        """Gives up the drive that waits after a reload, and waits for the end."""
        self._say("remove")
        return self.wait_until_ended(timeout)

    def disconnect(self, timeout: float = 60) -> dict:
        """Presses Disconnect and waits for the end."""
        self._say("disconnect")
        return self.wait_until_ended(timeout)

    def screenshot(self, path: Path) -> None:
        self._say(f"screenshot {path}")
        self._wait(lambda line: "screenshot" in line, "a screenshot", 30)

    def close_tab(self) -> None:
        self._say("close-tab")
        self._wait(lambda line: "closed" in line, "the closed tab", 30)

    def kill_browser(self) -> None:
        """SIGKILL to every process of the browser, as when its computer loses power."""
        assert self._process
        for child in _descendants(self._process.pid):
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it went with its parent

    def _say(self, line: str) -> None:
        assert self._process and self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PageError(f"the page has gone: {self._tell()}") from error

    def _wait(self, is_it: Callable[[dict], bool], what: str, timeout: float) -> dict:
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self._said[self._begun :]:
                    if is_it(line):
                        return line
                left = deadline - time.monotonic()
                if self._over or left <= 0:
                    raise PageError(f"the page came to no {what}: {self._tell()}")
                self._changed.wait(left)

    def _tell(self) -> str:
        said = "\n".join(json.dumps(line) for line in self._said[-20:])
        return f"it said\n{said}\n{self._errors}"

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout and process.stderr
        for line in process.stdout:
            with self._changed:
                self._said.append(json.loads(line))
                self._changed.notify_all()
        errors = process.stderr.read()
        with self._changed:
            self._errors = errors
            self._over = True
            self._changed.notify_all()


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        children.setdefault(parent, []).append(int(stat.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
