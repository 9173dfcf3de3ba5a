# SPDX-License-Identifier: Apache-2.0
"""Lines that drop, stall and stay away, far ends that answer oddly, and a platterd that is killed,
under a machine that reads its drive all the while: a real nbd, a real gadget, a real SCSI host.

Where the machine must not notice, that means: every byte is right, no read fails, and its kernel's
log has no line of usb, scsi, sd or sr and none about I/O errors. Short forms here; the long ones,
with PLATTER_LONG=1, are `./dev soak`'s."""

from __future__ import annotations

import errno
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.chance import LONG, SEED, chance
from platterlab.platter import BUILD, EXPORTS, Platter
from platterlab.reading import READER, Reading
from platterlab.returning import Connected, Returning

from far_end import EIO, data_chunk
from harness import wait_until
from page import Page
from wan import Wan

# Much more than a slot's cache, and some seconds of the line.
IMAGE = chance("image").randbytes(24 << 20)
CACHE = 8
RATE = 40e6
SHORT_GRACE = 3
GRACE = {"usb": 170, "kernel": 25}  # seconds, where nothing is configured
# What a machine may say of reads that failed; that its drive went, or was reset, it may not.
DRIVE_TROUBLE = re.compile(r"^usb|reset|disconnect|offline")
MIB = 1 << 20

KINDS = ["disk", "cd"] if LONG else ["disk"]
# For what the engine alone has to do with, whichever way the machine has its drive.
either_export = pytest.mark.parametrize(
    "export", EXPORTS if LONG else ["usb"], indirect=True, scope="module")
CUTS, CUT_MAX, SERVICE = (100, 20.0, (4.0, 8.0)) if LONG else (3, 4.0, (1.5, 3.0))
STALL = 20.0 if LONG else 9.0
KILLS = 10 if LONG else 2
AWAY = 600.0 if LONG else 10.0
LATE, LATE_PAUSE = (20.0, 10.0) if LONG else (3.0, 3.0)
ODD_SECONDS = 120.0 if LONG else 12.0


@pytest.fixture(scope="module")
def platter(bmc: VirtualBmc, export: str) -> Iterator[Platter]:
    """Both programs with two slots: the second one's grace is short."""
    config = platter_parts.config_with(export)
    config += f"cache = {CACHE}\n[slot 1]\nname = Impatient\nexport = {export}\n"
    config += f"cache = {CACHE}\ngrace = {SHORT_GRACE}\n"
    with platter_parts.running(bmc, config) as programs:
        yield programs


@contextmanager
def line_to(bmc: VirtualBmc) -> Iterator[Wan]:
    host, port = bmc.address(8080)
    with Wan(BUILD, to=f"{host}:{port}", rate=RATE) as made:
        yield made


@pytest.fixture
def line(bmc: VirtualBmc, platter: Platter) -> Iterator[Wan]:
    with line_to(bmc) as made:
        yield made
    for slot in (0, 1):
        platter.end(slot)  # a test that failed may have left its session waiting
    bmc.wait_clean(20)


@contextmanager
def session(
    bmc: VirtualBmc, line: Wan, far_end: type[Connected] = Connected, kind: str = "disk", **query
) -> Iterator[tuple[Returning, str]]:
    """A far end that returns, and the machine's drive."""
    with Returning(line.port, IMAGE, far_end, kind=kind, **query) as page:
        page.wait_state("serving")
        yield page, bmc.wait_for_disk(kind)


def forget(bmc: VirtualBmc) -> None:
    """The device's kernel keeps nothing of its drive."""
    bmc.run("echo 1 >/proc/sys/vm/drop_caches")


@pytest.mark.parametrize("kind", KINDS)
def test_cuts(bmc: VirtualBmc, platter: Platter, line: Wan, kind: str) -> None:
    draw = chance(f"cuts {kind}")
    cuts = CUTS // len(KINDS)
    with session(bmc, line, kind=kind) as (page, drive):
        with Reading(bmc, drive, IMAGE, SEED) as reading:
            for number in range(cuts):
                # The moment is random; what comes before it is service, without which one command
                # of the machine would have to outlive two outages.
                time.sleep(draw.uniform(*SERVICE))
                line.cut(draw.uniform(0, CUT_MAX))
                line.wait_over("cut")
                page.wait_count(number + 2)
        print(f"{cuts} cuts: {reading.tell()}")
        counters = platter.status()["counters"]
        assert counters["errors"] == 0 and counters["suspensions"] >= 1, counters


