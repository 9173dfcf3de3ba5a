#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for platterd before the helper, in the guest: asks as platterd asks, and serves NBD on
the socketpair it hands over. Takes one command a line from a fifo, and says what happens on stdout.

    attach SLOT disk|cd PATH    serve this file and attach it           -> "reply attach 0 nbd0 ..."
    detach SLOT alive|dead      take it away again                       -> "reply detach 0 - ..."
    attach SLOT mute PATH       the same as a disk, but answer no read from the first on
    attach SLOT write PATH      the same as a disk that may be written to
    attach SLOT narrow PATH     the same as a disk, over a socket that takes few requests at once
    adopt SLOT disk|cd PATH     serve it, and take over the drive that another one left
                                                                         -> "reply adopt 0 nbd0 ..."
    usb SLOT DRIVES PATH        attach a USB device and serve this file as each of its drives, with
                                a journal that holds a word of this process -> "reply usb 0 - ..."
    take SLOT DRIVES PATH       adopt the USB device that another one left  -> "reply take 0 - ..."
    usbfds SLOT WHAT            a USB attach with: nothing, a file, an unsealed memfd
    reload SLOT                 have the machine look at it anew         -> "reply reload 0 - ..."
    mute                        from now on, answer no read: keep them   -> "muted"
    deaf                        read one more request, and no further one    -> "deafened", "held"
    hold BYTES                  mute, but only after having served so many more -> "holding"
    fail                        from now on, answer reads with EIO       -> "failing"
    heal                        and no longer                            -> "healed"
    longest                     of the reads since the last time         -> "longest 131072"
    leave                       hang up on the helper, but keep serving  -> "left"
    raw HEX                     send these bytes as a message
    fds N                       an attach of slot 0 with N descriptors

"gone SLOT ERROR ..." and "disc" (the kernel said NBD_CMD_DISC) come by themselves, "held" when a
muted server got its first read, "closed" when the helper hung up. A USB device's reply is followed
by "functions N", and after a "take" by "journal WORD"; its events are told as "event enable".

usage: helper_client.py HELPER-SOCKET FIFO
"""

import array
import fcntl
import os
import select
import socket
import struct
import sys
import threading

import usb_target

REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")
READ, WRITE, DISC = 0, 1, 2
EIO = 5


def say(*words):
    print(*words, flush=True)


class Server(threading.Thread):
    """NBD's transmission phase with simple replies, over one end of a socketpair."""

    def __init__(self, end, path, writable):
        super().__init__(daemon=True)
        self.end = end
        self.file = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
        self.mute = False
        self.deaf = False
        self.fails = False
        self.longest = 0
        self.left = None  # bytes to serve until it goes mute

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
                if self.left is not None and kind == READ:
                    self.left -= length
                    self.mute = self.left < 0
                if self.deaf and kind == READ:
                    say("held")
                    threading.Event().wait()
                if self.mute:
                    if not held:
                        say("held")
                    held = True
                    continue
                self.end.sendall(self.answer(kind, cookie, offset, length))
        except OSError:
            say("socket over")

    def answer(self, kind, cookie, offset, length):
        data = b""
        if kind == WRITE:
            os.pwrite(self.file, self.receive(length), offset)
        elif kind == READ and self.fails:
            return REPLY.pack(0x67446698, EIO, cookie)
        elif kind == READ:
            self.longest = max(self.longest, length)
            data = os.pread(self.file, length, offset)
            data += bytes(length - len(data))
        return REPLY.pack(0x67446698, 0, cookie) + data


class Client:
    def __init__(self, path):
        self.helper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.helper.connect(path)
        self.server = None
        self.target = None
        self.asked = {}
        self.usb = None  # what to serve: drives, path
        self.next = 1

    def ask(self, name, kind, slot, body, fds=()):
        self.asked[self.next] = name
        message = struct.pack(">BBHI", 3, kind, slot, self.next) + body
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.helper.sendmsg([message], ancillary)
        self.next += 1

    def present(self, name, number, slot, kind, path):
        ours, theirs = socket.socketpair()
        self.server = Server(ours, path, kind == "write")
        self.server.mute = kind == "mute"
        self.server.start()
        if kind == "narrow":
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        size = os.stat(path).st_size
        body = struct.pack(">BB6xQ", kind == "cd", kind != "write", size)
        self.ask(name, number, int(slot), body, [theirs.fileno()])
        theirs.close()

    def attach(self, *what):
        self.present("attach", 1, *what)

    def adopt(self, *what):
        self.present("adopt", 5, *what)

    def hold(self, count):
        self.server.left = int(count)
        say("holding")

    def reload(self, slot):
        self.ask("reload", 6, int(slot), b"")

    def leave(self):
        self.helper.shutdown(socket.SHUT_RDWR)
        say("left")

    def longest(self):
        say("longest", self.server.longest)
        self.server.longest = 0

    def detach(self, slot, line):
        self.ask("detach", 2, int(slot), struct.pack(">B3x", line == "alive"))

    def usb_device(self, slot, drives, path):
        journal = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(journal, f"of-{os.getpid()}".encode())
        fcntl.fcntl(journal, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.usb = int(drives), path
        self.ask("usb", 7, int(slot), struct.pack(">B3x", int(drives)), [journal])
        say("journal", f"of-{os.getpid()}")
        os.close(journal)

    def take(self, slot, drives, path):
        self.usb = int(drives), path
        self.ask("take", 8, int(slot), struct.pack(">B3x", int(drives)))

    def usbfds(self, slot, what):
        fds = {
            "nothing": lambda: [],
            "file": lambda: [os.open("/dev/null", os.O_RDONLY)],
            "memfd": lambda: [os.memfd_create("journal", os.MFD_ALLOW_SEALING)],
        }[what]()
        self.ask("usb", 7, int(slot), struct.pack(">B3x", 1), fds)

    def serve_usb(self, asked, functions, fds):
        say("functions", functions)
        if asked == "take":
            say("journal", os.pread(fds.pop(), 64, 0).decode())
        assert len(fds) == 1 + 2 * functions
        assert all(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in fds)
        self.target = usb_target.Target(fds, *self.usb, say)

    def fds(self, count):
        ends = [socket.socketpair() for _ in range(int(count))]
        fds = [pair[0].fileno() for pair in ends]
        self.ask("attach", 1, 0, struct.pack(">BB6xQ", 0, 1, 4096), fds)

    def heard(self):
        """One message of the helper; whether there may be more."""
        message, fds, flags, _ = socket.recv_fds(self.helper, 512, 64)
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        if not message:
            return False
        _, kind, slot, number = struct.unpack(">BBHI", message[:8])
        error, device, functions, length = struct.unpack(">IIBB", message[8:18])
        reason = message[18 : 18 + length].decode()
        name = f"nbd{device}" if device != 0xFFFFFFFF else "-"
        if kind == 3:
            asked = self.asked.pop(number)
            say("reply", asked, error, name, reason)
            if functions:
                self.serve_usb(asked, functions, fds)
        else:
            say("gone", slot, error, reason)
        return True

    def obey(self, line):
        word, *rest = line.split()
        if word == "mute":
            self.server.mute = True
            say("muted")
        elif word == "deaf":
            self.server.deaf = True
            say("deafened")
        elif word in ("fail", "heal"):
            self.server.fails = word == "fail"
            say("failing" if word == "fail" else "healed")
        elif word == "usb":
            self.usb_device(*rest)
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
