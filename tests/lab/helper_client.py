#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for platterd before the helper, in the guest: asks as platterd asks, and serves NBD on
the socketpair it hands over. Takes one command a line from a fifo, and says what happens on stdout.

    attach SLOT disk|cd PATH    serve this file and attach it           -> "reply attach 0 nbd0 ..."
    detach SLOT alive|dead      take it away again                       -> "reply detach 0 - ..."
    attach SLOT mute PATH       the same as a disk, but answer no read from the first on
    mute                        from now on, answer no read: keep them   -> "muted"
    raw HEX                     send these bytes as a message
    fds N                       an attach of slot 0 with N descriptors

"gone SLOT ERROR ..." and "disc" (the kernel said NBD_CMD_DISC) come by themselves, "held" when a
muted server got its first read, "closed" when the helper hung up.

usage: helper_client.py HELPER-SOCKET FIFO
"""

import array
import os
import select
import socket
import struct
import sys
import threading

REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")
READ, DISC = 0, 2


def say(*words):
    print(*words, flush=True)


class Server(threading.Thread):
    """NBD's transmission phase with simple replies, over one end of a socketpair."""

    def __init__(self, end, path):
        super().__init__(daemon=True)
        self.end = end
        self.file = os.open(path, os.O_RDONLY)
        self.mute = False

    def receive(self, count):
        data = b""
        while len(data) < count:
            got = self.end.recv(count - len(data))
            if not got:
                raise ConnectionError
            data += got
        return data

    def run(self):
        held = False
        try:
            while True:
                _, _, kind, cookie, offset, length = REQUEST.unpack(self.receive(REQUEST.size))
                if kind == DISC:
                    say("disc")
                    continue
                if self.mute:
                    if not held:
                        say("held")
                    held = True
                    continue
                data = os.pread(self.file, length, offset) if kind == READ else b""
                data += bytes(length - len(data)) if kind == READ else b""
                self.end.sendall(REPLY.pack(0x67446698, 0, cookie) + data)
        except OSError:
            say("socket over")


class Client:
    def __init__(self, path):
        self.helper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.helper.connect(path)
        self.server = None
        self.asked = {}
        self.next = 1

    def ask(self, name, kind, slot, body, fds=()):
        self.asked[self.next] = name
        message = struct.pack(">BBHI", 2, kind, slot, self.next) + body
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.helper.sendmsg([message], ancillary)
        self.next += 1

    def attach(self, slot, kind, path):
        ours, theirs = socket.socketpair()
        self.server = Server(ours, path)
        self.server.mute = kind == "mute"
        self.server.start()
        size = os.stat(path).st_size
        body = struct.pack(">BB6xQ", kind == "cd", 1, size)
        self.ask("attach", 1, int(slot), body, [theirs.fileno()])
        theirs.close()

    def detach(self, slot, line):
        self.ask("detach", 2, int(slot), struct.pack(">B3x", line == "alive"))

    def fds(self, count):
        ends = [socket.socketpair() for _ in range(int(count))]
        fds = [pair[0].fileno() for pair in ends]
        self.ask("attach", 1, 0, struct.pack(">BB6xQ", 0, 1, 4096), fds)

    def heard(self):
        """One message of the helper; whether there may be more."""
        message = self.helper.recv(512)
        if not message:
            return False
        _, kind, slot, number = struct.unpack(">BBHI", message[:8])
        error, device, length = struct.unpack(">IIB", message[8:17])
        reason = message[17 : 17 + length].decode()
        name = f"nbd{device}" if device != 0xFFFFFFFF else "-"
        if kind == 3:
            say("reply", self.asked.pop(number), error, name, reason)
        else:
            say("gone", slot, error, reason)
        return True

    def obey(self, line):
        word, *rest = line.split()
        if word == "mute":
            self.server.mute = True
            say("muted")
        elif word == "raw":
            self.helper.send(bytes.fromhex(rest[0]))
        else:
            getattr(self, word)(*rest)


def main():
    path, fifo = sys.argv[1:]
    client = Client(path)
    os.mkfifo(fifo)
    # Open for writing too: so it never ends when a writer goes.
    orders = os.open(fifo, os.O_RDWR)
    say("ready")
    watched = [orders, client.helper]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if orders in ready:
            for line in os.read(orders, 4096).decode().splitlines():
                client.obey(line)
        if client.helper in ready and not client.heard():
            say("closed")
            watched.remove(client.helper)


main()
