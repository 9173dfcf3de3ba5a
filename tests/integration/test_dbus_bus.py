# SPDX-License-Identifier: Apache-2.0
"""platterd and its bus: away, gone and back, full, or strict about who may do what."""
import contextlib
import os
import pwd
import signal
import socket

from dbus_client import (NAME, Bus, Caller, busctl, digest_of_drive, digest_of_image, fails,
                         media_socket, mount, proxy, unmount)
from far_end import FarEnd
from harness import NOBODY, TOP, wait_until


def test_a_bus_that_comes_late(platterd, programs, workdir, listen, media):
    body = f"export = unix\ndbus_socket = {media_socket(workdir)}\n"
    d = platterd(slots=[body], rest=f"[dbus]\nenabled = yes\nbus = unix:path={workdir}/bus.sock\n")
    d.program.wait_for(r"D-Bus \(unix:path=.*\) is not there \(No such file or directory\)")
    bus = Bus(programs, workdir)
    listen(media)
    with Caller(bus.address) as caller:
        caller.wait_name()
        mount(caller)
        assert digest_of_drive(d) == digest_of_image(media)


def test_the_system_bus(platterd, programs, workdir):
    bus = Bus(programs, workdir)
    d = platterd(rest="[dbus]\nenabled = yes\n", env={"DBUS_SYSTEM_BUS_ADDRESS": bus.address})
    d.program.wait_for(f"on D-Bus as {NAME}")
    with Caller(bus.address) as caller:
        assert caller.get(proxy(0), "MountPoint", "Socket") == "/run/virtual-media/nbd0.sock"


def test_a_bus_that_is_mute(platterd, workdir):
    """Nothing waits for it, not even the end."""
    path = workdir / "mute.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        path.chmod(0o777)
        mute.listen()
        d = platterd(rest=f"[dbus]\nenabled = yes\nbus = unix:path={path}\n")
        line, _ = mute.accept()
        with line, FarEnd(d.port, bytes(65536)) as page:
            assert line.recv(4096)
            page.wait_state("serving")
            d.end()
        assert d.program.stop(timeout=3) == 0


def test_a_bus_that_speaks_something_else(platterd, workdir):
    """It is left, and tried again later and later."""
    path = workdir / "wrong.sock"
    with socket.socket(socket.AF_UNIX) as wrong:
        wrong.bind(str(path))
        path.chmod(0o777)
        wrong.listen()
        d = platterd(rest=f"[dbus]\nenabled = yes\nbus = unix:path={path}\n")
        for _ in range(3):
            line, _ = wrong.accept()
            with line, contextlib.suppress(ConnectionError):
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1000)
                while line.recv(4096):
                    pass
        assert d.slot()["state"] == "idle"
    assert d.program.text().count("is not there") == 1


def test_a_bus_that_goes_and_comes(device, bus, listen, media):
    """The drive stays; its properties are told anew; nothing is lost of platterd's descriptors."""
    d = device()
    listen(media)
    with Caller(bus.address) as caller:
        caller.wait_name()
        mount(caller)
        before = d.program.fd_count()
    for _ in range(3):
        bus.kill()
        d.program.wait_for(r"D-Bus \(unix:path=.*\) is not there")
        assert digest_of_drive(d) == digest_of_image(media)
        bus.start()
        with Caller(bus.address) as caller:
            caller.wait_name()
            assert caller.get(proxy(0), "Process", "Active") is True
            assert fails(caller, "System.Error.EBUSY") == "Slot is in use"
    wait_until(lambda: d.program.fd_count() == before, "no descriptor is kept")
    with Caller(bus.address) as caller:
        unmount(caller)
        mount(caller)
        unmount(caller)
    assert d.program.cpu_seconds() < 30


def test_a_name_that_is_not_given(programs, workdir, platterd):
    """And then is: a policy that is installed later needs no restart of platterd."""
    bus = Bus(programs, workdir, f'<policy context="mandatory"><deny own="{NAME}"/></policy>')
    d = platterd(rest=f"[dbus]\nenabled = yes\nbus = {bus.address}\n")
    d.program.wait_for("D-Bus does not give the name .* to this user")
    bus.set_policy("")
    bus.reload()
    with Caller(bus.address) as caller:
        caller.wait_name()
    assert d.program.text().count("does not give the name") == 1


def test_a_name_that_another_has(programs, workdir, platterd, bus):
    with Caller(bus.address) as first:
        assert first._call("org.freedesktop.DBus", "/org/freedesktop/DBus",
                           "org.freedesktop.DBus", "RequestName", "su", [NAME, 0]) == [1]
        d = platterd(rest=f"[dbus]\nenabled = yes\nbus = {bus.address}\n")
        d.program.wait_for("another program has the D-Bus name")
    with Caller(bus.address) as caller:
        caller.wait_name()
        assert caller.get(proxy(0), "Process", "Active") is False


# As /usr/share/dbus-1/system.conf begins: what no other file allows is not allowed.
SYSTEM_POLICY = """
  <policy context="default">
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>{path}</include>
"""


def test_the_policy_that_is_installed(programs, workdir, platterd):
    """platterd's user gets the name, and does not call; only root does."""
    user = pwd.getpwuid(NOBODY if os.geteuid() == 0 else os.geteuid()).pw_name
    policy = (TOP / "packaging" / f"{NAME}.conf").read_text()
    assert policy.count('user="platter"') == 1
    path = workdir / "policy.conf"
    path.write_text(policy.replace('user="platter"', f'user="{user}"'))
    bus = Bus(programs, workdir, SYSTEM_POLICY.format(path=path))
    d = platterd(rest=f"[dbus]\nenabled = yes\nbus = {bus.address}\n")
    d.program.wait_for(f"on D-Bus as {NAME}")
    call = ["get-property", NAME, proxy(0), f"{NAME}.Process", "Active"]
    refused = busctl(bus, *call, user=user)
    assert refused.returncode != 0 and "Access denied" in refused.stderr
    if os.geteuid() == 0:
        workdir.chmod(0o711)
        assert busctl(bus, *call).stdout == "b false\n"
        stranger = busctl(bus, *call, user="daemon")
        assert stranger.returncode != 0 and "Access denied" in stranger.stderr


def test_it_is_off_unless_it_is_on(platterd, bus, caller):
    d = platterd(rest=f"[dbus]\nbus = {bus.address}\n")
    d.wait_state("idle")
    assert not caller._call("org.freedesktop.DBus", "/org/freedesktop/DBus",
                            "org.freedesktop.DBus", "NameHasOwner", "s", [NAME])[0]


def test_leaving_with_a_drive(device, caller, listen, media):
    """As for another platterd to come: nothing is waited for."""
    d = device()
    caller.wait_name()
    listen(media)
    mount(caller)
    assert d.program.stop(signal.SIGUSR2) == 0
    assert "leaving" in d.program.text()