@either_export
def test_a_line_that_stalls(bmc: VirtualBmc, platter: Platter, line: Wan) -> None:
    """First the whole line, so that both ends miss each other; then one connection alone, so that
    the far end is back while the device believes in the old one still."""
    draw = chance("stalls")
    with line_to(bmc) as other, session(bmc, line) as (page, drive):
        with Reading(bmc, drive, IMAGE, SEED) as reading:
            time.sleep(draw.uniform(*SERVICE))
            line.stall(STALL)
            line.wait_over("stall")
            page.wait_count(2)
            time.sleep(draw.uniform(*SERVICE))
            page.port = other.port
            line.stall(600.0)
            page.wait_count(3)
            time.sleep(draw.uniform(*SERVICE))
            line.stall(0)  # what was on its way all the time arrives
            time.sleep(draw.uniform(*SERVICE))
        print(f"stalls: {reading.tell()}")
        assert platter.status()["state"] == "serving"
        assert platter.status()["counters"]["errors"] == 0
        page.disconnect()


@pytest.mark.parametrize("kind", KINDS)
def test_killed_platterds(
    bmc: VirtualBmc, platter: Platter, line: Wan, kind: str, export: str
) -> None:
    draw = chance(f"kills {kind}")
    kills = KILLS // 2
    with session(bmc, line, kind=kind) as (page, drive):
        with Reading(bmc, drive, IMAGE, SEED, may_reset=export == "usb") as reading:
            for number in range(kills):
                time.sleep(draw.uniform(*SERVICE))
                bmc.run(["kill", "-9", str(platter.daemon.pid)])
                time.sleep(draw.uniform(0, 2))
                platter.start_daemon()
                page.wait_count(number + 2)
        print(f"{kills} kills: {reading.tell()}")
        assert platter.status()["counters"]["errors"] == 0


def start_reader(bmc: VirtualBmc, drive: str, way: str, stop: str):
    return bmc.start(["/usr/bin/python3", str(READER), drive, way, stop])


def test_an_outage_that_outlasts_the_grace(
    bmc: VirtualBmc, platter: Platter, line: Wan, export: str
) -> None:
    """Reads fail before the machine gives up by itself, which is after 30 s, or 180 s where it is
    told to wait; its drive stays, and is right again."""
    slot = 0 if LONG else 1
    grace = GRACE[export] if LONG else SHORT_GRACE
    stop = "/tmp/outage-is-over"
    with session(bmc, line, slot=slot) as (page, drive):
        bmc.mark_kernel_log("a long outage")
        bmc.run(["rm", "-f", stop])
        reader = start_reader(bmc, drive, "whole", stop)
        reader.wait_for_output("(?m)^whole")
        line.cut(AWAY)
        reader.wait_for_output("(?m)^failed", timeout=grace + 30)
        bmc.write_file(stop, "")
        result = reader.wait(120)
        failures = [row.split() for row in result.out.splitlines() if row.startswith("failed")]
        seconds = [float(row[3]) for row in failures]
        print(f"{len(failures)} reads failed, after {seconds[0]} s and at most {max(seconds)} s")
        # An unreadable medium, as the SCSI host tells it to programs.
        assert {int(row[2]) for row in failures} <= {errno.EIO, errno.ENODATA}
        assert grace - 2 < max(seconds) < grace + 5
        assert platter.status(slot)["state"] == "absent"
        line.wait_over("cut", AWAY + 60)
        assert int(bmc.run(["cat", f"/sys/block/{drive[5:]}/size"]).out) > 0
        page.wait_count(2, timeout=60)
        assert bmc.wait_for_disk("disk") == drive
        again = start_reader(bmc, drive, "whole", stop).wait(120)
        assert again.out.split()[:2] == ["whole", hashlib.sha256(IMAGE).hexdigest()], again.out
        complaints = bmc.machine_complaints("a long outage")
        assert complaints  # or else this test would not see any
        assert [row for row in complaints if DRIVE_TROUBLE.search(row)] == []


class Disorderly(Connected):
    """Answers in any order, a read's second half before its first, and now and then very late."""

    draw = chance("disorder")
    overtaken = 0
    late = 0
    late_again = float("inf")

    def reply_read(self, cookie, offset, length):
        kind = type(self)
        data, half = self.image.read(offset, length), length // 2
        reply = super().reply_read(cookie, offset, length)
        if self.structured and half:
            reply = data_chunk(cookie, offset + half, data[half:], flags=0)
            reply += data_chunk(cookie, offset, data[:half])
        wait = self.draw.uniform(0, 0.05)
        if time.monotonic() > kind.late_again:
            wait = LATE
            kind.late += 1
            kind.late_again = time.monotonic() + LATE + LATE_PAUSE
        if not hasattr(self, "open"):
            self.open = []
        self.open.append(cookie)
        threading.Timer(wait, self.answer, (cookie, reply)).start()
        return b""

    def answer(self, cookie, reply):
        type(self).overtaken += cookie != self.open[0]
        self.open.remove(cookie)
        self.send(reply)


