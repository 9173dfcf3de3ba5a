# SPDX-License-Identifier: Apache-2.0
"""What is not as it should be: a busy device, no controller, a missing module, a file that changes.
Each ends the session with one sentence that names it, and leaves nothing half-built.

The tests take things away from the virtual BMC and end with it: their order matters."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from page import Page

from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.platter import Platter

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")


@pytest.fixture(scope="module")
def programs(bmc: VirtualBmc) -> Iterator[Platter]:
    """Both programs, their slot tied to /dev/nbd0."""
    config = platter_parts.config_with("kernel") + "nbd = nbd0\n"
    with platter_parts.running(bmc, config) as programs:
        yield programs


def refused(bmc: VirtualBmc, programs: Platter) -> str:
    """Connects, which must fail; the sentence that the page was given."""
    with Page(programs.url, ISO, "disk") as page:
        ended = page.wait_until_ended()
    assert ended["code"] == 4004, ended
    assert ended["reason"].endswith("."), ended
    bmc.wait_clean()
    assert programs.status()["state"] == "idle"
    return ended["reason"]


def first_failure(bmc: VirtualBmc, drive: str, data: bytes, places: range) -> int | None:
    """Where the machine cannot read. Before, it may: what was there before the change."""
    for at in places:
        read = bmc.run(
            f"dd if={drive} of=/run/piece bs=64k skip={at >> 16} count=1 iflag=direct && "
            "sha256sum /run/piece",
            check=False,
        )
        if read.status != 0:
            return at
        assert read.out.split()[0] == hashlib.sha256(data[at : at + 65536]).hexdigest(), f"at {at}"
    return None


def test_a_file_that_shrinks_takes_the_drive_away(
    bmc: VirtualBmc, programs: Platter, tmp_path: Path
) -> None:
    # Long enough that neither the device nor the page has all of what is read after the change.
    image = tmp_path / "shrinking.iso"
    data = ISO.read_bytes()
    data += random.Random(1).randbytes((96 << 20) - len(data))
    image.write_bytes(data)
    with Page(programs.url, image, "disk") as page:
        page.wait_for_state("serving")
        drive = bmc.wait_for_disk("disk")
        assert bmc.read_at(drive, 32768, 4096) == data[32768:36864]
        with image.open("r+b") as file:
            file.truncate(1 << 20)
        assert first_failure(bmc, drive, data, range(16 << 20, 90 << 20, 9 << 20)) is not None
        ended = page.wait_until_ended()
    assert ended["code"] == 4100 and "changed" in (ended["title"] + ended["text"]).lower(), ended
    bmc.wait_clean()
    assert "changed on disk" in programs.status()["reason"]


def test_a_busy_nbd_device(bmc: VirtualBmc, programs: Platter) -> None:
    bmc.run(f"""rm -f /run/other.sock; nbdkit -U /run/other.sock -P /run/other.pid file {ISO}
        nbd-client -unix /run/other.sock /dev/nbd0""")
    with Page(programs.url, ISO, "disk") as page:
        ended = page.wait_until_ended()
    assert ended["code"] == 4004 and "nbd0" in ended["reason"], ended
    # The other one's device has not been touched.
    bmc.run("""test -e /sys/block/nbd0/pid
        nbd-client -d /dev/nbd0; kill $(cat /run/other.pid)""")
    bmc.wait_clean()


def test_no_usb_device_controller(bmc: VirtualBmc, programs: Platter) -> None:
    bmc.run("rmmod dummy_hcd")
    reason = refused(bmc, programs)
    assert "USB device controller" in reason


def test_a_missing_module(bmc: VirtualBmc, programs: Platter) -> None:
    bmc.run("""rmmod nbd
        mkdir -p /etc/modprobe.d && echo "install nbd /bin/false" >/etc/modprobe.d/no-nbd.conf""")
    reason = refused(bmc, programs)
    assert "nbd" in reason and "module" in reason
