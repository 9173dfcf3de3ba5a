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

NAMED = """
[slot 0]
export = kernel
usb_id = 1234:AbCd
vendor = Acme
product = Rack CD
serial = 0123456789AB
"""
# The slot's gadget would need a controller that is not there.
ALONE = """
[slot 0]
export = kernel
gadget = no
udc = none
[slot 1]
export = kernel
gadget = no
nbd = nbd7
"""
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


@pytest.fixture
def alone(bmc: VirtualBmc, request: pytest.FixtureRequest) -> Iterator:
    """A helper whose drives are nbd devices alone; with a parameter, it keeps them so many s."""
    running = start_helper(bmc, "helper-alone", getattr(request, "param", 0), ALONE)
    yield running
    if running.status is None:
        assert running.stop().status == 0
    bmc.wait_clean()
    left = bmc.run("ls /run/helper-alone").out.split()
    assert left == ["helper.lock", "slot-0.lock", "slot-1.lock"]


def client_of_alone(bmc: VirtualBmc) -> Client:
    return Client(bmc, socket="/run/helper-alone/helper.sock")


def attach_alone(client: Client, kind: str = "disk", slot: int = 0) -> str:
    """Attaches, and returns the device as programs open it."""
    client.say(f"attach {slot} {kind} {ISO}")
    return "/dev/" + client.wait("reply attach 0 nbd[0-9]+").split()[-1]


def is_connected(bmc: VirtualBmc, device: str) -> bool:
    return bmc.run(f"test -e /sys/block/{device[5:]}/pid", check=False).status == 0


def settings_of(bmc: VirtualBmc, device: str) -> list[str]:
    names = "queue/read_ahead_kb bdi/max_ratio queue/io_timeout"
    return bmc.run(f"cd /sys/block/{device[5:]}; cat {names}").out.split()


# What the kernel gives a device, for whoever has it next.
KERNELS_SETTINGS = ["128", "100", "30000"]
# Opens a device and says when it has, reads all that there is to read, and holds it for ever.
HOLD = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
print("opened", flush=True)
while True:
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(fd, 4096, 0)
    except OSError as error:
        print("failed", error.errno, flush=True)
        time.sleep(3600)
    time.sleep(0.05)
"""


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
    # An orderly teardown is given three seconds before its line is cut; what waits for the kernel's
    # own limits takes thirty.
    assert took < (10 if line == "dead" else 13)
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
    bmc.run(f"""rm -f /run/other.sock; nbdkit -U /run/other.sock -P /run/other.pid file {ISO}
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


@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_the_machine_sees_the_ids_and_names_of_the_configuration(bmc, kind):
    helper = start_helper(bmc, "helper-named", slots=NAMED)
    client = Client(bmc, socket="/run/helper-named/helper.sock")
    drive = client.attach(kind)
    names = "idVendor idProduct manufacturer product serial"
    script = f"""for d in /sys/bus/usb/devices/*; do
            [ "$(cat $d/idVendor 2>&1)" = 1234 ] && cd $d && cat {names}
        done"""
    seen = bmc.run(script, check=False).out.splitlines()
    assert seen == ["1234", "abcd", "Acme", "Rack CD", "0123456789AB"]
    asked = bmc.run(f"cd /sys/block/{drive[5:]}/device; cat vendor model rev").out.splitlines()
    assert [line.strip() for line in asked] == ["Acme", "Rack CD", "0100"]
    client.kill()
    bmc.wait_clean()
    assert helper.stop().status == 0


@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_a_device_alone(bmc, alone, kind):
    client = client_of_alone(bmc)
    device = attach_alone(client, kind)
    name = device[5:]
    assert "gadget" not in " ".join(bmc.leftovers())
    assert bmc.run(f"cat /sys/block/{name}/backend").out.strip() == "platter-0@/run/helper-alone"
    sector = {"disk": "512", "cd": "2048"}[kind]
    assert bmc.run(f"cat /sys/block/{name}/queue/logical_block_size").out.strip() == sector
    assert bmc.run(f"cat /sys/block/{name}/ro").out.strip() == "1"
    assert settings_of(bmc, device)[0] == "512"
    # Every one of these programs is the last that closes it.
    for _ in range(3):
        assert bmc.sha256(device) == hashlib.sha256(ISO.read_bytes()).hexdigest()
        assert is_connected(bmc, device)
    client.ask("reload 0", "reply reload 0")
    other = client_of_alone(bmc)
    assert attach_alone(other, slot=1) == "/dev/nbd7"
    assert bmc.sha256(device) == bmc.sha256("/dev/nbd7")
    other.kill()
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    assert not is_connected(bmc, device)
    assert settings_of(bmc, device) == KERNELS_SETTINGS
    assert "disc" in client.command.out.split()
    client.kill()


def test_a_device_alone_that_is_written_to(bmc, alone):
    """What a program wrote, and the kernel has not passed on yet, gets out on the way down."""
    bmc.run("head -c 1M /dev/zero >/tmp/written")
    client = client_of_alone(bmc)
    client.say("attach 0 write /tmp/written")
    device = "/dev/" + client.wait("reply attach 0 nbd[0-9]+").split()[-1]
    holder = bmc.start(f"exec 3<>{device}; head -c 1M /dev/zero | tr '\\0' x >&3; "
                       "echo written; exec sleep 3600")
    holder.wait_for_output("written")
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    assert bmc.run("tr -d x </tmp/written | wc -c").out.strip() == "0"
    holder.stop()
    client.kill()


