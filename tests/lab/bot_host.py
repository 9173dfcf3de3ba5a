#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in the virtual BMC: a USB host of our own, which says to a drive what no driver would.

    bot_host.py cases DISK|CD SEED SIZE
    bot_host.py malice DISK|CD SEED SIZE ROUNDS

The drive's medium is SIZE bytes of random.Random(SEED). Prints one line for each thing that went
right, and ends with an error at the first that did not. References are to Bulk-Only Transport 1.0.
"""

import collections
import random
import struct
import sys

import usb.core
import usb.util

CBW = struct.Struct("<4sIIBBB16s")
CSW = struct.Struct("<4sIIB")
TIMEOUT = 8000  # milliseconds, as all here
DRAIN = 60
PATIENCE = 100  # of the hostile host, who often waits for what will not come
FIFO_SIZE = 64
GOOD, FAILED, PHASE_ERROR = 0, 1, 2
IN, OUT = 0x80, 0x00
EPIPE = 32


class Drive:
    """The first interface of the drive, taken from the kernel's driver."""

    def __init__(self):
        self.device = usb.core.find(idVendor=0x1D6B, idProduct=0x0104)
        assert self.device is not None, "no drive is plugged in"
        if self.device.is_kernel_driver_active(0):
            self.device.detach_kernel_driver(0)
        usb.util.claim_interface(self.device, 0)
        interface = self.device.get_active_configuration()[(0, 0)]
        ends = {end.bEndpointAddress & 0x80: end for end in interface.endpoints()}
        self.incoming = ends[IN].bEndpointAddress
        self.outgoing = ends[OUT].bEndpointAddress
        self.packet = ends[IN].wMaxPacketSize
        self.tag = 1
        self.step = 1 << 20  # how much is asked for at once
        self.timeout = TIMEOUT
        self.story = collections.deque(maxlen=24)  # the latest transfers

    def release(self):
        usb.util.release_interface(self.device, 0)
        self.device.attach_kernel_driver(0)

    def note(self, what, deed, *arguments):
        try:
            result = deed(*arguments)
        except usb.core.USBError as error:
            self.story.append(f"{what}: {error}")
            raise
        told = f"{len(result)} {bytes(result[:16]).hex()}" if hasattr(result, "__len__") else result
        self.story.append(f"{what}: {told}")
        return result

    def write(self, data):
        what = f"out {len(data)} {data[:31].hex()}"
        return self.note(what, self.device.write, self.outgoing, data, self.timeout)

    def read(self, length, timeout=None):
        what = f"in {length}"
        timeout = timeout or self.timeout
        return bytes(self.note(what, self.device.read, self.incoming, length, timeout))

    def clear_halt(self, endpoint):
        self.note(f"clear the halt of {endpoint:02x}", self.device.clear_halt, endpoint)

    def request(self, *words):
        return self.note(f"request {words}", self.device.ctrl_transfer, *words)

    def is_halted(self, endpoint):
        status = self.request(0x82, 0, 0, endpoint, 2, TIMEOUT)
        return bool(status[0] & 1)

    def reset(self):
        """Reset recovery (5.3.4). After it nothing of before may come, but for what the lab's
        controller has in its FIFO and cannot be told to forget (dummy_hcd.c, dummy_queue)."""
        self.request(0x21, 0xFF, 0, 0, None, TIMEOUT)
        self.clear_halt(self.incoming)
        self.clear_halt(self.outgoing)
        try:
            stale = self.read(1024, DRAIN)
        except usb.core.USBTimeoutError:
            return
        assert len(stale) <= FIFO_SIZE, f"{len(stale)} bytes of before came after a reset"

    def send_wrapper(self, block, length, flags, lun=0):
        self.tag = (self.tag + 1) & 0xFFFFFFFF
        wrapper = CBW.pack(b"USBC", self.tag, length, flags, lun, len(block), bytes(block))
        self.write(wrapper)

    def receive(self, length):
        """(bytes, whether the endpoint was halted)"""
        try:
            return self.read(length), False
        except usb.core.USBError as error:
            if error.errno != EPIPE:
                raise
            self.clear_halt(self.incoming)
            return b"", True

    def receive_data(self, length):
        """All of the data phase: up to `length` bytes, a short packet, or a halt. (What comes in
        one transfer before a halt pyusb does not tell: see `step`.)"""
        got = b""
        while len(got) < length:
            more, halted = self.receive(min(self.step, length - len(got)))
            got += more
            if halted or len(more) == 0 or len(more) % self.packet:
                break
        return got

    def send_data(self, data):
        """(bytes taken, whether the endpoint was halted)"""
        try:
            return self.write(data), False
        except usb.core.USBError as error:
            if error.errno != EPIPE:
                raise
            self.clear_halt(self.outgoing)
            return 0, True

    def status(self):
        """Figure 2: the status is asked again after one halt. (status, residue)"""
        data, halted = self.receive(CSW.size)
        if halted:
            data, _ = self.receive(CSW.size)
        assert len(data) == CSW.size, f"a status of {len(data)} bytes"
        signature, tag, residue, status = CSW.unpack(data)
        assert signature == b"USBS" and tag == self.tag, (signature, tag, self.tag)
        return status, residue

    def command(self, block, length=0, flags=IN, data=b"", lun=0):
        """(status, residue, bytes that came)"""
        self.send_wrapper(block, length, flags, lun)
        got = b""
        if length and flags & IN:
            got = self.receive_data(length)
        elif length:
            self.send_data(data)
        status, residue = self.status()
        return status, residue, got