@either_export
def test_answers_out_of_order_and_late(bmc: VirtualBmc, platter: Platter, line: Wan) -> None:
    with session(bmc, line, Disorderly) as (page, drive):
        with Reading(bmc, drive, IMAGE, SEED) as reading:
            Disorderly.late_again = time.monotonic() + 1
            time.sleep(ODD_SECONDS)
        print(f"{Disorderly.overtaken} overtaken, {Disorderly.late} late: {reading.tell()}")
        assert Disorderly.overtaken > 10 and Disorderly.late > 0
        assert platter.status()["counters"]["errors"] == 0
        assert page.count() == 1


class Stammering(Connected):
    """Gives one answer twice when it is told to."""

    again = False

    def reply_read(self, cookie, offset, length):
        reply = super().reply_read(cookie, offset, length)
        if type(self).again:
            type(self).again = False
            return reply + reply
        return reply


@either_export
def test_an_answer_given_twice(bmc: VirtualBmc, platter: Platter, line: Wan) -> None:
    with session(bmc, line, Stammering) as (page, drive):
        with Reading(bmc, drive, IMAGE, SEED) as reading:
            for number in range(2):  # the third would end the session
                Stammering.again = True
                page.wait_count(number + 2)
                assert page.ends[-2].closed[0] == 1002, page.tell()
                time.sleep(1)
        print(f"twice: {reading.tell()}")
        assert platter.status()["counters"]["errors"] == 0


class Faulty(Connected):
    """Cannot read one page of its image while `bad` is where that is."""

    bad: int | None = None
    hits = 0

    def reply_read(self, cookie, offset, length):
        bad = type(self).bad
        if bad is not None and offset < bad + 4096 and bad < offset + length:
            type(self).hits += 1
            return self.reply_error(cookie, EIO)
        return super().reply_read(cookie, offset, length)


def test_an_error_for_one_request(
    bmc: VirtualBmc, platter: Platter, line: Wan, export: str
) -> None:
    """Read ahead, it is nobody's; asked for, it is an error, and only of what was asked for."""
    with session(bmc, line, Faulty) as (page, drive):
        bmc.mark_kernel_log("an error ahead")
        Faulty.hits, Faulty.bad = 0, 20 * MIB
        # Up to the page, or to where the device's kernel, too, reads ahead at its own discretion.
        for at in range(10, 20 if export == "usb" else 19):
            bmc.run(f"dd if={drive} of=/dev/null bs=1M skip={at} count=1 iflag=direct")
        wait_until(lambda: Faulty.hits > 0, "the bad page is read ahead")
        Faulty.bad = None
        at = 20 * MIB
        assert bmc.read_at(drive, at, 65536) == IMAGE[at : at + 65536]
        assert bmc.machine_complaints("an error ahead") == []

        forget(bmc)
        bmc.mark_kernel_log("an error")
        at = 4 * MIB + 8192
        Faulty.hits, Faulty.bad = 0, at
        failed = bmc.run(
            f"dd if={drive} of=/dev/null bs=4096 skip={at // 4096} count=1 iflag=direct",
            check=False,
        )
        assert failed.status != 0 and "error reading" in failed.err, failed
        assert Faulty.hits > 0
        assert bmc.read_at(drive, 16 * MIB, 4096) == IMAGE[16 * MIB : 16 * MIB + 4096]
        Faulty.bad = None
        assert bmc.read_at(drive, at, 4096) == IMAGE[at : at + 4096]
        complaints = bmc.machine_complaints("an error")
        assert complaints
        assert [row for row in complaints if DRIVE_TROUBLE.search(row)] == []
        assert bmc.sha256(drive) == hashlib.sha256(IMAGE).hexdigest()
        assert page.count() == 1


@either_export
def test_the_page_itself(
    bmc: VirtualBmc, platter: Platter, line: Wan, tmp_path: Path
) -> None:
    """The page in its browser: cut off, stalled, and loaded anew with its file chosen again."""
    draw = chance("page")
    image = tmp_path / "test.img"
    image.write_bytes(IMAGE)
    with Page(f"http://127.0.0.1:{line.port}/", image, "disk") as page:
        page.wait_for_state("serving")
        drive = bmc.wait_for_disk("disk")
        with Reading(bmc, drive, IMAGE, SEED) as reading:
            time.sleep(draw.uniform(*SERVICE))
            page.forget()
            line.cut(3.0)
            page.wait_for_state("suspended")
            page.forget()
            page.wait_for_state("serving")
            time.sleep(draw.uniform(*SERVICE))
            page.forget()
            line.stall(STALL)
            page.wait_for_state("suspended")
            page.forget()
            page.wait_for_state("serving")
            time.sleep(draw.uniform(*SERVICE))
            page.reload()
            page.wait_for_state("waiting")
            page.choose_again(image)
            page.wait_for_state("serving")
        print(f"the page: {reading.tell()}")
        counters = platter.status()["counters"]
        assert counters["errors"] == 0 and counters["suspensions"] >= 2, counters
        page.disconnect()
