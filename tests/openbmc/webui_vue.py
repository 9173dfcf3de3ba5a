#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The far end that OpenBMC's web page is: an NBD server over bmcweb's WebSocket, as poor as that.

Fixed newstyle, and of the options EXPORT_NAME alone; simple replies, in whatever order the file's
reads are done; read-only; FLUSH is EINVAL; a read past the end closes the session.

    with WebuiVue(port, image) as page:     # image: a path
        page.wait_negotiated()
        page.mute()                         # from now on it neither reads nor answers
    page.closed                             # (code, reason), how it ended

    webui_vue.py HOST PORT TOKEN IMAGE      # the same until SIGINT; says `negotiated`
"""

from __future__ import annotations

import errno
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from far_end import (  # noqa: E402
    CMD_DISC,
    CMD_READ,
    CMD_TRIM,
    CMD_WRITE,
    FLAG_HAS_FLAGS,
    FLAG_READ_ONLY,
    OPT_EXPORT_NAME,
    REP_ERR_UNSUP,
    REQUEST_MAGIC,
    option_reply,
    simple_reply,
)
from ws_client import BINARY, CLOSE, NO_MASK, PING, PONG, Closed, WebSocket, frame  # noqa: E402

TOKEN = "qqPpLQDbpuCm7ABQUa1m"
PATH = "/vm/0/0"
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", FIXED_NEWSTYLE | NO_ZEROES)
# Reads of the file that it has in work at once, for the order of their ends to be anybody's guess.
READS_AT_ONCE = 8


class WebuiVue:
    """As a context. What it does next is changed by slow(), hold(), mute(), vanish(), die()
    and answer()."""

    def __init__(self, port: int, image: Path, address: str = "127.0.0.1",
                 token: str | None = TOKEN) -> None:
        self.closed: tuple[int, str] | None = None
        self.reads = 0  # answered
        self.overtaken = 0  # of those, answered before one that was asked earlier
        self.refused: list[int] = []  # commands and options that were answered with an error
        self._socket = WebSocket(port, PATH, address, Sec_WebSocket_Protocol=token)
        assert self._socket.status == 101, self._socket.status
        assert self._socket.headers.get("sec-websocket-protocol") == token
        self._socket.socket.settimeout(None)
        self._socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = os.open(image, os.O_RDONLY)
        self._size = os.fstat(self._file).st_size
        self._pending: list[tuple[int, int, int]] = []
        self._inbox = bytearray()
        self._handle = self._take_flags
        self._chance = random.Random(1)
        self._changed = threading.Condition()
        self._negotiated = False
        self._pause = 0.0
        self._mode = "answer"
        self._waker, self._wake = socket.socketpair()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> WebuiVue:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        self._thread.join(20)
        assert not self._thread.is_alive(), "bmcweb does not answer the goodbye"
        if self._error and not kind:
            raise self._error

    # What a test says to it.

    def wait_negotiated(self, timeout: float = 20) -> None:
        self._wait(lambda: self._negotiated, timeout, "the negotiation is done")

    def wait_reads(self, count: int, timeout: float = 60) -> None:
        """Until so many reads have been answered in all."""
        self._wait(lambda: self.reads >= count, timeout, f"{count} reads are answered")

    def wait_pending(self, timeout: float = 20) -> None:
        """Until a read is here that is not answered; for one that is holding()."""
        self._wait(lambda: bool(self._pending), timeout, "a read is held")

    def wait_closed(self, timeout: float = 20) -> tuple[int, str]:
        self._wait(lambda: self.closed is not None, timeout, "the session is closed")
        assert self.closed
        return self.closed

    def answer(self) -> None:
        """Everything at once, as at first."""
        self._become("answer")

    def slow(self, pause: float) -> None:
        """So many seconds before each reply."""
        self._pause = pause
        self._become("answer")

    def hold(self) -> None:
        """It takes requests, and answers none."""
        self._become("hold")

    def mute(self) -> None:
        """It does not even read from its socket, as a computer that was put to sleep."""
        self._become("mute")

    def die(self) -> None:
        """Its connection is reset; in the middle of a reply, if one is due."""
        self._become("die")

    def vanish(self) -> None:
        """Its connection is reset at once."""
        self._become("vanish")

    def close(self) -> None:
        """The user has pressed Stop."""
        if self.closed is None:
            self._become("close")

    def _become(self, mode: str) -> None:
        self._mode = mode
        self._wake.send(b"x")

    def _wait(self, holds, timeout: float, what: str) -> None:
        def over() -> bool:
            return holds() or self.closed is not None

        with self._changed:
            assert self._changed.wait_for(over, timeout), f"after {timeout} s still not: {what}"
        assert holds(), f"closed with {self.closed} before {what}"

    # What it does.

    def _run(self) -> None:
        try:
            self._send(GREETING)
            while True:
                self._turn()
        except Closed as closed:
            end = closed.code, closed.reason
        except OSError as error:
            end = 1006, str(error)
        except BaseException as error:
            self._error = error
            end = 1006, repr(error)
        self._socket.close()
        os.close(self._file)
        with self._changed:
            self.closed = end
            self._changed.notify_all()

    def _turn(self) -> None:
        wanted = [self._waker] if self._mode == "mute" else [self._waker, self._socket.socket]
        due = self._mode in ("answer", "die") and bool(self._pending)
        ready = select.select(wanted, [], [], self._pause if due else None)[0]
        if self._waker in ready:
            self._waker.recv(4096)
        if self._mode == "close":
            self._goodbye()
        if self._mode == "vanish":
            self._reset("it vanished")
        if self._socket.socket in ready:
            self._receive()
        elif due and not ready:
            self._answer_one()
        elif self._mode == "die" and not self._pending:
            self._reset("it died")

    def _receive(self) -> None:
        """All frames that have come."""
        while True:
            opcode, payload = self._socket.frame()
            if opcode == BINARY:
                self._inbox += payload
                self._take_all()
            elif opcode == PING:
                self._socket.send(frame(PONG, payload))
            elif opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                self._socket.send(frame(CLOSE, payload[:2]))
                raise Closed(code, payload[2:].decode())
            if not self._socket.pending:
                break

    def _take_all(self) -> None:
        while taken := self._handle():
            del self._inbox[:taken]

    def _take_flags(self) -> int:
        if len(self._inbox) < 4:
            return 0
        self._no_zeroes = bool(self._inbox[3] & NO_ZEROES)
        self._handle = self._take_option
        return 4

    def _take_option(self) -> int:
        if len(self._inbox) < 16:
            return 0
        magic, option, length = struct.unpack_from(">8sII", self._inbox)
        if magic != b"IHAVEOPT":
            self._goodbye()
        if len(self._inbox) < 16 + length:
            return 0
        if option != OPT_EXPORT_NAME:
            self.refused.append(option)
            self._send(option_reply(option, REP_ERR_UNSUP))
            return 16 + length
        zeroes = b"" if self._no_zeroes else bytes(124)
        self._send(struct.pack(">QH", self._size, FLAG_HAS_FLAGS | FLAG_READ_ONLY) + zeroes)
        self._handle = self._take_request
        with self._changed:
            self._negotiated = True
            self._changed.notify_all()
        return 16 + length

    def _take_request(self) -> int:
        if len(self._inbox) < 28:
            return 0
        magic, _, command, cookie, offset, length = struct.unpack_from(">IHHQQI", self._inbox)
        if magic != REQUEST_MAGIC or command == CMD_DISC:
            self._goodbye()
        if command == CMD_READ:
            if offset + length > self._size:
                self._goodbye()
            with self._changed:
                self._pending.append((cookie, offset, length))
                self._changed.notify_all()
        else:
            # What it would have to write it takes for the next request, and that is the end of it.
            self.refused.append(command)
            wrong = errno.EPERM if command in (CMD_WRITE, CMD_TRIM) else errno.EINVAL
            self._send(simple_reply(cookie, error=wrong))
        return 28

    def _answer_one(self) -> None:
        chosen = self._chance.randrange(min(len(self._pending), READS_AT_ONCE))
        cookie, offset, length = self._pending.pop(chosen)
        reply = frame(BINARY, simple_reply(cookie, os.pread(self._file, length, offset)),
                      mask=NO_MASK)
        if self._mode == "die":
            self._socket.send(reply[:len(reply) // 2])
            self._reset("it died")
        self._socket.send(reply)
        with self._changed:
            self.reads += 1
            self.overtaken += chosen > 0
            self._changed.notify_all()

    def _send(self, payload: bytes) -> None:
        self._socket.send(frame(BINARY, payload, mask=NO_MASK))

    def _reset(self, reason: str) -> None:
        """No FIN but a RST, as when the computer is gone."""
        self._socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Closed(1006, reason)

    def _goodbye(self) -> None:
        """As WebSocket.close(): a Close frame, and the one that answers it is waited for."""
        self._socket.socket.settimeout(15)
        self._socket.send(frame(CLOSE))
        while self._socket.frame()[0] != CLOSE:
            pass
        raise Closed(1000, "it said goodbye")


def main() -> None:
    host, port, token, image = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    with WebuiVue(int(port), Path(image), host, token) as page:
        page.wait_negotiated(60)
        print("negotiated", flush=True)
        signal.sigwait([signal.SIGINT])


if __name__ == "__main__":
    main()