@pytest.mark.parametrize("line", ["alive", "dead"])
def test_a_device_alone_goes_from_under_a_program(bmc, alone, line):
    client = client_of_alone(bmc)
    device = attach_alone(client, slot=1)
    holder = bmc.start(["/usr/bin/python3", "-c", HOLD, device])
    holder.wait_for_output("opened")
    client.say(f"detach 1 {line}")
    client.wait("reply detach 0", 5)
    holder.wait_for_output("failed 5")
    assert settings_of(bmc, device) == KERNELS_SETTINGS
    # The kernel keeps the number for as long as the program has it open.
    client.say(f"attach 1 disk {ISO}")
    assert "end what has it open" in client.wait("reply attach 16 .*")
    holder.stop()
    bmc.wait_clean()
    client.say(f"attach 1 disk {ISO}")
    client.wait("reply attach 0 nbd7")
    assert bmc.sha256(device) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    client.kill()


@pytest.mark.parametrize("line", ["alive", "dead"])
def test_a_device_alone_goes_from_a_mute_server(bmc, alone, line):
    client = client_of_alone(bmc)
    device = attach_alone(client)
    client.ask("mute", "muted")
    reader = read_in_background(bmc, device)
    client.wait("held")
    client.say(f"detach 0 {line}")
    client.wait("reply detach 0", 5 if line == "dead" else 10)
    reader.wait()
    bmc.wait_clean()
    client.kill()


def test_a_device_alone_of_a_killed_client(bmc, alone):
    for mute in (False, True):
        client = client_of_alone(bmc)
        device = attach_alone(client)
        if mute:
            client.ask("mute", "muted")
            read_in_background(bmc, device)
            client.wait("held")
        client.kill()
        wait_gone(bmc, 5)


def test_a_device_alone_right_behind_its_detach(bmc, alone):
    for pause in (0, 0.02, 0.05, 0.1):
        client = client_of_alone(bmc)
        bmc.run(
            f"echo attach 0 mute {ISO} >{client.fifo}; sleep {pause}; "
            f"echo detach 0 dead >{client.fifo}"
        )
        client.wait("reply attach (0|125) ")
        client.wait("reply detach 0")
        bmc.wait_clean(3)
        client.kill()


@pytest.mark.parametrize("alone", [10], indirect=True)
def test_a_device_alone_is_taken_over(bmc, alone):
    client = client_of_alone(bmc)
    device = attach_alone(client)
    holder = bmc.start(["/usr/bin/python3", "-c", HOLD, device])
    holder.wait_for_output("opened")
    client.kill()
    successor = client_of_alone(bmc)
    successor.adopt("disk")
    assert bmc.sha256(device) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    assert "failed" not in holder.out
    successor.say("detach 0 alive")
    successor.wait("reply detach 0")
    holder.stop()
    successor.kill()


def test_a_device_alone_of_a_killed_helper(bmc, helper, alone):
    """Beside another helper, whose drive of the same slot has a gadget of the name that this
    slot's would have."""
    beside = Client(bmc)
    drive = beside.attach("disk")
    client = client_of_alone(bmc)
    device = attach_alone(client)
    client.ask("mute", "muted")
    reader = read_in_background(bmc, device)
    client.wait("held")
    alone.signal(signal.SIGKILL)
    alone.wait()
    client.wait("closed")
    # And the file has changed meanwhile: a USB drive is what the slot is to have now.
    again = start_helper(bmc, "helper-alone", slots=ALONE.replace("gadget = no", "", 1))
    reader.wait()
    bmc.run(f"while [ -e /sys/block/{device[5:]}/pid ]; do sleep 0.1; done")
    client.kill()
    assert bmc.sha256(drive) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    assert again.stop().status == 0
    assert bmc.sha256(drive) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    beside.kill()


def test_a_usb_drive_of_a_killed_helper_that_is_to_have_devices_alone(bmc):
    helper = start_helper(bmc, "helper-alone", slots=ALONE.replace("gadget = no\nudc = none", ""))
    client = client_of_alone(bmc)
    client.attach("disk")
    helper.signal(signal.SIGKILL)
    helper.wait()
    again = start_helper(bmc, "helper-alone", slots=ALONE)
    bmc.wait_clean()
    client.kill()
    client = client_of_alone(bmc)
    attach_alone(client)
    client.kill()
    bmc.wait_clean()
    assert again.stop().status == 0


def test_an_admin_disconnects_a_device_alone(bmc, alone):
    client = client_of_alone(bmc)
    device = attach_alone(client)
    bmc.run(["nbd-client", "-d", device])
    client.wait("disc", 5)
    assert "disconnected by another program" in client.wait("gone 0 .*", 5)
    # What another program makes of the device then is that program's.
    bmc.run(f"""rm -f /run/other.sock; nbdkit -U /run/other.sock -P /run/other.pid file {ISO}
        nbd-client -unix /run/other.sock {device}""")
    client.say("detach 0 alive")
    client.wait("reply detach 0")
    assert is_connected(bmc, device)
    bmc.run(f"nbd-client -d {device}; kill $(cat /run/other.pid)")
    client.kill()
