# SPDX-License-Identifier: Apache-2.0
"""The smallest drive that a machine will read: for tests of who holds FunctionFS's endpoints, not
of what a drive has to be. Each function's logical units all hold the same file, read-only."""

import os
import select
import struct
import threading
import time

CBW = struct.Struct("<4sIIBBB16s")
CSW = struct.Struct("<4sIIB")
EVENTS = ("bind", "unbind", "enable", "disable", "setup", "suspend", "resume")
GET_MAX_LUN = 0xFE
SENSE = bytes([0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0])
INQUIRY = bytes([0, 0x80, 4, 2, 31, 0, 0, 0]) + b"Platter " + b"Virtual Disk    " + b"0100"


def answer(command, image):
    """The data a command asks for; None: this drive does not know it."""
    code = command[0]
    if code == 0x00:  # TEST UNIT READY
        return b""
    if code == 0x03:  # REQUEST SENSE
        return SENSE
    if code == 0x12 and not command[1] & 1:  # INQUIRY
        return INQUIRY
    if code == 0x25:  # READ CAPACITY
        return struct.pack(">II", len(image) // 512 - 1, 512)
    if code == 0x28:  # READ (10)
        first, count = struct.unpack(">2xIxH", command[:9])
        return image[first * 512 : (first + count) * 512]
    return None


class Function(threading.Thread):
    """One bulk-only interface: a command, its data, its status, and so on."""

    def __init__(self, out, end, image):
        super().__init__(daemon=True)
        self.out = out
        self.end = end
        self.image = image

    def command(self):
        tag, length, flags, _, size, block = CBW.unpack(os.read(self.out, 512))[1:]
        data = answer(block[:size], self.image)
        if length and flags & 0x80:
            os.write(self.end, (data or b"").ljust(length, b"\0")[:length])
        os.write(self.end, CSW.pack(b"USBS", tag, 0, data is None))

    def run(self):
        while True:
            try:
                self.command()
            except OSError:
                # Not configured yet, or not any more: there is no other way to see it come back.
                time.sleep(0.05)


class Target:
    """Serves what the helper handed over: ep0, then out and in of each function."""

    def __init__(self, fds, drives, path, say):
        self.ep0 = fds[0]
        self.functions = (len(fds) - 1) // 2
        self.units = drives if self.functions == 1 else 1
        self.say = say
        with open(path, "rb") as file:
            image = file.read()
        threading.Thread(target=self.events, daemon=True).start()
        for number in range(self.functions):
            Function(fds[1 + 2 * number], fds[2 + 2 * number], image).start()

    def setup(self, request):
        kind, code = request[:2]
        try:
            if (kind, code) == (0xA1, GET_MAX_LUN):
                os.write(self.ep0, bytes([self.units - 1]))
            elif kind & 0x80:
                os.read(self.ep0, 0)  # a stall is asked for by the direction that is not wanted
            else:
                os.write(self.ep0, b"")
        except OSError:
            pass

    def events(self):
        while True:
            select.select([self.ep0], [], [])
            events = os.read(self.ep0, 4 * 12)
            for at in range(0, len(events), 12):
                name = EVENTS[events[at + 8]]
                self.say("event", name)
                if name == "setup":
                    self.setup(events[at : at + 8])