class Medium:
    def __init__(self, kind, seed, size):
        self.block = 2048 if kind == "cd" else 512
        self.data = random.Random(seed).randbytes(size)
        self.blocks = size // self.block

    def read_command(self, at, count):
        return struct.pack(">BBIBHB", 0x28, 0, at, 0, count, 0)

    def write_command(self, at, count):
        return struct.pack(">BBIBHB", 0x2A, 0, at, 0, count, 0)

    def bytes_at(self, at, count):
        return self.data[at * self.block : (at + count) * self.block]


TEST_UNIT_READY = bytes(6)
CAPACITY = bytes([0x25, *bytes(9)])
SENSE = bytes([0x03, 0, 0, 0, 18, 0])
INQUIRY = bytes([0x12, 0, 0, 0, 36, 0])


def settle(drive):
    """Fetches what unit attentions there are."""
    for _ in range(8):
        if drive.command(TEST_UNIT_READY)[0] == GOOD:
            return
        drive.command(SENSE, 18)
    raise AssertionError("the drive does not become ready")


def check_well(drive, medium, draw):
    """INQUIRY, READ CAPACITY and a READ: whatever happened before, these are right."""
    status, residue, data = drive.command(INQUIRY, 36)
    assert (status, residue, len(data)) == (GOOD, 0, 36), (status, residue, data)
    assert data[8:16] == b"Platter ", data
    settle(drive)
    status, residue, data = drive.command(CAPACITY, 8)
    assert (status, residue) == (GOOD, 0)
    assert struct.unpack(">II", data) == (medium.blocks - 1, medium.block), data.hex()
    count = draw.randint(1, min(64, medium.blocks))
    at = draw.randint(0, medium.blocks - count)
    length = count * medium.block
    status, residue, data = drive.command(medium.read_command(at, count), length)
    assert (status, residue) == (GOOD, 0), (status, residue)
    assert data == medium.bytes_at(at, count), f"{count} blocks at {at} are wrong"


# --- the thirteen cases (6.7) ---


def cases(drive, medium, writable):
    """Each yields its name when it was as the specification has it."""
    block = medium.block
    read, write = medium.read_command, medium.write_command
    first, two = medium.bytes_at(0, 1), medium.bytes_at(0, 2)

    drive.step = drive.packet
    assert drive.command(TEST_UNIT_READY, 0)[:2] == (GOOD, 0)
    yield "1 Hn = Dn"
    assert drive.command(read(0, 1), 0)[0] == PHASE_ERROR
    drive.reset()
    yield "2 Hn < Di"
    if writable:
        assert drive.command(write(0, 1), 0, OUT)[0] == PHASE_ERROR
        drive.reset()
        yield "3 Hn < Do"

    assert drive.command(TEST_UNIT_READY, 64) == (GOOD, 64, b"")
    yield "4 Hi > Dn"
    status, residue, data = drive.command(INQUIRY, 96)
    assert (status, residue, len(data)) == (GOOD, 60, 36), (status, residue, data)
    status, residue, data = drive.command(read(0, 1), 2 * block)
    assert (status, residue, data) == (GOOD, block, first), (status, residue, len(data))
    yield "5 Hi > Di"
    assert drive.command(read(0, 2), 2 * block) == (GOOD, 0, two)
    yield "6 Hi = Di"
    status, _, data = drive.command(read(0, 2), block)
    assert status == PHASE_ERROR and data == first[: len(data)], (status, len(data))
    drive.reset()
    yield "7 Hi < Di"
    if writable:
        status, _, data = drive.command(write(0, 1), block)
        assert status == PHASE_ERROR, status
        drive.reset()
        yield "8 Hi <> Do"

    status, residue, _ = drive.command(TEST_UNIT_READY, 512, OUT, bytes(512))
    assert (status, residue) == (GOOD, 512), (status, residue)
    yield "9 Ho > Dn"
    status, _, _ = drive.command(read(0, 1), block, OUT, bytes(block))
    assert status == PHASE_ERROR, status
    drive.reset()
    yield "10 Ho <> Di"
    if writable:
        yield from cases_of_writes(drive, medium)


