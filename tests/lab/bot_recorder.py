#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in the virtual BMC: notes what a machine says to its USB drive until a signal ends
it, and then prints it, one line a command.

    2800000000000000080000 in 4096  # READ(10): good

The command block in hex, the direction and the length that the wrapper announces, and how the drive
answered. What is no command is a comment of its own. It reads usbmon's binary interface
(Documentation/usb/usbmon.rst in the kernel) and Bulk-Only Transport 1.0, section 5.
"""

import fcntl
import os
import signal
import struct
import sys

# struct mon_bin_hdr as read() gives it, without the two fields of isochronous transfers.
HEADER = struct.Struct("<QcBBBHccqiiII8s")
CONTROL, BULK = 2, 3
MON_IOCG_STATS = 0x80089203  # _IOR(0x92, 3, struct mon_bin_stats): u32 queued, u32 dropped
MON_IOCT_RING_SIZE = 0x9204
RING = 1200 * 1024  # the most that the kernel allows
CBW = struct.Struct("<4sIIBBB16s")
CSW = struct.Struct("<4sIIB")
STATUS = {0: "good", 1: "failed", 2: "phase error"}

NAMES = {
    0x00: "TEST UNIT READY", 0x03: "REQUEST SENSE", 0x08: "READ(6)", 0x0A: "WRITE(6)",
    0x12: "INQUIRY", 0x15: "MODE SELECT(6)", 0x1A: "MODE SENSE(6)", 0x1B: "START STOP UNIT",
    0x1E: "PREVENT ALLOW MEDIUM REMOVAL", 0x23: "READ FORMAT CAPACITIES",
    0x25: "READ CAPACITY(10)", 0x28: "READ(10)", 0x2A: "WRITE(10)", 0x2F: "VERIFY(10)",
    0x35: "SYNCHRONIZE CACHE(10)", 0x42: "UNMAP or READ SUB-CHANNEL", 0x43: "READ TOC",
    0x46: "GET CONFIGURATION", 0x4A: "GET EVENT STATUS NOTIFICATION",
    0x51: "READ DISC INFORMATION", 0x52: "READ TRACK INFORMATION", 0x55: "MODE SELECT(10)",
    0x5A: "MODE SENSE(10)", 0x88: "READ(16)", 0x8A: "WRITE(16)", 0x93: "WRITE SAME(16)",
    0x9E: "READ CAPACITY(16)", 0xA0: "REPORT LUNS", 0xA3: "REPORT SUPPORTED OPERATION CODES",
    0xA8: "READ(12)", 0xAC: "GET PERFORMANCE", 0xAD: "READ DISC STRUCTURE",
    0xBB: "SET CD SPEED", 0xBD: "MECHANISM STATUS", 0xBE: "READ CD",
}
# Setup packets up to wIndex, of which the last two bytes may be cut off.
REQUESTS = {
    "a1fe0000": "GET MAX LUN",
    "21ff0000": "BULK-ONLY MASS STORAGE RESET",
    "00090100": "SET CONFIGURATION",
    "02010000": "CLEAR FEATURE: the halt of an endpoint",
}


class Transcript:
    """Puts the transfers of one drive together to commands."""

    def __init__(self):
        self.lines = []
        self.open = None  # the command whose status has not come yet

    def take_request(self, setup):
        name = REQUESTS.get(setup[:4].hex())
        if name:
            self.end("no status")
            self.lines.append(f"# {name}")

    def take_command(self, data):
        _, tag, length, flags, lun, size, block = CBW.unpack(data)
        self.end("no status")
        way = "none" if length == 0 else "in" if flags & 0x80 else "out"
        name = NAMES.get(block[0], f"operation code {block[0]:02x}h")
        unit = f", unit {lun}" if lun else ""
        self.open = (tag, f"{block[:size].hex()} {way} {length}  # {name}{unit}")

    def take_status(self, data):
        _, tag, residue, status = CSW.unpack(data)
        if not self.open or self.open[0] != tag:
            sys.exit(f"a status without its command: tag {tag:08x}")
        less = f", {residue} bytes less" if residue else ""
        self.end(STATUS.get(status, f"status {status}") + less)

    def end(self, how):
        if self.open:
            self.lines.append(f"{self.open[1]}: {how}")
        self.open = None


def transfers(monitor):
    """Each event: (its type, the transfer's kind, whether it goes to the machine, setup, data)."""
    while True:
        event = os.read(monitor, RING)
        fields = HEADER.unpack_from(event)
        kind, transfer, endpoint, setup_flag = fields[1], fields[2], fields[3], fields[6]
        setup = fields[13] if setup_flag == b"\0" else None
        yield kind, transfer, bool(endpoint & 0x80), setup, event[HEADER.size:]


def main():
    monitor = os.open("/dev/usbmon0", os.O_RDONLY)
    fcntl.ioctl(monitor, MON_IOCT_RING_SIZE, RING)
    os.nice(-20)  # the ring does not wait for us
    transcript = Transcript()

    def leave(*_):
        transcript.end("no status")
        print("\n".join(transcript.lines), flush=True)
        _, dropped = struct.unpack("II", fcntl.ioctl(monitor, MON_IOCG_STATS, bytes(8)))
        os._exit(1 if dropped else 0)

    signal.signal(signal.SIGTERM, leave)
    print("recording", file=sys.stderr, flush=True)
    for kind, transfer, to_machine, setup, data in transfers(monitor):
        if transfer == CONTROL and kind == b"S" and setup:
            transcript.take_request(setup)
        elif transfer == BULK and kind == b"S" and not to_machine:
            if len(data) == CBW.size and data[:4] == b"USBC":
                transcript.take_command(data)
        elif transfer == BULK and kind == b"C" and to_machine:
            if len(data) == CSW.size and data[:4] == b"USBS":
                transcript.take_status(data)


main()
