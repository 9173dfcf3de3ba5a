# SPDX-License-Identifier: Apache-2.0
"""The helper on a real kernel: real nbd, real gadget, a real SCSI host beside them. The daemon's
part is played by helper_client.py, so that every test can be as late, mute or dead as it needs."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator

import pytest

from platterlab.bmc import VirtualBmc
from platterlab.helper import ISO, SOCKET, Client, start_helper

EJECT = """
import fcntl, os, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK), 0x5309)  # CDROMEJECT
"""


@pytest.fixture
def helper(bmc: VirtualBmc) -> Iterator:
    running = start_helper(bmc)
    yield running
    if running.status is None:
        assert running.stop().status == 0
    bmc.wait_clean()
    # No record and no socket, only the locks that nobody holds.
    left = bmc.run("ls /run/helper-test").out.split()
    assert left == ["helper.lock", "slot-0.lock", "slot-1.lock", "slot-2.lock"]


def read_in_background(bmc: VirtualBmc, drive: str):
    """A read of the machine that a mute server leaves standing."""
    return bmc.start(f"dd if={drive} of=/dev/null bs=1M iflag=direct")


def wait_gone(bmc: VirtualBmc, seconds: float) -> None:
    began = time.monotonic()
    bmc.wait_clean(seconds)
    print(f"clean after {time.monotonic() - began:.2f} s")


@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_the_machine_reads_every_byte(bmc, helper, kind):
    client = Client(bmc)
    drive = client.attach(kind)
    assert bmc.sha256(drive) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    assert bmc.run(f"cat /sys/block/{drive[5:]}/ro").out.strip() == "1"
    device = client.wait("reply attach 0 nbd[0-9]+").split()[-1]
    queue = f"/sys/block/{device}/queue"
    assert bmc.run(f"cat {queue}/read_ahead_kb").out.strip() == "512"
    sector = {"disk": "512", "cd": "2048"}[kind]
    assert bmc.run(f"cat {queue}/logical_block_size").out.strip() == sector
    assert "Platter" in bmc.run(f"cat /sys/block/{drive[5:]}/device/vendor").out
    serial = bmc.run("cat /sys/bus/usb/devices/*/serial").out.split()
    assert "504C415454455200" in serial
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    wait_gone(bmc, 5)
    client.kill()


def test_a_line_that_nobody_empties(bmc, helper):
    """The driver waits for room in the socket, and would hold up a disconnect, and with that all
    that anybody asks over generic netlink."""
    client = Client(bmc)
    client.say(f"attach 0 narrow {ISO}")
    device = client.wait("reply attach 0 nbd[0-9]+").split()[-1]
    bmc.wait_for_disk("disk")
    client.ask("deaf", "deafened")
    reader = bmc.start(f"dd if=/dev/{device} of=/dev/null bs=4M count=1 iflag=direct")
    client.wait("held")
    bmc.run("until grep -q sock_alloc_send /proc/[0-9]*/stack 2>/dev/null; do sleep 0.1; done")
    client.say("detach 0 dead")
    client.wait("reply detach 0", 5)
    bmc.wait_clean()
    reader.wait()
    client.kill()


def test_a_stranger_who_locks_what_all_may_open(bmc, helper):
    bmc.run("modprobe libcomposite")
    stranger = bmc.start(
        ["setpriv", "--reuid=65533", "--clear-groups", "flock", "/sys/kernel/config/usb_gadget"]
        + ["sh", "-c", "echo locked; exec sleep 60"]
    )
    stranger.wait_for_output("locked")
    client = Client(bmc)
    client.attach("disk")
    stranger.stop()
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    client.kill()


def test_two_slots_at_once(bmc, helper):
    client = Client(bmc)
    drive = client.attach("cd", slot=0)
    client.say(f"attach 1 disk {ISO}")
    client.wait("reply attach 0 nbd1")
    disk = bmc.wait_for_disk("disk")
    wanted = hashlib.sha256(ISO.read_bytes()).hexdigest()
    assert bmc.sha256(disk) == wanted
    client.say("detach 1 alive")
    client.wait("reply detach 0")
    bmc.run(f"test -e {drive}")
    client.kill()


def test_no_free_controller_is_said_and_leaves_nothing(bmc, helper):
    bmc.run("""set -e
        for n in 0 1; do
            g=/sys/kernel/config/usb_gadget/taken$n
            mkdir $g $g/functions/mass_storage.0 $g/configs/c.1
            ln -s $g/functions/mass_storage.0 $g/configs/c.1/
            echo dummy_udc.$n >$g/UDC
        done""")
    client = Client(bmc)
    client.say(f"attach 0 disk {ISO}")
    said = client.wait("reply attach [1-9].*")
    bmc.run("""
        for n in 0 1; do
            g=/sys/kernel/config/usb_gadget/taken$n
            echo >$g/UDC
            rm $g/configs/c.1/mass_storage.0
            rmdir $g/functions/mass_storage.0 $g/configs/c.1 $g
        done""")
    assert "in use" in said and "taken" in said
    bmc.wait_clean()
    client.kill()


def test_a_slot_of_another_export_is_refused(bmc, helper):
    client = Client(bmc)
    client.say(f"attach 2 disk {ISO}")
    assert "export = kernel" in client.wait("reply attach 22 .*")
    client.say(f"attach 3 disk {ISO}")
    assert "no slot 3" in client.wait("reply attach 22 - The helper's .*")
    client.kill()


def test_eject_by_the_machine_is_an_event(bmc, helper):
    client = Client(bmc)
    drive = client.attach("cd")
    bmc.run(["/usr/bin/python3", "-c", EJECT, drive])
    client.wait("disc", 5)
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    bmc.wait_clean()
    client.kill()


@pytest.mark.parametrize("line", ["dead", "alive"])
def test_detach_from_a_mute_server(bmc, helper, line):
    client = Client(bmc)
    drive = client.attach("disk")
    client.say("mute")
    client.wait("muted")
    reader = read_in_background(bmc, drive)
    client.wait("held")
    began = time.monotonic()
    client.say(f"detach 0 {line}")
    client.wait("reply detach 0")
    took = time.monotonic() - began
    print(f"detach took {took:.2f} s")
    # An orderly teardown is given three seconds before its line is cut.
    assert took < (2 if line == "dead" else 6)
    reader.wait()
    client.kill()


def test_detach_right_behind_the_attach(bmc, helper):
    """The worker is killed at a different step each time; nothing may be left of any."""
    for pause in (0, 0.02, 0.05, 0.1, 0.2, 0.4):
        client = Client(bmc)
        bmc.run(
            f"echo attach 0 mute {ISO} >{client.fifo}; sleep {pause}; "
            f"echo detach 0 dead >{client.fifo}"
        )
        client.wait("reply attach (0|125) ")
        client.wait("reply detach 0")
        bmc.wait_clean(3)
        client.kill()


def test_killed_client_leaves_nothing_also_in_a_read(bmc, helper):
    for mute in (False, True):
        client = Client(bmc)
        drive = client.attach("disk")
        if mute:
            client.say("mute")
            client.wait("muted")
            read_in_background(bmc, drive)
            client.wait("held")
        client.kill()
        wait_gone(bmc, 5)


def test_killed_helper_leaves_nothing_after_its_restart(bmc, helper):
    client = Client(bmc)
    drive = client.attach("disk")
    client.say("mute")
    client.wait("muted")
    reader = read_in_background(bmc, drive)
    client.wait("held")
    helper.signal(signal.SIGKILL)
    helper.wait()
    client.wait("closed")
    again = start_helper(bmc)
    wait_gone(bmc, 5)
    reader.wait()
    client.kill()
    client = Client(bmc)
    client.attach("disk")
    client.kill()
    bmc.wait_clean()
    assert again.stop().status == 0


def test_helper_killed_while_it_attaches(bmc, helper):
    for pause in (0, 0.05, 0.1, 0.2):
        client = Client(bmc)
        bmc.run(f"echo attach 0 mute {ISO} >{client.fifo}; sleep {pause}; kill -9 {helper.pid}")
        client.wait("closed")
        helper = start_helper(bmc)
        wait_gone(bmc, 5)
        client.kill()
    assert helper.stop().status == 0


def test_an_admin_removes_the_gadget(bmc, helper):
    client = Client(bmc)
    client.attach("disk")
    bmc.run("echo >/sys/kernel/config/usb_gadget/platter-0/UDC")
    assert "removed by another program" in client.wait("gone 0 .*", 5)
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    client.kill()


def test_an_admin_disconnects_the_device(bmc, helper):
    client = Client(bmc)
    client.attach("disk")
    bmc.run(["nbd-client", "-d", "/dev/nbd0"])
    # To the daemon it looks as if the machine had ejected: the kernel says goodbye on the socket.
    client.wait("disc", 5)
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    client.kill()


def test_a_taken_device_is_passed_over(bmc, helper):
    bmc.run(f"""nbdkit -U /run/other.sock -P /run/other.pid file {ISO}
        nbd-client -unix /run/other.sock /dev/nbd0""")
    client = Client(bmc)
    client.attach("disk")
    client.wait("reply attach 0 nbd1")
    client.kill()
    bmc.run("""while [ -e /sys/block/nbd1/pid ]; do sleep 0.1; done
        test -e /sys/block/nbd0/pid
        nbd-client -d /dev/nbd0; kill $(cat /run/other.pid)""")


def test_a_second_helper_leaves_the_drives_of_the_first_alone(bmc, helper):
    client = Client(bmc)
    drive = client.attach("disk")
    second = start_helper(bmc, "helper-second")
    stranger = Client(bmc, socket="/run/helper-second/helper.sock")
    # Answered when the second helper's start has looked at what it should clear.
    stranger.say(f"attach 0 disk {ISO}")
    assert "not this helper's" in stranger.wait("reply attach 16 .*")
    assert bmc.sha256(drive) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    client.kill()
    bmc.wait_clean()
    stranger.attach("disk")
    stranger.kill()
    bmc.wait_clean()
    assert second.stop().status == 0


def test_the_helper_stops_in_good_order(bmc, helper):
    client = Client(bmc)
    client.attach("cd")
    assert helper.stop().status == 0
    assert "stopping" in client.wait("gone 0 .*")
    bmc.wait_clean()
    client.kill()


def test_strangers_and_nonsense_are_shut_out(bmc, helper):
    bmc.run(["chmod", "666", SOCKET])
    stranger = Client(bmc, ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"])
    stranger.wait("closed")
    stranger.kill()
    user = Client(bmc, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    user.attach("disk")
    # What belongs to one connection, another cannot take away.
    client = Client(bmc)
    client.say("detach 0 dead")
    assert "reply detach 1 " in client.wait("reply detach .*")
    client.say(f"attach 0 disk {ISO}")
    assert "reply attach 16 " in client.wait("reply attach .*")
    client.kill()
    user.kill()
    client = Client(bmc)
    client.say("raw 0302")
    client.wait("closed")
    client.kill()
    client = Client(bmc)
    client.say("fds 2")
    client.wait("closed")
    client.kill()