def cases_of_writes(drive, medium):
    block = medium.block
    read, write = medium.read_command, medium.write_command
    other = bytes(b ^ 0xFF for b in medium.bytes_at(0, 1))
    status, residue, _ = drive.command(write(0, 1), 2 * block, OUT, other + bytes(block))
    assert (status, residue) == (GOOD, block), (status, residue)
    assert drive.command(read(0, 1), block) == (GOOD, 0, other)
    yield "11 Ho > Do"
    assert drive.command(write(0, 1), block, OUT, medium.bytes_at(0, 1))[:2] == (GOOD, 0)
    assert drive.command(read(0, 2), 2 * block) == (GOOD, 0, medium.bytes_at(0, 2))
    yield "12 Ho = Do"
    status, _, _ = drive.command(write(0, 2), block, OUT, bytes(block))
    assert status == PHASE_ERROR, status
    drive.reset()
    # Nothing of a write that was announced wrongly is done.
    assert drive.command(read(0, 2), 2 * block) == (GOOD, 0, medium.bytes_at(0, 2))
    yield "13 Ho < Do"


def bad_wrappers(drive):
    """6.6.1: what is no wrapper halts both endpoints until the reset recovery, and no sooner."""
    good = CBW.pack(b"USBC", 7, 36, IN, 0, 6, INQUIRY)
    wrong = {
        "a wrong signature": b"USBS" + good[4:],
        "a wrapper too short": good[:30],
        "a wrapper too long": good + b"\0",
        "a wrapper of one packet": good.ljust(drive.packet, b"\0"),
        "a wrapper of nothing": b"",
        "a wrapper with reserved flags": good[:12] + b"\x01" + good[13:],
        "no unit 15": good[:13] + b"\x0f" + good[14:],
        "a block of 0 bytes": good[:14] + b"\0" + good[15:],
        "a block of 17 bytes": good[:14] + b"\x11" + good[15:],
    }
    for name, wrapper in wrong.items():
        drive.write(wrapper)
        for _ in range(2):
            try:
                data = drive.read(64)
            except usb.core.USBError as error:
                assert error.errno == EPIPE, (name, error)
            else:
                raise AssertionError(f"{name}: it answers {data.hex()}")
            drive.clear_halt(drive.incoming)
        assert drive.is_halted(drive.outgoing), f"{name}: bulk-out is not halted"
        drive.reset()
        status, residue, data = drive.command(INQUIRY, 36)
        assert (status, residue, len(data)) == (GOOD, 0, 36), (name, status, residue)
        yield name


def requests(drive):
    """The class's requests, and others that it does not have."""
    unit = drive.request(0xA1, 0xFE, 0, 0, 1, TIMEOUT)
    assert len(unit) == 1 and unit[0] < 16, unit
    yield "GET MAX LUN"
    for name, ask in {
        "an unknown request is refused": (0xA1, 0x55, 0, 0, 1),
        "an unknown request with data is refused": (0x21, 0x55, 0, 0, b"12345678"),
        "a reset with a value is refused": (0x21, 0xFF, 1, 0, None),
        "GET MAX LUN of 0 bytes is refused": (0xA1, 0xFE, 1, 0, 1),
    }.items():
        try:
            drive.request(*ask, TIMEOUT)
        except usb.core.USBError as error:
            assert error.errno == EPIPE, (name, error)
        else:
            raise AssertionError(name)
        yield name


# --- malice ---

# All that a drive of either kind may know, and more.
OPCODES = [
    0x00, 0x03, 0x04, 0x08, 0x0A, 0x12, 0x15, 0x1A, 0x1E, 0x23, 0x25, 0x28, 0x2A, 0x2B, 0x2F, 0x35,
    0x41, 0x42, 0x43, 0x46, 0x4A, 0x51, 0x52, 0x55, 0x5A, 0x88, 0x89, 0x8A, 0x8F, 0x91, 0x93, 0x9E,
    0xA0, 0xA1, 0xA3, 0xA7, 0xA8, 0xAA, 0xAC, 0xAD, 0xAF, 0xB6, 0xB9, 0xBB, 0xBD, 0xBE, 0xFF,
]
START_STOP = 0x1B
LENGTHS = [0, 1, 8, 12, 13, 18, 31, 36, 63, 64, 192, 511, 512, 513, 1024, 2048, 4096, 65536, 131072]


