#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the web server that starts nbd-proxy, and for the far end behind it, in the guest:
starts it with pipes on stdin and stdout and nothing on stderr but the log, and serves a file there
as a simple NBD server does (EXPORT_NAME and simple replies alone). Takes one command a line from a
fifo, and says what happens on stdout.

    mute        from now on answer no read                      -> "muted", "held" at the next
    term        SIGTERM, and wait for its end                   -> "exit CODE MILLISECONDS"
    eof         close its stdin, and wait                       -> the same
    epipe       read its stdout no more, and wait               -> the same

"serving" comes when the handshake is done. When nbd-proxy ends by itself, "exit CODE" is said.

usage: proxy_parent.py FIFO IMAGE NBD-PROXY [ARGUMENT...]
"""

import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time

OPTION_MAGIC = 0x49484156454F5054
REQUEST = struct.Struct(">IHHQQI")
READ, WRITE, DISC = 0, 1, 2
EXPORT_NAME, ERR_UNSUP = 1, 0x80000001
HAS_FLAGS_READ_ONLY = 3


def say(*words):
    print(*words, flush=True)


class FarEnd(threading.Thread):
    """An NBD server over two pipes."""

    def __init__(self, image, reads, writes):
        super().__init__(daemon=True)
        self.file = os.open(image, os.O_RDONLY)
        self.size = os.fstat(self.file).st_size
        self.reads, self.writes = reads, writes
        self.muted = self.held = False

    def take(self, length):
        data = b""
        while len(data) < length:
            # Not waited for in the read itself, which would hold the pipe open for as long.
            while not select.select([self.reads], [], [], 0.05)[0]:
                pass
            more = os.read(self.reads, length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def give(self, data):
        while data:
            data = data[os.write(self.writes, data):]

    def shake_hands(self):
        self.give(struct.pack(">8sQH", b"NBDMAGIC", OPTION_MAGIC, 3))
        no_zeroes = struct.unpack(">I", self.take(4))[0] & 2
        while True:
            _, option, length = struct.unpack(">QII", self.take(16))
            self.take(length)
            if option == EXPORT_NAME:
                break
            self.give(struct.pack(">QIII", 0x3E889045565A9, option, ERR_UNSUP, 0))
        zeroes = bytes(0 if no_zeroes else 124)
        self.give(struct.pack(">QH", self.size, HAS_FLAGS_READ_ONLY) + zeroes)

    def serve(self):
        while True:
            _, _, kind, handle, offset, length = REQUEST.unpack(self.take(REQUEST.size))
            if kind == DISC:
                return
            assert kind == READ and offset + length <= self.size, (kind, offset, length)
            if self.muted:
                if not self.held:
                    say("held")
                self.held = True
                continue
            self.give(struct.pack(">IIQ", 0x67446698, 0, handle)
                      + os.pread(self.file, length, offset))

    def run(self):
        try:
            self.shake_hands()
            say("serving")
            self.serve()
        except (EOFError, BrokenPipeError):
            pass


def main():
    fifo, image, *command = sys.argv[1:]
    os.mkfifo(fifo)
    proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    reads, writes = os.dup(proxy.stdout.fileno()), os.dup(proxy.stdin.fileno())
    proxy.stdin.close()
    proxy.stdout.close()
    far_end = FarEnd(image, reads, writes)
    far_end.start()
    asked = threading.Event()

    def watch():
        proxy.wait()
        if not asked.is_set():
            say("exit", proxy.returncode)

    threading.Thread(target=watch, daemon=True).start()
    say("ready", proxy.pid)
    while True:
        for line in open(fifo):
            word = line.strip()
            if word == "mute":
                far_end.muted = True
                say("muted")
                continue
            asked.set()
            began = time.monotonic()
            if word == "term":
                proxy.send_signal(signal.SIGTERM)
            elif word == "eof":
                os.close(writes)
            elif word == "epipe":
                os.dup2(os.open("/dev/null", os.O_RDONLY), reads)
            proxy.wait()
            say("exit", proxy.returncode, round((time.monotonic() - began) * 1000))


main()
