# SPDX-License-Identifier: Apache-2.0
"""Whether the drives do what the specifications say, also where no ordinary machine asks:
libiscsi's suite for disks, the thirteen cases of Bulk-Only Transport, a machine that is hostile."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.build import CHECKOUT
from platterlab.chance import LONG, SEED, chance
from platterlab.platter import Platter
from platterlab.returning import Connected, Returning
from platterlab.scsi import sg_of
from platterlab.writing import Paper, Writable

HOST = CHECKOUT / "tests/lab/bot_host.py"
MIB = 1 << 20
SIZE = 4 * MIB

# docs/conformance.md says why what is not here is not. The long ones take a minute or two; of them
# the short form has one test each way.
SUITES = [
    "Inquiry", "Mandatory", "ModeSense6", "NoMedia", "PreventAllow", "ReadOnly", "ReadCapacity10",
    "ReadCapacity16", "ReportSupportedOpcodes", "StartStopUnit", "TestUnitReady",
]
SHORT_SUITES = ["Read10.BeyondEol", "Unmap.Simple", "Verify16.Simple", "Write10.BeyondEol"]
LONG_SUITES = [
    "Read6", "Read10", "Read12", "Read16", "Unmap", "Verify10", "Verify12", "Verify16", "Write10",
    "Write12", "Write16", "WriteSame10", "WriteSame16",
]
SUMMARY = re.compile(r"^ *tests +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def platter(bmc: VirtualBmc) -> Iterator[Platter]:
    with platter_parts.running(bmc, platter_parts.config_with("usb")) as programs:
        yield programs


@pytest.fixture(autouse=True)
def _clean(bmc: VirtualBmc, platter: Platter) -> Iterator[None]:
    yield
    platter.end(force=True)  # a test that failed may have left its session waiting
    bmc.wait_clean(20)


@contextmanager
def session(
    bmc: VirtualBmc, image: object, far_end: type[Connected] = Connected, kind: str = "disk"
) -> Iterator[str]:
    with Returning(bmc.address(8080)[1], image, far_end, kind=kind) as page:
        page.wait_state("serving")
        yield bmc.wait_for_disk(kind)
        page.disconnect()


def test_libiscsi_finds_nothing_wrong(bmc: VirtualBmc, platter: Platter) -> None:
    image = Paper(chance("libiscsi").randbytes(SIZE))
    wrong = []
    with session(bmc, image, Writable) as drive:
        sg = sg_of(bmc, drive)
        # Else Linux itself refuses what the suite asks: its limit for USB drives is 120 KiB.
        bmc.write_file(f"/sys/block/{drive[5:]}/device/max_sectors", "2048")
        # Until its last sector has been read, usb-storage takes a failure there for a wrong
        # capacity, and tells of another than the drive's (transport.c, last_sector_hacks).
        assert bmc.read_at(drive, SIZE - 4096, 4096) == image.read(SIZE - 4096, 4096)
        for suite in SUITES + (LONG_SUITES if LONG else SHORT_SUITES):
            begun = time.monotonic()
            command = ["iscsi-test-cu", "-d", "-f", "-n", "-t", f"SCSI.{suite}", sg]
            said = bmc.run(command, timeout=600, check=False)
            # It ends with 0 in most of its misfortunes: only the summary tells.
            found = SUMMARY.search(said.out)
            total, ran, passed, failed, _ = map(int, found.groups()) if found else (0,) * 5
            print(f"{suite}: {passed} of {total}, {time.monotonic() - begun:.1f} s")
            if not total or (ran, passed, failed) != (total, total, 0) or said.status != 0:
                wrong.append(f"{suite}: {said.out}{said.err}")
    assert wrong == [], "\n".join(wrong)


def host(bmc: VirtualBmc, what: str, kind: str, seed: int, *more: int, timeout: float = 120) -> str:
    """Lets a host of our own have the drive; it ends with 0 when all was right."""
    words = [str(word) for word in (what, kind, seed, SIZE, *more)]
    return bmc.run(["/usr/bin/python3", str(HOST), *words], timeout=timeout).out


@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_bulk_only_transport(bmc: VirtualBmc, platter: Platter, kind: str) -> None:
    content = random.Random(SEED).randbytes(SIZE)
    image = Paper(content)
    with session(bmc, image, Writable, kind):
        said = host(bmc, "cases", kind, SEED).splitlines()
        wanted = range(1, 14) if kind == "disk" else (1, 2, 4, 5, 6, 7, 9, 10)
        cases = [int(line.split()[0]) for line in said if line[0].isdigit()]
        assert cases == list(wanted), said
        assert image.content == content


def hostile(bmc: VirtualBmc, platter: Platter, kind: str, rounds: int, timeout: float) -> None:
    content = random.Random(SEED).randbytes(SIZE)
    assert platter.daemon
    with session(bmc, content, kind=kind):
        print(host(bmc, "malice", kind, SEED, rounds, timeout=timeout))
        assert platter.daemon.status is None, platter.daemon.tell()
        assert platter.status()["state"] == "serving"


@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_a_hostile_machine(bmc: VirtualBmc, platter: Platter, kind: str) -> None:
    hostile(bmc, platter, kind, 30, 120)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_a_hostile_machine_for_long(bmc: VirtualBmc, platter: Platter, kind: str) -> None:
    hostile(bmc, platter, kind, 1500, 3600)
