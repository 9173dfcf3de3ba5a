# SPDX-License-Identifier: Apache-2.0
"""What only the export `usb` can: outages of minutes, media that change in a drive that stays, the
machine's lock on it, one platterd after the other without a replug, a bus that is suspended."""

from __future__ import annotations

import hashlib
import re
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.chance import LONG, SEED, chance
from platterlab.platter import BUILD, Platter
from platterlab.reading import READER, Reading
from platterlab.returning import Returning

from wan import Wan

IMAGE = chance("usb image").randbytes(24 << 20)
OTHER = chance("another image").randbytes(8 << 20)
RATE = 40e6
# A machine gives a command 30 s and asks for six times that; in the short form, a tenth of all.
TENTH = 1.0 if LONG else 0.1
STAYS = 1  # the slot whose drive is always there


@pytest.fixture(scope="module")
def platter(bmc: VirtualBmc) -> Iterator[Platter]:
    """Two slots: one whose drive comes with its medium, and one whose CD drive is always there."""
    config = platter_parts.config_with("usb") + f"cache = 8\ngrace = {170 * TENTH:.0f}\n"
    config += "[slot 1]\nname = Always there\nexport = usb\nplugged = always\ndrive = cd\n"
    with platter_parts.running(bmc, config) as programs:
        yield programs


@pytest.fixture
def line(bmc: VirtualBmc, platter: Platter) -> Iterator[Wan]:
    host, port = bmc.address(8080)
    with Wan(BUILD, to=f"{host}:{port}", rate=RATE) as made:
        yield made
    for slot in (0, STAYS):
        platter.end(slot, force=True)


def optical_drive(bmc: VirtualBmc) -> str:
    """The drive that is always there, with a medium or without."""
    script = "until d=$(ls -d /sys/block/sr* 2>&1); do sleep 0.1; done; echo ${d##*/}"
    return bmc.run(script).out.strip()


@contextmanager
def session(bmc: VirtualBmc, port: int, image: bytes = IMAGE, kind: str = "disk", **query):
    with Returning(port, image, kind=kind, **query) as page:
        page.wait_state("serving")
        yield page, bmc.wait_for_disk(kind)


def set_patience(bmc: VirtualBmc, drive: str) -> None:
    """How long the machine waits for one command."""
    bmc.write_file(f"/sys/block/{drive[5:]}/device/timeout", f"{30 * TENTH:.0f}")


@pytest.mark.parametrize("seconds", [60, 150])
def test_an_outage_that_the_machine_rides_out(bmc, platter, line, seconds) -> None:
    with session(bmc, line.port) as (page, drive):
        set_patience(bmc, drive)
        with Reading(bmc, drive, IMAGE, SEED) as reading:
            time.sleep(1)
            line.cut(seconds * TENTH)
            line.wait_over("cut", seconds + 60)
            page.wait_count(2)
        print(f"{seconds * TENTH} s: {reading.tell()}")
        assert platter.status()["counters"]["errors"] == 0


def test_an_outage_that_it_does_not(bmc, platter, line) -> None:
    """An error when the machine's own time is over; then the drive is there and right."""
    stop = "/tmp/usb-outage-is-over"
    with session(bmc, line.port) as (page, drive):
        set_patience(bmc, drive)
        bmc.mark_kernel_log("too long")
        bmc.run(["rm", "-f", stop])
        reader = bmc.start(["/usr/bin/python3", str(READER), drive, "whole", stop])
        reader.wait_for_output("(?m)^whole")
        line.cut(400 * TENTH)
        reader.wait_for_output("(?m)^failed", timeout=200)
        bmc.write_file(stop, "")
        line.wait_over("cut", 460)
        page.wait_count(2)
        failures = re.findall(r"(?m)^failed \d+ \d+ ([\d.]+)", reader.wait(400).out)
        print(f"{len(failures)} reads failed, the first after {failures[0]} s")
        assert float(failures[0]) > 140 * TENTH
        again = bmc.start(["/usr/bin/python3", str(READER), drive, "whole", stop]).wait(300)
        assert again.out.split()[:2] == ["whole", hashlib.sha256(IMAGE).hexdigest()], again.out
        trouble = re.compile(r"^usb|reset|disconnect|offline")
        assert [row for row in bmc.machine_complaints("too long") if trouble.search(row)] == []