def random_block(draw):
    """Mostly a known operation code with a little noise, now and then nothing but noise."""
    size = draw.choice([6, 10, 12, 16, 16, draw.randint(1, 16)])
    block = bytearray(size)
    if draw.random() < 0.5:
        block[:] = draw.randbytes(size)
    else:
        for _ in range(draw.randint(0, 4)):
            block[draw.randrange(size)] = draw.randrange(256)
    if draw.random() < 0.9:
        block[0] = draw.choice(OPCODES)
    if block[0] == START_STOP and len(block) > 4:
        block[4] &= 0xFD  # an eject would end the session, and rightly
    return bytes(block)


def random_length(draw):
    return draw.choice([draw.choice(LENGTHS), draw.randint(0, 70000), 0xFFFFFFFF])


class Malice:
    """One hostile deed a method; whatever the drive answers is borne."""

    def __init__(self, drive, medium, draw):
        self.drive, self.medium, self.draw = drive, medium, draw

    def bear(self, deed, *arguments):
        try:
            return deed(*arguments)
        except usb.core.USBError:
            return None

    def nonsense_command(self):
        """A random command, carried through as it should be or broken off."""
        draw, drive = self.draw, self.drive
        length, flags = random_length(draw), draw.choice([IN, OUT])
        drive.send_wrapper(random_block(draw), length, flags, draw.choice([0, 0, 0, 1, 15]))
        amount = min(length, draw.choice([131072, length, length // 2, 13, 0]))
        if flags & IN and amount:
            drive.read(min(amount, 1 << 18))
        elif amount:
            drive.write(bytes(min(amount, 1 << 17)))
        if draw.random() < 0.6:
            drive.read(CSW.size)

    def noise(self):
        """Bytes that are no wrapper at all."""
        length = self.draw.choice([0, 1, 30, 31, 32, 512, 4096])
        self.drive.write(self.draw.randbytes(length))

    def broken_read(self):
        """A read of which a part is fetched, and then something else is said."""
        count = min(self.draw.randint(1, 256), self.medium.blocks)
        self.drive.send_wrapper(self.medium.read_command(0, count), count * self.medium.block, IN)
        self.drive.read(self.drive.packet * self.draw.randint(1, 8))
        if self.draw.random() < 0.5:
            self.drive.send_wrapper(INQUIRY, 36, IN)

    def class_reset(self):
        self.drive.request(0x21, 0xFF, 0, 0, None, 10 * PATIENCE)

    def clear_a_halt(self):
        self.drive.clear_halt(self.draw.choice([self.drive.incoming, self.drive.outgoing]))

    def set_a_halt(self):
        end = self.draw.choice([self.drive.incoming, self.drive.outgoing])
        self.drive.request(0x02, 3, 0, end, None, 10 * PATIENCE)

    def strange_request(self):
        draw = self.draw
        kind = draw.choice([0xA1, 0x21, 0xC1, 0x41])
        length = draw.randint(0, 64)
        request = draw.choice([0xFE, 0xFF, draw.randrange(256)])
        what = length if kind & IN else draw.randbytes(length)
        self.drive.request(kind, request, draw.choice([0, 1]), 0, what, 10 * PATIENCE)

    def configure_again(self):
        usb.util.release_interface(self.drive.device, 0)
        self.drive.device.set_configuration(1)
        usb.util.claim_interface(self.drive.device, 0)

    def bus_reset(self):
        self.drive.device.reset()

    def run(self):
        deeds = [self.nonsense_command] * 8 + [self.noise, self.broken_read, self.broken_read]
        deeds += [self.class_reset, self.clear_a_halt, self.set_a_halt, self.strange_request]
        if self.draw.random() < 0.1:
            deeds += [self.configure_again, self.bus_reset]
        said = []
        for _ in range(self.draw.randint(1, 4)):
            deed = self.draw.choice(deeds)
            said.append(deed.__name__)
            self.bear(deed)
        return said


def malice(drive, medium, seed, rounds):
    draw = random.Random(f"malice {seed}")
    for number in range(rounds):
        drive.timeout = PATIENCE
        said = Malice(drive, medium, draw).run()
        drive.timeout = TIMEOUT
        drive.reset()
        try:
            check_well(drive, medium, draw)
        except (AssertionError, usb.core.USBError) as error:
            raise AssertionError(f"round {number} of seed {seed}, {said}: {error}") from error
    yield f"{rounds} rounds"


def main():
    what, kind, seed, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    drive, medium = Drive(), Medium(kind, seed, size)
    drive.reset()
    settle(drive)
    steps = []
    if what == "cases":
        steps = [cases(drive, medium, kind == "disk"), bad_wrappers(drive), requests(drive)]
    else:
        steps = [malice(drive, medium, seed, int(sys.argv[5]))]
    try:
        for step in steps:
            for name in step:
                print(name, flush=True)
        check_well(drive, medium, random.Random(seed))
    except BaseException:
        print("\n".join(drive.story), file=sys.stderr)
        raise
    drive.release()


if __name__ == "__main__":
    main()
