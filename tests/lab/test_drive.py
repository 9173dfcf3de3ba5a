# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end: a file chosen in a real browser is a USB drive of a real SCSI host, and
a machine boots from it, through either export. Nothing in the path is a stand-in: the page,
platterd, platter-helper, FunctionFS or the kernel's nbd and mass-storage gadget, usb-storage, sd
and sr."""

from __future__ import annotations

import hashlib
import lzma
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from page import Page

from platterlab.bmc import VirtualBmc
from platterlab.chance import LONG
from platterlab.machine import VirtualMachine
from platterlab.platter import EXPORTS, Platter

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
GIB = 1 << 30
PAIRS = [(export, kind) for export in EXPORTS for kind in ("disk", "cd")]


@pytest.fixture(autouse=True)
def _clean(bmc: VirtualBmc, platter: Platter) -> Iterator[None]:
    """Each test leaves a clean device; one that fails, no session that waits for its page."""
    yield
    try:
        bmc.wait_clean()
    finally:
        platter.end(force=True)


def plugged_in(page: Page, bmc: VirtualBmc, kind: str) -> str:
    """Waits for the session and the machine's drive."""
    page.wait_for_state("serving")
    return bmc.wait_for_disk(kind)


@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_the_whole_iso_is_read(bmc: VirtualBmc, platter: Platter, kind: str) -> None:
    with Page(platter.url, ISO, kind) as page:
        drive = plugged_in(page, bmc, kind)
        bmc.mark_kernel_log(f"reading the {kind}")
        assert bmc.sha256(drive) == hashlib.sha256(ISO.read_bytes()).hexdigest()
        assert bmc.machine_complaints(f"reading the {kind}") == []
        status = platter.status()
        assert status["state"] == "serving"
        assert status["medium"]["name"] == ISO.name
        assert status["medium"]["kind"] == kind
        assert status["medium"]["size"] == ISO.stat().st_size
        assert status["counters"]["bytes_read"] >= ISO.stat().st_size
        assert status["counters"]["errors"] == 0
        page.disconnect()
    bmc.wait_clean()
    assert platter.status()["state"] == "idle"


@pytest.mark.parametrize(
    ("export", "kind"),
    [("usb", "cd"), ("kernel", "disk"), pytest.param("usb", "disk", marks=pytest.mark.soak)],
    indirect=["export"],
    scope="module",  # as the fixture has it
)
def test_an_image_of_5_gib(
    bmc: VirtualBmc, platter: Platter, tmp_path: Path, kind: str
) -> None:
    image = tmp_path / "large.img"
    size = 5 * GIB
    places = (0, GIB, 4 * GIB - 4096, 4 * GIB + 12345344, size - 8192)
    marks = {at: os.urandom(8192) for at in places}
    with image.open("wb") as out:
        out.truncate(size)
        for at, data in marks.items():
            out.seek(at)
            out.write(data)
    with Page(platter.url, image, kind) as page:
        drive = plugged_in(page, bmc, kind)
        bmc.mark_kernel_log(f"reading the large {kind}")
        assert int(bmc.run(["blockdev", "--getsize64", drive]).out) == size
        for at, data in marks.items():
            assert bmc.read_at(drive, at, len(data)) == data, f"at {at}"
        assert bmc.read_at(drive, 3 * GIB, 65536) == bytes(65536)
        assert bmc.machine_complaints(f"reading the large {kind}") == []
        page.disconnect()


@pytest.mark.parametrize("export", ["kernel"], indirect=True)
def test_a_cd_too_large_for_the_kernel_is_refused(
    bmc: VirtualBmc, platter: Platter, tmp_path: Path
) -> None:
    image = tmp_path / "large.iso"
    with image.open("wb") as out:
        out.write(ISO.read_bytes())
        out.truncate(3 * GIB)
    with Page(platter.url, image, "cd") as page:
        ended = page.wait_until_ended()
        assert ended["code"] == 4002
        # Why, and what to do instead.
        assert "2.36 GB" in ended["text"] and "disk" in ended["text"].lower(), ended
    bmc.wait_clean()
    assert platter.status()["state"] == "idle"


@pytest.mark.parametrize("export", ["usb"], indirect=True)
def test_images_that_are_none_are_refused_by_the_page(platter: Platter, tmp_path: Path) -> None:
    qcow2 = tmp_path / "disk.img"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", str(qcow2), "1G"]
    subprocess.run(command, check=True)
    packed = tmp_path / "disc.iso"
    packed.write_bytes(lzma.compress(ISO.read_bytes()[:100000]))
    for image, word in ((qcow2, "qcow2"), (packed, "xz")):
        with Page(platter.url, image) as page:
            assert word in page.wait_until_refused().lower()
    assert platter.status()["state"] == "idle"


@pytest.mark.parametrize("export", EXPORTS if LONG else ["usb"], indirect=True, scope="module")
def test_a_second_browser_finds_the_drive_in_use(bmc: VirtualBmc, platter: Platter) -> None:
    with Page(platter.url, ISO, "disk") as page:
        drive = plugged_in(page, bmc, "disk")
        with Page(platter.url, ISO, "disk") as other:
            assert "Another page holds it" in other.wait_until_blocked()
            assert bmc.read_at(drive, 32768, 4096) == ISO.read_bytes()[32768:36864]
            page.disconnect()
            assert plugged_in(other, bmc, "disk")
            other.disconnect()


@pytest.mark.parametrize(
    ("export", "kind"),
    PAIRS if LONG else [("usb", "disk"), ("kernel", "cd")],
    indirect=["export"],
    scope="module",
)
def test_a_platterd_that_is_killed_and_comes_back(
    bmc: VirtualBmc, platter: Platter, kind: str, export: str
) -> None:
    """The page comes back by itself, and the machine's read goes on to its end. A USB drive that is
    killed between two commands may have lost one, and the machine then resets it."""
    wanted = hashlib.sha256(ISO.read_bytes()).hexdigest()
    with Page(platter.url, ISO, kind) as page:
        drive = plugged_in(page, bmc, kind)
        bmc.mark_kernel_log(f"{kind}: killed")
        reading = bmc.start(
            f"for n in 1 2 3; do echo 3 >/proc/sys/vm/drop_caches; "
            f"dd if={drive} bs=64k iflag=direct status=none | sha256sum; done"
        )
        reading.wait_for_output(wanted)
        platter.kill_daemon()
        platter.start_daemon()
        page.forget()
        page.wait_for_state("serving")
        assert reading.wait(120).out.split()[::2] == [wanted] * 3
        assert bmc.machine_complaints(f"{kind}: killed", may_reset=export == "usb") == []
        page.disconnect()


# From the USB drive of our own, test_boot.py boots in more ways.
@pytest.mark.parametrize(
    ("export", "kind"),
    PAIRS if LONG else [("kernel", "disk")],
    indirect=["export"],
    scope="module",
)
def test_a_machine_boots_is_reset_and_boots_again(
    bmc: VirtualBmc, platter: Platter, machine: VirtualMachine, kind: str
) -> None:
    with Page(platter.url, ISO, kind) as page:
        plugged_in(page, bmc, kind)
        redirect = bmc.start(["usbredirect", "--device", "1d6b:0104", "--as", "0.0.0.0:4000"])
        machine.start(*bmc.address(4000))
        machine.wait_for_text("GNU GRUB")
        machine.reset()
        machine.wait_until_gone("GNU GRUB")
        machine.wait_for_text("GNU GRUB")
        assert platter.status()["state"] == "serving"
        assert platter.status()["counters"]["errors"] == 0
        machine.close()
        redirect.stop()
        page.disconnect()
