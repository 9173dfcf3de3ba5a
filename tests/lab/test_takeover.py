# SPDX-License-Identifier: Apache-2.0
"""A drive outlives the platterd that made it: the next one takes it over from platter-helper, and
the machine notices nothing but a pause. And a drive whose reads had failed is looked at anew. On a
real kernel; helper_client.py plays every platterd. PLATTER_LONG=1 chooses the long forms."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from platterlab.bmc import VirtualBmc
from platterlab.chance import LONG, chance
from platterlab.channel import Command
from platterlab.helper import ISO, SOCKET, Client, start_helper

IMAGE = "/tmp/image"
SIZE_MIB = 24 if LONG else 6
DEATHS, KINDS = (4, ["disk", "cd"]) if LONG else (2, ["cd"])
PAUSES = (0, 0.01, 0.02, 0.04, 0.08, 0.16) if LONG else (0.02,)
GRACE = 20
EJECT = """
import fcntl, os, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK), 0x5309)  # CDROMEJECT
"""


@pytest.fixture(scope="module")
def digest(bmc: VirtualBmc) -> str:
    """Makes IMAGE in the guest; its digest."""
    made = bmc.run(f"head -c {SIZE_MIB}M /dev/urandom >{IMAGE} && sha256sum {IMAGE}")
    return made.out.split()[0]


@pytest.fixture
def helper(bmc: VirtualBmc) -> Iterator[Command]:
    running = start_helper(bmc, grace=GRACE)
    yield running
    if running.status is None:
        assert running.stop().status == 0
    bmc.wait_clean()


def forget(bmc: VirtualBmc) -> None:
    """Empties this side's page cache, which would answer the machine's reads by itself."""
    bmc.run("echo 3 >/proc/sys/vm/drop_caches")


def reading(bmc: VirtualBmc, drive: str) -> Command:
    """The machine reads the whole drive, and prints the digest of what it got."""
    forget(bmc)
    script = f"set -o pipefail; dd if={drive} bs=256k iflag=direct status=none | sha256sum"
    return bmc.start(["bash", "-c", script])


def finished(command: Command) -> str:
    result = command.wait(120)
    assert result.status == 0, result.err
    return result.out.split()[0]


def longest_read(client: Client, bmc: VirtualBmc, drive: str) -> int:
    """Of the reads that arrive while the machine reads its drive from start to end."""
    client.ask("longest", "longest .*")
    finished(reading(bmc, drive))
    return int(client.ask("longest", "longest .*").split()[-1])


@pytest.mark.soak
def test_a_read_outlives_one_platterd_after_the_other(bmc, helper, digest):
    client = Client(bmc)
    drive = client.attach("disk", IMAGE)
    bmc.mark_kernel_log("one after the other")
    for _ in range(3 if LONG else 1):
        client.ask(f"hold {SIZE_MIB << 18}", "holding")
        reader = reading(bmc, drive)
        # Dies with a read in its hands, the worst moment: the kernel waits for its answer.
        client.wait("held")
        following = Client(bmc)
        client.kill()
        following.adopt("disk", IMAGE)
        began = time.monotonic()
        assert finished(reader) == digest
        print(f"read on to its end {time.monotonic() - began:.1f} s after the takeover")
        client = following
    assert bmc.machine_complaints("one after the other") == []
    client.ask("detach 0 alive", "reply detach 0")
    client.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_platterd_is_killed_at_random_moments(bmc, helper, digest, kind):
    moments = chance(f"takeover {kind}")
    client, *others = [Client(bmc) for _ in range(DEATHS + 1)]
    drive = client.attach(kind, IMAGE)
    bmc.mark_kernel_log(f"random moments, {kind}")
    reader = reading(bmc, drive)
    for following in others:
        time.sleep(moments.uniform(0, 0.6))
        client.kill()
        client = following
        # One that dies before it is told, too: the drive goes on to the next.
        client.say(f"adopt 0 {kind} {IMAGE}")
        if moments.random() < 0.7:
            client.wait("reply adopt 0 nbd")
    client.wait("reply adopt 0 nbd")
    assert finished(reader) == digest
    assert bmc.machine_complaints(f"random moments, {kind}") == []
    client.ask("detach 0 alive", "reply detach 0")
    client.kill()


def test_nobody_comes(bmc):
    helper = start_helper(bmc, grace=2)
    client = Client(bmc)
    drive = client.attach("disk")
    client.kill()
    helper.wait_for_output("kept for 2 s")
    bmc.run(f"test -e {drive}")
    bmc.wait_clean(2 + 10)
    # The device's settings too are as the kernel makes them, for whoever has it next.
    helper.wait_for_output("slot 0: empty")
    settings = bmc.run("cd /sys/block/nbd0; cat queue/read_ahead_kb bdi/max_ratio queue/io_timeout")
    assert settings.out.split() == ["128", "100", "30000"]
    late = Client(bmc)
    assert "no drive" in late.ask(f"adopt 0 disk {ISO}", "reply adopt 2 .*")
    late.kill()
    assert helper.stop().status == 0


@pytest.mark.soak
def test_a_platterd_that_knows_nothing_of_the_drive(bmc, helper):
    client = Client(bmc)
    client.attach("disk")
    client.kill()
    other = Client(bmc)
    other.attach("cd")
    other.kill()
    # Another shape than the machine has seen is not taken over, and nothing is left.
    other = Client(bmc)
    assert "another kind" in other.ask(f"adopt 0 disk {ISO}", "reply adopt 116 .*")
    bmc.wait_clean()
    drive = other.attach("disk")
    other.kill()
    bmc.run(f"test -e {drive}")
    other = Client(bmc)
    other.ask("detach 0 alive", "reply detach 0")
    bmc.wait_clean()
    other.kill()


@pytest.mark.soak
def test_an_old_platterd_that_does_not_let_go_of_the_line(bmc, helper, digest):
    old = Client(bmc)
    drive = old.attach("disk", IMAGE)
    bmc.mark_kernel_log("does not let go")
    old.ask(f"hold {SIZE_MIB << 18}", "holding")
    reader = reading(bmc, drive)
    old.wait("held")
    old.ask("leave", "left")
    client = Client(bmc)
    client.adopt("disk", IMAGE)
    assert finished(reader) == digest
    assert bmc.machine_complaints("does not let go") == []
    client.ask("detach 0 alive", "reply detach 0")
    client.kill()
    old.kill()


def test_an_eject_while_nobody_serves(bmc, helper):
    client = Client(bmc)
    drive = client.attach("cd")
    client.kill()
    bmc.run(["/usr/bin/python3", "-c", EJECT, drive])
    client = Client(bmc)
    assert "ejected" in client.ask(f"adopt 0 cd {ISO}", "reply adopt 123 .*")
    bmc.wait_clean()
    client.kill()


def test_the_helper_stops_while_nobody_serves(bmc, helper):
    client = Client(bmc)
    drive = client.attach("disk")
    client.ask("mute", "muted")
    reader = reading(bmc, drive)
    client.wait("held")
    client.kill()
    assert helper.stop().status == 0
    bmc.wait_clean()
    reader.wait()


@pytest.mark.soak
def test_a_drive_is_whole_again_after_errors(bmc, helper, digest):
    client = Client(bmc)
    drive = client.attach("disk", IMAGE)
    assert longest_read(client, bmc, drive) == 128 * 1024
    forget(bmc)
    for at in range(6):
        client.ask("fail", "failing")
        read = f"dd if={drive} of=/dev/null bs=64k skip={at * 16} count=4 iflag=direct"
        assert bmc.run(read, check=False).status != 0
        client.ask("heal", "healed")
    # What the errors have done to the kernel's readahead, and that the reload undoes it.
    assert longest_read(client, bmc, drive) < 128 * 1024
    client.ask("reload 0", "reply reload 0")
    assert longest_read(client, bmc, drive) == 128 * 1024
    assert bmc.sha256(drive) == digest
    client.ask("detach 0 alive", "reply detach 0")
    client.kill()


def test_a_locked_tray_is_left_alone(bmc, helper, digest):
    client = Client(bmc)
    drive = client.attach("cd", IMAGE)
    # Open, and so locked: a change of medium would cost the machine what it has open.
    holder = bmc.start(f"exec 3<{drive}; echo open; sleep 60")
    holder.wait_for_output("open")
    client.ask("fail", "failing")
    forget(bmc)
    assert bmc.run(f"dd if={drive} of=/dev/null bs=64k count=4 iflag=direct", check=False).status
    client.ask("heal", "healed")
    bmc.mark_kernel_log("locked")
    client.ask("reload 0", "reply reload 0")
    assert bmc.sha256(drive) == digest
    assert bmc.machine_complaints("locked") == []
    holder.stop()
    client.ask("detach 0 alive", "reply detach 0")
    client.kill()


def test_an_eject_and_a_reload_in_the_same_moment(bmc, helper):
    """Whichever is first: the eject is told, on the socket, and the reload brings nothing back."""
    for pause in PAUSES:
        client = Client(bmc)
        drive = client.attach("cd")
        bmc.write_file("/tmp/eject.py", EJECT)
        bmc.run(
            f"(sleep 0.15; /usr/bin/python3 /tmp/eject.py {drive}) & "
            f"sleep {pause + 0.15}; echo reload 0 >{client.fifo}; wait"
        )
        client.wait("reply reload ")
        client.wait("disc", 5)
        client.ask("detach 0 alive", "reply detach 0")
        bmc.wait_clean()
        client.kill()


@pytest.mark.soak
def test_what_the_machine_wrote_goes_out_on_the_way_down(bmc, helper):
    bmc.run("head -c 8M /dev/zero >/tmp/writable && head -c 4M /dev/urandom >/tmp/fresh")
    client = Client(bmc)
    drive = client.attach("write", "/tmp/writable")
    assert bmc.run(f"cat /sys/block/{drive[5:]}/ro").out.strip() == "0"
    # Not synchronised: what the gadget has acknowledged lies in this side's page cache.
    bmc.run(f"dd if=/tmp/fresh of={drive} bs=64k oflag=direct status=none")
    client.ask("detach 0 alive", "reply detach 0")
    client.kill()
    bmc.run("cmp -n 4194304 /tmp/fresh /tmp/writable")


@pytest.mark.soak
def test_two_helpers_that_want_the_slot_in_the_same_moment(bmc, helper):
    second = start_helper(bmc, "helper-second")
    for _ in range(4 if LONG else 1):
        first, other = Client(bmc), Client(bmc, socket="/run/helper-second/helper.sock")
        bmc.run(f"echo attach 0 disk {ISO} | tee {first.fifo} >{other.fifo}")
        said = [client.wait(r"reply attach (0 nbd|16 .*not this)") for client in (first, other)]
        assert sorted(word.split()[2] for word in said) == ["0", "16"]
        winner = (first, other)[["0", "16"].index(said[0].split()[2])]
        bmc.wait_for_disk("disk")
        winner.ask("detach 0 alive", "reply detach 0")
        bmc.wait_clean()
        first.kill()
        other.kill()
    assert second.stop().status == 0


@pytest.mark.soak
def test_a_helper_without_descriptors_rests(bmc, helper):
    bmc.run(["prlimit", f"--pid={helper.pid}", "--nofile=12:12"])
    callers = bmc.start(
        ["/usr/bin/python3", "-c", f"""
import socket, time
calls = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(8)]
for call in calls:
    call.connect("{SOCKET}")
time.sleep(60)"""]
    )
    helper.wait_for_output("cannot take a connection")
    time.sleep(2)
    assert helper.err.count("cannot take a connection") <= 4
    callers.stop()
