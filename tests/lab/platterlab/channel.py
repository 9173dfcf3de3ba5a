# SPDX-License-Identifier: Apache-2.0
"""The outer end of the agent's virtio-serial port: commands that run in a guest, as objects.

guest/agent.py describes the messages. One thread reads them and hands each to its command; all the
waiting is done on one condition variable.
"""

from __future__ import annotations

import base64
import json
import re
import signal as signals
import socket
import threading
import time
from dataclasses import dataclass

from .errors import LabError


@dataclass(frozen=True)
class Result:
    """How a command ended. `status` is -N when signal N ended it."""

    status: int
    out: str
    err: str


class Command:
    """One command in the guest, running or over."""

    def __init__(self, channel: Channel, number: int, words: list[str]) -> None:
        self._channel = channel
        self._number = number
        self._out = bytearray()
        self._err = bytearray()
        self.words = words
        self.pid: int | None = None
        self.status: int | None = None

    @property
    def out(self) -> str:
        return self._out.decode(errors="replace")

    @property
    def err(self) -> str:
        return self._err.decode(errors="replace")

    def take(self, message: dict) -> None:
        """The channel's reader hands over what came."""
        self._out += base64.b64decode(message.get("out", ""))
        self._err += base64.b64decode(message.get("err", ""))
        self.pid = message.get("pid", self.pid)
        self.status = message.get("exit", self.status)

    def signal(self, which: int = signals.SIGTERM) -> None:
        """Sends a signal to the command and all its children."""
        self._channel.send({"id": self._number, "signal": int(which)})

    def wait_until_started(self) -> None:
        self._channel.wait(lambda: self.pid or self.status is not None, 30, self._say("start"))

    def wait(self, timeout: float = 60) -> Result:
        """Waits for its end; a command that takes longer is killed, and that is an error."""
        try:
            self._channel.wait(lambda: self.status is not None, timeout, self._say("end"))
        except LabError:
            self.signal(signals.SIGKILL)
            raise
        assert self.status is not None
        return Result(self.status, self.out, self.err)

    def stop(self, timeout: float = 10) -> Result:
        """SIGTERM, and waits for the end."""
        self.signal()
        return self.wait(timeout)

    def wait_for_output(self, pattern: str, timeout: float = 60) -> str:
        """Waits until stdout or stderr matches; returns the match's first group, or all of it."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.out) or re.search(pattern, self.err)

        def over() -> bool:
            return found() is not None or self.status is not None

        self._channel.wait(over, timeout, self._say(f"say {pattern!r}"))
        match = found()
        if not match:
            raise LabError(f"{self.tell()} ended without saying {pattern!r}")
        return match[1] if match.groups() else match[0]

    def tell(self) -> str:
        text = f"`{' '.join(self.words)}`"
        if self.status is not None:
            text += f" (status {self.status})"
        return f"{text}\n--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}\n---"

    def _say(self, what: str):
        return lambda timeout: f"not done in {timeout} s: to {what}, of {self.tell()}"


class Channel:
    """The connection to one guest's agent."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._commands: dict[int, Command] = {}
        self._next = 1
        self._ready = False
        self._lost = False
        threading.Thread(target=self._read, name="lab-agent", daemon=True).start()

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the guest was faster
        self._socket.close()

    def wait_until_ready(self, timeout: float) -> None:
        self.wait(lambda: self._ready, timeout, lambda t: f"the guest's agent is mute for {t} s")

    def start(self, words: list[str], env: dict[str, str], stdin: bytes) -> Command:
        with self._changed:
            number = self._next
            self._next += 1
            command = self._commands[number] = Command(self, number, words)
        text = base64.b64encode(stdin).decode()
        self.send({"id": number, "run": words, "env": env, "stdin": text})
        return command

    def send(self, message: dict) -> None:
        with self._sending:
            try:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
            except OSError as error:
                raise LabError(f"the guest has gone: {error}") from error

    def wait(self, is_done, timeout: float, say) -> None:
        """Waits until `is_done()`; else raises LabError with what `say(timeout)` says."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not is_done():
                left = deadline - time.monotonic()
                if self._lost:
                    raise LabError(f"the guest has gone; {say(timeout)}")
                if left <= 0:
                    raise LabError(say(timeout))
                self._changed.wait(left)

    def _read(self) -> None:
        kept = b""
        while True:
            try:
                got = self._socket.recv(65536)
            except OSError:
                got = b""
            if not got:
                break
            *lines, kept = (kept + got).split(b"\n")
            with self._changed:
                for line in lines:
                    self._take(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._lost = True
            self._changed.notify_all()

    def _take(self, message: dict) -> None:
        if "ready" in message:
            self._ready = True
            return
        command = self._commands.get(message["id"])
        if command:
            command.take(message)
        if "exit" in message:
            del self._commands[message["id"]]
