# SPDX-License-Identifier: Apache-2.0
"""The helper and USB devices on FunctionFS, on a real kernel. platterd's part is played by
helper_client.py, which serves the smallest of drives on the endpoints it is handed."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator

import pytest

from platterlab.bmc import VirtualBmc
from platterlab.helper import ISO, Client, start_helper

# A piece of something, for the target in Python is slow and what it serves is not the question.
IMAGE = "/tmp/usb-image"
LENGTH = 256 * 1024
WANTED = hashlib.sha256(ISO.read_bytes()[:LENGTH]).hexdigest()
GADGETS = "/sys/kernel/config/usb_gadget"
# Slot 0 a device of its own; 1 to 3 share one; 4 is another program's business.
SLOTS = """
[slot 0]
export = usb
vendor = Acme
product = Tray
serial = 0123456789AB
[slot 1]
export = usb
usb_device = three
plugged = always
drive = disk
[slot 2]
export = usb
usb_device = three
plugged = always
drive = disk
[slot 3]
export = usb
usb_device = three
plugged = always
drive = disk
[slot 4]
export = kernel
"""


def many(count: int) -> str:
    """Slots that are all drives of one USB device."""
    slot = "[slot {}]\nexport = usb\nusb_device = many\nplugged = always\ndrive = disk\n"
    return "".join(slot.format(n) for n in range(count))


@pytest.fixture(scope="module", autouse=True)
def image(bmc: VirtualBmc) -> None:
    bmc.run(f"head -c {LENGTH} {ISO} >{IMAGE}")


@pytest.fixture
def helper(bmc: VirtualBmc) -> Iterator:
    running = start_helper(bmc, slots=SLOTS)
    yield running
    if running.status is None:
        assert running.stop().status == 0
    clean(bmc)


def clean(bmc: VirtualBmc) -> None:
    """Nothing is left of any USB device: no gadget, no drive, no record, no mount."""
    bmc.wait_clean()
    left = bmc.run("ls /run/helper-test | grep -v 'slot-[0-9]*.lock'", check=False).out.split()
    assert left == ["helper.lock"]
    assert bmc.run("grep -c functionfs /proc/self/mounts", check=False).out.strip() == "0"


def wait_for_disks(bmc: VirtualBmc, count: int) -> list[str]:
    script = f"""
        while :; do
            n=0
            for d in /sys/block/sd*; do [ "$(cat $d/size)" -gt 0 ] && n=$((n + 1)); done 2>/dev/null
            [ $n -ge {count} ] && cd /sys/block && ls -d sd* | sed s,^,/dev/, && exit
            sleep 0.1
        done"""
    return bmc.run(script).out.split()


def test_the_machine_reads_every_byte(bmc, helper):
    client = Client(bmc)
    client.usb(IMAGE)
    assert client.wait("functions [0-9]+").split()[-1] == "1"
    client.wait("event enable")
    drive = bmc.wait_for_disk()
    assert bmc.sha256(drive) == WANTED
    told = bmc.run(
        """cd $(dirname $(grep -l 0123456789AB /sys/bus/usb/devices/*/serial))
        cat manufacturer product
        cd *:1.0 && cat bInterfaceClass bInterfaceSubClass bInterfaceProtocol bNumEndpoints"""
    )
    assert told.out.split() == ["Acme", "Tray", "08", "06", "50", "02"]
    # Nobody else can find the endpoints, nor hide them from it.
    assert bmc.run("grep -l functionfs /proc/[0-9]*/mounts", check=False).out == ""
    client.say("reload 0")
    client.wait("reply reload 95 ")
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    bmc.wait_clean(5)
    assert client.wait("event unbind")
    client.kill()


def test_two_devices_at_once(bmc, helper):
    one = Client(bmc)
    one.usb(IMAGE, slot=0)
    three = Client(bmc)
    three.usb(IMAGE, slot=1, drives=3)
    assert three.wait("functions [0-9]+").split()[-1] == "3"
    disks = wait_for_disks(bmc, 4)
    for disk in disks:
        assert bmc.sha256(disk) == WANTED
    # What belongs to one connection, another cannot take away; and each goes by itself.
    one.say("detach 1 alive")
    one.wait("reply detach 1 ")
    three.say("detach 1 alive")
    three.wait("reply detach 0")
    assert bmc.sha256(bmc.wait_for_disk()) == WANTED
    one.kill()
    three.kill()


def test_more_drives_than_endpoints(bmc):
    """USB itself has no endpoints for sixteen; fewer can still be more than the controller has."""
    counts = {}
    for drives in (15, 16):
        helper = start_helper(bmc, slots=many(drives))
        client = Client(bmc)
        client.usb(IMAGE, drives=drives)
        counts[drives] = int(client.wait("functions [0-9]+").split()[-1])
        wait_for_disks(bmc, drives)
        print(f"{drives} drives: {counts[drives]} functions")
        assert bmc.sha256(bmc.wait_for_disk()) == WANTED
        client.say("detach 0 alive")
        client.wait("reply detach 0")
        client.kill()
        assert helper.stop().status == 0
        clean(bmc)
    assert counts[16] == 1


def test_taken_over_by_the_next_one(bmc):
    """Killed, and another in its place: the machine sees nothing of it, not even in its log."""
    helper = start_helper(bmc, grace=20, slots=SLOTS)
    first = Client(bmc)
    word = first.usb(IMAGE, slot=1, drives=3)
    disks = wait_for_disks(bmc, 3)
    bmc.mark_kernel_log("taken over")
    for _ in range(2):
        first.kill()
        helper.wait_for_output("its drive is kept for 20 s")
        second = Client(bmc)
        assert second.usb(IMAGE, "take", slot=1, drives=3) == word
        for disk in disks:
            assert bmc.sha256(disk) == WANTED
        first = second
    assert wait_for_disks(bmc, 3) == disks
    assert bmc.machine_complaints("taken over") == []
    # One who thinks it is another device is not given it, and then it is nobody's.
    second.kill()
    third = Client(bmc)
    third.say(f"take 1 2 {IMAGE}")
    third.wait("reply take 116 ")
    bmc.wait_clean(5)
    third.say(f"take 1 3 {IMAGE}")
    third.wait("reply take 2 ")
    third.kill()
    assert helper.stop().status == 0
    clean(bmc)


def test_nobody_comes_to_take_it_over(bmc):
    helper = start_helper(bmc, grace=2, slots=SLOTS)
    client = Client(bmc)
    client.usb(IMAGE)
    bmc.wait_for_disk()
    client.kill()
    bmc.wait_clean(10)
    late = Client(bmc)
    late.say(f"take 0 1 {IMAGE}")
    late.wait("reply take 2 ")
    late.kill()
    assert helper.stop().status == 0
    clean(bmc)


@pytest.mark.parametrize("client_too", [False, True])
def test_helper_is_killed(bmc, helper, client_too):
    """platterd's duplicates keep the device alive, until the next helper finds its record."""
    client = Client(bmc)
    client.usb(IMAGE)
    drive = bmc.wait_for_disk()
    helper.signal(signal.SIGKILL)
    helper.wait()
    client.wait("closed")
    if client_too:
        client.kill()
    else:
        assert bmc.sha256(drive) == WANTED
    again = start_helper(bmc, slots=SLOTS)
    bmc.wait_clean(5)
    fresh = Client(bmc)
    fresh.usb(IMAGE)
    assert bmc.sha256(bmc.wait_for_disk()) == WANTED
    fresh.say("detach 0 alive")
    fresh.wait("reply detach 0")
    fresh.kill()
    if not client_too:
        client.kill()
    assert again.stop().status == 0


def test_attach_and_helper_killed_at_any_moment(bmc):
    """However far it came, the next helper clears it, and builds the same anew."""
    for delay in (0.0, 0.05, 0.15, 0.4):
        helper = start_helper(bmc, slots=SLOTS)
        client = Client(bmc)
        client.say(f"usb 1 3 {IMAGE}")
        time.sleep(delay)
        helper.signal(signal.SIGKILL)
        helper.wait()
        client.kill()
    helper = start_helper(bmc, slots=SLOTS)
    bmc.wait_clean()
    client = Client(bmc)
    client.usb(IMAGE, slot=1, drives=3)
    wait_for_disks(bmc, 3)
    client.kill()
    bmc.wait_clean()
    assert helper.stop().status == 0
    clean(bmc)


def test_helper_is_told_to_stop(bmc, helper):
    client = Client(bmc)
    client.usb(IMAGE)
    bmc.wait_for_disk()
    assert helper.stop().status == 0
    client.wait("gone 0 ")
    clean(bmc)
    client.kill()


def test_an_admin_removes_the_gadget(bmc, helper):
    client = Client(bmc)
    client.usb(IMAGE)
    bmc.wait_for_disk()
    bmc.run(f"echo >{GADGETS}/platter-0/UDC")
    said = client.wait("gone 0 .*")
    assert "removed by another program" in said
    bmc.wait_clean()
    client.usb(IMAGE)
    bmc.wait_for_disk()
    client.kill()


def test_no_free_controller_is_said_and_leaves_nothing(bmc, helper):
    bmc.run(f"""set -e
        for n in 0 1; do
            g={GADGETS}/taken$n
            mkdir $g $g/functions/mass_storage.0 $g/configs/c.1
            ln -s $g/functions/mass_storage.0 $g/configs/c.1/
            echo dummy_udc.$n >$g/UDC
        done""")
    client = Client(bmc)
    client.say(f"usb 1 3 {IMAGE}")
    said = client.wait("reply usb [1-9].*")
    bmc.run(f"""
        for n in 0 1; do
            g={GADGETS}/taken$n
            echo >$g/UDC
            rm $g/configs/c.1/mass_storage.0
            rmdir $g/functions/mass_storage.0 $g/configs/c.1 $g
        done""")
    assert "reply usb 16 " in said and "runs taken" in said
    client.kill()


def test_a_kernel_without_functionfs(bmc, helper):
    bmc.run("modprobe -r usb_f_fs && mv /usr/sbin/modprobe /usr/sbin/modprobe.away")
    client = Client(bmc)
    client.say(f"usb 0 1 {IMAGE}")
    said = client.wait("reply usb [1-9].*")
    bmc.run("mv /usr/sbin/modprobe.away /usr/sbin/modprobe && modprobe usb_f_fs")
    assert "lacks usb_f_fs" in said
    client.kill()


def test_what_the_configuration_does_not_say(bmc, helper):
    client = Client(bmc)
    # Another number of drives, not the lowest slot, another export.
    for line in ("usb 1 2", "usb 2 3", "usb 4 1", "usb 0 16"):
        client.ask(f"{line} {IMAGE}", "reply usb 22 ")
    client.ask(f"attach 0 disk {IMAGE}", "reply attach 22 ")
    assert bmc.leftovers() == []
    client.say("usbfds 0 nothing")
    client.wait("reply usb 9 ")
    client.kill()
    for what in ("file", "memfd"):
        client = Client(bmc)
        client.say(f"usbfds 0 {what}")
        client.wait("closed")
        client.kill()


def test_descriptors_do_not_pile_up(bmc, helper):
    """What the helper holds after eight devices is what it held before."""
    count = "ls /proc/$(pidof platter-helper)/fd | wc -l"
    client = Client(bmc)
    before = bmc.run(count).out
    for _ in range(8):
        client.usb(IMAGE)
        client.ask("detach 0 alive", "reply detach 0")
    assert bmc.run(count).out == before
    client.kill()
