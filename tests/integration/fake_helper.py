#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for platter-helper and for the kernel behind it, where there is neither: takes a
drive's socket as the kernel's nbd driver would, and reads through it. One drive, one connection.

It listens where whoever starts it has told it to (LISTEN_FDS), and keeps its files where its
configuration says (state_dir): `image` is all that it has read of the drive when that was attached,
`said` what it was asked, a line each. What it does besides is told by FAKE_HELPER, words with
blanks between:

    refuse     answers an attach with an error
    greedy     reads for ever instead, eight reads at once
    stuck      answers no detach, and takes two seconds to end at SIGTERM: its kernel is slow
    die        ends when it is asked to attach
"""
import array
import fcntl
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

VERSION, ATTACH, DETACH, REPLY = 3, 1, 2, 3
NO_DEVICE = 0xFFFFFFFF
REQUEST = struct.Struct(">IHHQQI")
REQUEST_MAGIC, READ, AT_ONCE, LENGTH = 0x25609513, 0, 8, 1 << 20


def take(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class Drive(threading.Thread):
    """The kernel's end of a drive's socket."""

    def __init__(self, sock, size, place, greedy):
        super().__init__(daemon=True)
        self.sock, self.size, self.place, self.greedy = sock, size, place, greedy
        self.handle = 0

    def ask(self, offset, length):
        self.handle += 1
        self.sock.sendall(REQUEST.pack(REQUEST_MAGIC, 0, READ, self.handle, offset, length))
        return self.handle, length

    def answer(self, waiting):
        _, error, handle = struct.unpack(">IIQ", take(self.sock, 16))
        length = waiting.pop(handle)
        return handle, None if error else take(self.sock, length)

    def read_all(self):
        waiting, parts, at = {}, {}, 0
        while at < self.size or waiting:
            if at < self.size and len(waiting) < AT_ONCE:
                handle, length = self.ask(at, min(LENGTH, self.size - at))
                waiting[handle], parts[handle] = length, b""
                at += length
                continue
            handle, data = self.answer(waiting)
            parts[handle] = data
        (self.place / "image.part").write_bytes(b"".join(parts[key] for key in sorted(parts)))
        (self.place / "image.part").rename(self.place / "image")

    def read_for_ever(self):
        waiting, errors = {}, 0
        while True:
            while len(waiting) < AT_ONCE:
                handle, length = self.ask(self.handle * 4096 % (self.size - LENGTH) & ~511, LENGTH)
                waiting[handle] = length
            _, data = self.answer(waiting)
            if data is None:
                errors += 1
                (self.place / "errors").write_text(str(errors))

    def run(self):
        try:
            if self.greedy:
                self.read_for_ever()
        except (EOFError, OSError):
            pass


def reply(client, slot, number, error=0, reason=b""):
    client.send(struct.pack(">BBHIiIBB222s", VERSION, REPLY, slot, number, error,
                            NO_DEVICE if error else 7, 0, len(reason), reason))


def serve(client, place, words, said):
    while True:
        data, ancillary, _, _ = client.recvmsg(256, socket.CMSG_SPACE(64))
        if not data:
            return
        version, kind, slot, number = struct.unpack_from(">BBHI", data)
        assert version == VERSION
        if kind == ATTACH:
            _, flags, size = struct.unpack_from(">BB6xQ", data, 8)
            print("attach", slot, "ro" if flags & 1 else "rw", size, file=said, flush=True)
            if "die" in words:
                sys.exit(1)
            if "refuse" in words:
                reply(client, slot, number, 22, b"It is refused: let it be.")
                continue
            fds = array.array("i", ancillary[0][2])
            drive = Drive(socket.socket(fileno=fds[0]), size, place, "greedy" in words)
            if "greedy" not in words:
                drive.read_all()
            drive.start()
            reply(client, slot, number)
        elif kind == DETACH:
            alive = data[8] & 1
            print("detach", slot, "alive" if alive else "dead", file=said, flush=True)
            if "stuck" not in words:
                reply(client, slot, number)


def main():
    config = open(sys.argv[sys.argv.index("--config") + 1]).read()
    place = re.search(r"state_dir = (\S+)", config)[1]
    words = os.environ.get("FAKE_HELPER", "").split()
    lock = open(f"{place}/helper.lock", "a")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
    said = open(f"{place}/said", "a")

    def stop(*_):
        if "stuck" in words:
            time.sleep(2)
        print("stopped", file=said, flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    listener = socket.socket(fileno=3)
    client, _ = listener.accept()
    serve(client, Path(place), words, said)
    signal.pause()


main()