@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_one_platterd_after_the_other(bmc, platter, line, kind) -> None:
    """Killed in the middle of reads, and replaced in good order; the machine is not replugged. One
    that is killed in a bad moment may have swallowed a command: then the machine resets its drive.
    """
    draw = chance(f"usb kills {kind}")
    with session(bmc, line.port, kind=kind) as (page, drive):
        with Reading(bmc, drive, IMAGE, SEED, may_reset=True) as reading:
            for number in range(10 if LONG else 2):
                time.sleep(draw.uniform(0.5, 1.5))
                platter.kill_daemon()
                time.sleep(draw.uniform(0, 2))
                platter.start_daemon()
                page.wait_count(number + 2)
            before = page.count()
            time.sleep(1)
            bmc.run(["kill", "-USR2", str(platter.daemon.pid)])
            assert platter.daemon.wait().status == 0
            platter.start_daemon()
            page.wait_count(before + 1)
        print(f"replaced: {reading.tell()}")


def test_media_change_in_a_drive_that_stays(bmc, platter, line) -> None:
    drive = "/dev/" + optical_drive(bmc)
    bmc.mark_kernel_log("changes")
    for image in (IMAGE, OTHER, IMAGE):
        with session(bmc, line.port, image, "cd", slot=STAYS) as (page, found):
            assert found == drive
            assert bmc.sha256(drive) == hashlib.sha256(image).hexdigest()
            page.disconnect()
        bmc.run(f"until ! dd if={drive} of=/dev/null bs=2048 count=1 2>&1; do sleep 0.1; done")
    log = bmc.kernel_log()
    since = log[max(n for n, row in enumerate(log) if row == "lab: changes") :]
    # A reset may still follow from a platterd that was killed before.
    again = re.compile(r"usb \S+: (USB disconnect|new )|scsi ")
    assert not [row for row in since if again.match(row)], since


def test_the_machine_ejects(bmc, platter, line) -> None:
    drive = "/dev/" + optical_drive(bmc)
    with Returning(line.port, OTHER, kind="cd", slot=STAYS) as page:
        page.wait_state("serving")
        bmc.wait_for_disk("cd")
        bmc.run(["eject", drive])
        page._thread.join(10)
        assert page.closed and page.closed[0] == 4001, page.tell()
    assert bmc.run(f"test -e /sys/block/{drive[5:]}", check=False).status == 0


def test_the_machine_locks(bmc, platter, line) -> None:
    """What it has open is not taken away, unless somebody insists."""
    drive = "/dev/" + optical_drive(bmc)
    with Returning(line.port, OTHER, kind="cd", slot=STAYS) as page:
        page.wait_state("serving")
        bmc.wait_for_disk("cd")
        holder = bmc.start(f"exec 3<{drive}; echo open; sleep 60")
        holder.wait_for_output("open")
        bmc.run(f"dd if={drive} of=/dev/null bs=64k count=1")
        deadline = time.monotonic() + 10
        while not platter.status(STAYS)["locked"]:
            assert time.monotonic() < deadline, platter.status(STAYS)
            time.sleep(0.1)
        with pytest.raises(urllib.error.HTTPError) as refused:
            platter.post_end(STAYS)
        assert refused.value.code == 409
        assert platter.status(STAYS)["state"] == "serving"
        platter.end(STAYS, force=True)
        page._thread.join(10)
        holder.stop()
    assert platter.status(STAYS)["state"] == "idle"


def test_the_bus_is_suspended(bmc, platter, line) -> None:
    """And woken by the next read."""
    with session(bmc, line.port) as (_, drive):
        device = bmc.run(f"readlink -f /sys/block/{drive[5:]}/device").out.strip()
        port = re.match(r"(/sys/devices/.*?/usb\d+/\d+-[\d.]+)/", device + "/").group(1)
        for node in (device, port):
            bmc.run(f"echo 0 >{node}/power/autosuspend_delay_ms; echo auto >{node}/power/control")
        bmc.run(f"until [ $(cat {port}/power/runtime_status) = suspended ]; do sleep 0.1; done")
        assert bmc.sha256(drive) == hashlib.sha256(IMAGE).hexdigest()


def test_the_machine_enumerates_anew(bmc, platter, line) -> None:
    """De-authorised and authorised again, in the middle of a read."""
    with session(bmc, line.port) as (_, drive):
        device = bmc.run(f"readlink -f /sys/block/{drive[5:]}/device").out.strip()
        port = re.match(r"(/sys/devices/.*?/usb\d+/\d+-[\d.]+)/", device + "/").group(1)
        reader = bmc.start(f"dd if={drive} of=/dev/null bs=64k iflag=direct")
        bmc.run(f"echo 0 >{port}/authorized")
        reader.wait(60)
        bmc.run(f"echo 1 >{port}/authorized")
        again = bmc.wait_for_disk("disk")
        assert bmc.sha256(again) == hashlib.sha256(IMAGE).hexdigest()
