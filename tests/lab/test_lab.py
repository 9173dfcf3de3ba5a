# SPDX-License-Identifier: Apache-2.0
"""Proves the lab without Platter: its nbd, its gadgets, its SCSI host, its second machine, its
network delay. When something is wrong with the lab itself, it shows here first."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platterlab.bmc import VirtualBmc
from platterlab.errors import LabError
from platterlab.machine import VirtualMachine

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
GADGET = "/sys/kernel/config/usb_gadget/by-hand"

PLUG_IN = f"""set -e
cd /tmp && rm -f nbdkit.pid nbdkit.sock
nbdkit --exit-with-parent -f -U nbdkit.sock -P nbdkit.pid file "$1" >nbdkit.log 2>&1 &
while ! [ -s /tmp/nbdkit.pid ]; do sleep 0.05; done
nbd-client -unix /tmp/nbdkit.sock /dev/nbd0
mkdir {GADGET} && cd {GADGET}
echo 0x1d6b >idVendor; echo 0x0104 >idProduct
mkdir strings/0x409 configs/c.1 functions/mass_storage.0
echo lab >strings/0x409/product; echo 1 >strings/0x409/serialnumber
echo "$2" >functions/mass_storage.0/lun.0/cdrom
echo 1 >functions/mass_storage.0/lun.0/ro
echo 1 >functions/mass_storage.0/lun.0/removable
echo /dev/nbd0 >functions/mass_storage.0/lun.0/file
ln -s functions/mass_storage.0 configs/c.1/
echo dummy_udc.0 >UDC
wait
"""

UNPLUG = f"""set -e
cd {GADGET}
echo "" >UDC
rm configs/c.1/mass_storage.0
rmdir configs/c.1 functions/mass_storage.0 strings/0x409
cd / && rmdir {GADGET}
nbd-client -d /dev/nbd0
"""


@pytest.fixture
def drive(bmc: VirtualBmc, request: pytest.FixtureRequest) -> Iterator[str]:
    """The ISO as a USB drive of the machine, made by hand; as "disk" or "cd"."""
    kind = getattr(request, "param", "disk")
    cdrom = "1" if kind == "cd" else "0"
    plugged = bmc.start(["sh", "-c", PLUG_IN, "sh", str(ISO), cdrom])
    try:
        yield bmc.wait_for_disk(kind)
    finally:
        bmc.run(UNPLUG)
        plugged.stop()
        bmc.wait_clean()


def test_commands_end_as_they_should(bmc: VirtualBmc) -> None:
    assert bmc.run("echo out; echo err >&2").out == "out\n"
    assert bmc.run("exit 3", check=False).status == 3
    assert bmc.run("cat", stdin=b"given").out == "given"
    assert bmc.run(["printenv", "WORD"], env={"WORD": "said"}).out == "said\n"
    with pytest.raises(LabError, match="status 3"):
        bmc.run("exit 3")
    with pytest.raises(LabError, match="not done in 1 s"):
        bmc.run("sleep 60", timeout=1)
    sleeping = bmc.start("echo begun; sleep 60; true")
    assert sleeping.wait_for_output("beg..") == "begun"
    assert sleeping.stop().status == -15


def test_both_sides_share_files(bmc: VirtualBmc) -> None:
    (bmc.exchange / "from-outside").write_text("hello")
    assert bmc.run("cat /exchange/from-outside").out == "hello"
    bmc.run("echo hello back >/exchange/from-inside")
    assert (bmc.exchange / "from-inside").read_text() == "hello back\n"
    assert bmc.run(["cat", __file__]).out == Path(__file__).read_text()


def test_a_port_of_the_guest_is_reached(bmc: VirtualBmc) -> None:
    server = bmc.start("echo hello | busybox nc -l -p 4321")
    deadline = time.monotonic() + 20
    said = b""
    while said != b"hello\n" and time.monotonic() < deadline:
        with socket.create_connection(bmc.address(4321), timeout=5) as connection:
            try:
                said = connection.recv(100)
            except ConnectionError:
                time.sleep(0.2)
    server.stop()
    assert said == b"hello\n"


@pytest.mark.parametrize("drive", ["disk", "cd"], indirect=True)
def test_the_machine_reads_a_hand_made_drive(bmc: VirtualBmc, drive: str) -> None:
    bmc.mark_kernel_log(f"reading {drive}")
    assert bmc.sha256(drive) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    assert bmc.read_at(drive, 32768, 4096) == ISO.read_bytes()[32768:36864]
    assert bmc.machine_complaints(f"reading {drive}") == []


def test_leftovers_and_complaints_are_seen(bmc: VirtualBmc, drive: str) -> None:
    bmc.mark_kernel_log("breaking it")
    left = "; ".join(bmc.leftovers())
    assert "nbd0 is connected" in left
    assert "gadget by-hand exists" in left
    assert f"the machine still has {drive.removeprefix('/dev/')}" in left
    # What the gadget has in the page cache would be read without a complaint.
    bmc.run("nbd-client -d /dev/nbd0; echo 1 >/proc/sys/vm/drop_caches")
    bmc.run(f"dd if={drive} of=/dev/null bs=1M count=8 iflag=direct", check=False)
    name = drive.removeprefix("/dev/")
    assert any(name in line for line in bmc.machine_complaints("breaking it"))


def test_the_second_machine_boots_and_boots_again(
    bmc: VirtualBmc, drive: str, machine: VirtualMachine
) -> None:
    redirect = bmc.start(["usbredirect", "--device", "1d6b:0104", "--as", "0.0.0.0:4000"])
    machine.start(*bmc.address(4000))
    machine.wait_for_text("GNU GRUB")
    machine.reset()
    machine.wait_until_gone("GNU GRUB")
    machine.wait_for_text("GNU GRUB")
    machine.close()
    redirect.stop()


def test_netem_delays_on_the_tap(tap_bmc: VirtualBmc) -> None:
    host, port = tap_bmc.address(22)
    assert host == "10.79.0.2" and port == 22

    def round_trip() -> float:
        said = tap_bmc.run(["busybox", "ping", "-c", "4", tap_bmc.network.gateway]).out
        return float(said.rsplit("=", 1)[1].split("/")[1])

    assert round_trip() < 20
    tap_bmc.run("tc qdisc add dev eth0 root netem delay 100ms")
    assert 100 <= round_trip() < 130
