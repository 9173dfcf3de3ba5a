# SPDX-License-Identifier: Apache-2.0
"""The D-Bus API, on a bus of the test's own; busctl and python3-dbus-next are its clients."""
import errno
import os
import socket
import threading
import xml.etree.ElementTree as xml
from pathlib import Path

import nbd
import pytest
from dbus_next import Variant

from dbus_client import (NAME, ROOT, CallError, busctl, digest_of_drive, digest_of_image, fails,
                         legacy, media_socket, mount, proxy, unmount)
from far_end import FarEnd
from harness import wait_until

EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"

# Of each interface: {property: (type, how a change is told)}, {(method, arguments): result},
# {signal: arguments}.
MOUNT_POINT = ({"EndpointId": ("s", "const"), "Mode": ("y", "const"), "Device": ("s", "true"),
                "Socket": ("s", "const"), "Timeout": ("i", "const"), "BlockSize": ("i", "const"),
                "RemainingInactivityTimeout": ("i", "false"), "ImageURL": ("s", "const"),
                "WriteProtected": ("b", "true")}, {}, {})
PROCESS = ({"Active": ("b", "true"), "ExitCode": ("i", "true")}, {}, {})
PROXY = ({}, {("Mount", ""): "b", ("Unmount", ""): "b"}, {"Completion": "i"})
LEGACY = ({}, {("Mount", "s"): "b", ("Mount", "sbh"): "b", ("Mount", "sbv"): "b",
               ("Unmount", ""): "b"}, {"Completion": "i"})
STATS = ({"ReadIO": ("t", "false"), "WriteIO": ("t", "false")}, {}, {})
TABLE = {
    "Proxy": {"MountPoint": MOUNT_POINT, "Process": PROCESS, "Proxy": PROXY, "Stats": STATS},
    "Legacy": {"MountPoint": MOUNT_POINT, "Process": PROCESS, "Legacy": LEGACY, "Stats": STATS},
}


# --- what there is ---

def types(element, tag, direction=None):
    return "".join(arg.get("type") for arg in element.findall(tag)
                   if direction is None or arg.get("direction") == direction)


def how_told(prop):
    said = [note.get("value") for note in prop.findall("annotation") if note.get("name") == EMITS]
    return said[0] if said else "true"


def table_of(text):
    """Our interfaces in an introspection, in the form of TABLE."""
    found = {}
    for interface in xml.fromstring(text).findall("interface"):
        if not interface.get("name").startswith(NAME):
            continue
        assert all(p.get("access") == "read" for p in interface.findall("property"))
        found[interface.get("name").removeprefix(f"{NAME}.")] = (
            {p.get("name"): (p.get("type"), how_told(p)) for p in interface.findall("property")},
            {(m.get("name"), types(m, "arg", "in")): types(m, "arg", "out")
             for m in interface.findall("method")},
            {s.get("name"): types(s, "arg") for s in interface.findall("signal")})
    return found


@pytest.mark.parametrize("kind", TABLE)
def test_introspection_is_the_table(device, caller, bus, kind):
    device(slots=2)
    caller.wait_name()
    for slot in (0, 1):
        path = f"{ROOT}/{kind}/Slot_{slot}"
        text = caller.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
        assert table_of(text) == TABLE[kind]
        assert "org.freedesktop.DBus.Properties" in {i.name for i in
                                                     caller.introspect(path).interfaces}
        shown = busctl(bus, "introspect", NAME, path)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.count(".Mount ") == (3 if kind == "Legacy" else 1)
    tree = busctl(bus, "tree", "--list", NAME).stdout.split()
    assert {f"{ROOT}/{kind}/Slot_{slot}" for slot in (0, 1)} <= set(tree)


def test_objects_and_their_values(device, caller, workdir):
    device(slots=2, dbus="inactivity_timeout = 77\n")
    caller.wait_name()
    objects = caller.call(ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]
    # Whoever looks for "Slot_0" alone finds the one that does something.
    assert list(objects) == [proxy(0), proxy(1), legacy(0), legacy(1)]
    for path, interfaces in objects.items():
        kind, slot = path.split("/")[-2], int(path[-1])
        for interface, (properties, _, _) in TABLE[kind].items():
            told = interfaces[f"{NAME}.{interface}"]
            assert {name: v.signature for name, v in told.items()} == \
                {name: type for name, (type, _) in properties.items()}
            assert {name: v.value for name, v in told.items()} == caller.get_all(path, interface)
        assert caller.get_all(path, "MountPoint") == {
            "EndpointId": f"/nbd/{slot}" if kind == "Proxy" else "",
            "Mode": 0 if kind == "Proxy" else 1, "Device": "",
            "Socket": str(media_socket(workdir, slot)) if kind == "Proxy" else "",
            "Timeout": 77, "BlockSize": 512, "RemainingInactivityTimeout": 0, "ImageURL": "",
            "WriteProtected": True}
        assert caller.get_all(path, "Process") == {"Active": False, "ExitCode": 0}
        assert caller.get_all(path, "Stats") == {"ReadIO": 0, "WriteIO": 0}


def test_nothing_can_be_set(device, caller):
    device()
    caller.wait_name()
    for interface, name, value in (("MountPoint", "ImageURL", Variant("s", "x")),
                                   ("Process", "Active", Variant("b", True))):
        for path in (proxy(0), legacy(0)):
            with pytest.raises(CallError) as error:
                caller.call(path, "org.freedesktop.DBus.Properties", "Set", "ssv",
                            [f"{NAME}.{interface}", name, value])
            assert error.value.name == "org.freedesktop.DBus.Error.PropertyReadOnly"


# --- a drive ---

@pytest.mark.parametrize("argv", [[], ["--mask-handshake=0"], ["--no-sr"]],
                         ids=["nbdkit", "export name only", "simple replies"])
def test_mount_serves_the_image(device, caller, bus, listen, media, argv):
    d = device()
    caller.wait_name()
    listen(media, *argv)
    mount(caller)
    assert caller.get_all(proxy(0), "Process") == {"Active": True, "ExitCode": 0}
    assert caller.get(legacy(0), "Process", "Active") is False
    assert caller.get(proxy(0), "MountPoint", "Device") == d.slot()["uri"]
    assert digest_of_drive(d) == digest_of_image(media)
    stats = caller.get_all(proxy(0), "Stats")
    assert stats["ReadIO"] >= 1 and stats["WriteIO"] == 0
    assert 1790 < caller.get(proxy(0), "MountPoint", "RemainingInactivityTimeout") <= 1800
    unmount(caller)
    assert caller.get_all(proxy(0), "Process") == {"Active": False, "ExitCode": 0}
    assert caller.get_all(proxy(0), "Stats") == {"ReadIO": 0, "WriteIO": 0}
    assert d.slot()["state"] == "idle" and d.slot()["reason"] == "The session was ended over D-Bus."
    assert [change for change in caller.changes(proxy(0)) if change[0] == "Process"] == \
        [("Process", "Active", True), ("Process", "Active", False)]
    devices = [value for _, name, value in caller.changes(proxy(0)) if name == "Device"]
    assert len(devices) == 2 and devices[0].startswith("nbd+unix:") and devices[1] == ""
    assert caller.changes(legacy(0)) == []


def test_mount_by_busctl(device, caller, bus, listen, media):
    d = device()
    caller.wait_name()
    listen(media)
    done = busctl(bus, "call", NAME, proxy(0), f"{NAME}.Proxy", "Mount")
    assert (done.returncode, done.stdout) == (0, "b true\n"), done.stderr
    assert caller.wait_completion(proxy(0)) == 0
    done = busctl(bus, "get-property", NAME, proxy(0), f"{NAME}.Process", "Active")
    assert done.stdout == "b true\n"
    assert digest_of_drive(d) == digest_of_image(media)
    done = busctl(bus, "call", NAME, proxy(0), f"{NAME}.Proxy", "Unmount")
    assert (done.returncode, done.stdout) == (0, "b true\n"), done.stderr
    assert caller.wait_completion(proxy(0), 2) == 0


def test_two_drives_at_once(device, caller, listen, media, workdir):
    other = workdir / "other"
    other.write_bytes(os.urandom(1 << 20))
    d = device(slots=2)
    caller.wait_name()
    listen(media)
    listen(other, slot=1)
    for slot in (0, 1):
        assert caller.call(proxy(slot), "Proxy", "Mount") == [True]
    for slot in (0, 1):
        assert caller.wait_completion(proxy(slot)) == 0
    assert digest_of_drive(d, 1) == digest_of_image(other)
    assert digest_of_drive(d, 0) == digest_of_image(media)
    unmount(caller, 1)
    assert caller.get(proxy(0), "Process", "Active")
    assert digest_of_drive(d) == digest_of_image(media)
    assert not caller.get(proxy(1), "Process", "Active")
    unmount(caller, 0)


def test_a_drive_that_can_be_written_to(device, caller, listen, media, workdir):
    device()
    caller.wait_name()
    listen(media, writable=True)
    mount(caller)
    assert caller.get(proxy(0), "MountPoint", "WriteProtected") is False
    assert ("MountPoint", "WriteProtected", False) in caller.changes(proxy(0))
    machine = nbd.NBD()
    machine.connect_uri(f"nbd+unix:///?socket={workdir}/run/slot-0.sock")
    machine.pwrite(b"x" * 512, 4096)
    machine.flush()
    assert caller.get(proxy(0), "Stats", "WriteIO") == 1
    machine.shutdown()
    unmount(caller)
    assert caller.get(proxy(0), "MountPoint", "WriteProtected") is True
    assert media.read_bytes()[4096:4608] == b"x" * 512


# --- what goes wrong ---

def test_mounts_that_cannot_begin(device, caller, listen, media, workdir):
    d = device()
    caller.wait_name()
    path = media_socket(workdir)
    assert fails(caller, "org.freedesktop.DBus.Error.FileNotFound") == \
        f"{path} cannot be connected to (No such file or directory): listen there before you " \
        "call Mount."
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        path.chmod(0o777)
        assert "Connection refused" in fails(caller, "System.Error.ECONNREFUSED")
    assert caller.get(proxy(0), "Process", "Active") is False
    assert "nothing to unmount" in fails(caller, "System.Error.ENOMEDIUM", "Unmount")
    listen(media)
    mount(caller)
    assert fails(caller, "System.Error.EBUSY") == "Slot is in use"
    assert digest_of_drive(d) == digest_of_image(media)
    unmount(caller)
    mount(caller)
    unmount(caller)


def test_a_socket_that_platterd_may_not_write_to(device, caller, listen, media, workdir):
    device()
    caller.wait_name()
    listen(media)
    media_socket(workdir).chmod(0o555)
    assert "let the user that platterd runs as write to it" in fails(
        caller, "org.freedesktop.DBus.Error.AccessDenied")


class Listener:
    """Somebody who listens, and does one thing with whoever comes."""

    def __init__(self, path: Path, deed) -> None:
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o777)
        self.listener.listen()
        self.deed = deed
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self.listener, self.listener.accept()[0] as line:
            line.settimeout(30)
            self.deed(line)

    def end(self) -> None:
        self.thread.join(30)
        assert not self.thread.is_alive()


def reads_to_the_end(line):
    while line.recv(4096):
        pass


def no_nbd(line):
    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    reads_to_the_end(line)


@pytest.mark.parametrize("deed,result", [
    (lambda line: None, errno.ECANCELED),
    (no_nbd, errno.EPROTO),
], ids=["goes at once", "speaks no NBD"])
def test_mounts_that_fail(device, caller, listen, media, workdir, deed, result):
    d = device()
    caller.wait_name()
    far_end = Listener(media_socket(workdir), deed)
    mount(caller, result=result)
    far_end.end()
    d.wait_state("idle")
    assert caller.get_all(proxy(0), "Process") == {"Active": False, "ExitCode": result}
    assert ("Process", "ExitCode", result) in caller.changes(proxy(0))
    listen(media)
    mount(caller)
    assert digest_of_drive(d) == digest_of_image(media)


def test_an_image_of_nothing(device, caller, listen, workdir):
    device()
    caller.wait_name()
    nothing = workdir / "nothing"
    nothing.write_bytes(b"")
    listen(nothing)
    mount(caller, result=errno.EMEDIUMTYPE)


def test_unmount_while_it_mounts(device, caller, workdir):
    """The far end is mute, as a browser may be: Mount waits, and Unmount does not."""
    d = device()
    caller.wait_name()
    far_end = Listener(media_socket(workdir), reads_to_the_end)
    assert caller.call(proxy(0), "Proxy", "Mount") == [True]
    assert d.slot()["state"] == "opening" and caller.completions(proxy(0)) == []
    assert fails(caller, "System.Error.EBUSY") == "Slot is in use"
    assert caller.call(proxy(0), "Proxy", "Unmount") == [True]
    assert caller.wait_completion(proxy(0), 2) == 0
    assert caller.completions(proxy(0)) == [errno.ECANCELED, 0]
    far_end.end()
    d.wait_state("idle")


def test_many_unmounts_at_once(device, caller, listen, media):
    """A Completion each, and an error for those that come when the slot is empty."""
    d = device()
    caller.wait_name()
    listen(media)
    mount(caller)
    answers = caller.call_at_once(8, proxy(0), "Proxy", "Unmount")
    begun = answers.count([True])
    assert begun >= 1
    assert {error.name for error in answers if error != [True]} <= {"System.Error.ENOMEDIUM"}
    caller.wait_completion(proxy(0), 1 + begun)
    assert caller.completions(proxy(0)) == [0] * (1 + begun)
    d.wait_state("idle")


def test_a_far_end_that_goes(device, caller, listen, media):
    d = device()
    caller.wait_name()
    far_end = listen(media)
    mount(caller)
    far_end.kill()
    caller.wait(lambda: ("Process", "Active", False) in caller.changes(proxy(0)),
                "the drive is gone")
    assert d.slot()["state"] == "idle"
    assert "nothing to unmount" in fails(caller, "System.Error.ENOMEDIUM", "Unmount")
    assert caller.completions(proxy(0)) == [0]


def test_a_drive_that_a_page_gave(device, caller, listen, media):
    """It is shown, and may be ended; the inactivity limit is not its."""
    d = device(dbus="inactivity_timeout = 1\n")
    caller.wait_name()
    listen(media)
    with FarEnd(d.port, bytes(65536)) as page:
        page.wait_state("serving")
        caller.wait(lambda: ("Process", "Active", True) in caller.changes(proxy(0)), "it is shown")
        assert caller.get(proxy(0), "MountPoint", "RemainingInactivityTimeout") == 0
        assert fails(caller, "System.Error.EBUSY") == "Slot is in use"
        assert caller.completions(proxy(0)) == []
        unmount(caller)
        assert page.wait_closed() == (1000, "The session was ended over D-Bus.")


# --- images of URLs ---

def test_legacy_mounts_are_refused_in_words(device, caller):
    d = device()
    caller.wait_name()
    before = d.program.fd_count()
    reader, writer = os.pipe()
    url = "https://example.org/a.iso"
    for signature, body, fds in (("s", [url], []), ("sbh", [url, False, 0], [reader]),
                                 ("sbv", [url, True, Variant("h", 0)], [reader]),
                                 ("sbv", [url, True, Variant("i", -1)], [])):
        for _ in range(20):
            with pytest.raises(CallError) as error:
                caller.call(legacy(0), "Legacy", "Mount", signature, body, fds)
            assert error.value.name == "org.freedesktop.DBus.Error.NotSupported"
            assert "URL" in error.value.text
    for signature, body in (("", []), ("sb", [url, True]), ("u", [1]),
                            ("sbv", [url, True, Variant("s", "-1")])):
        with pytest.raises(CallError) as error:
            caller.call(legacy(0), "Legacy", "Mount", signature, body)
        assert error.value.name == "org.freedesktop.DBus.Error.InvalidArgs"
    with pytest.raises(CallError) as error:
        caller.call(legacy(0), "Legacy", "Unmount")
    assert error.value.name == "System.Error.ENOMEDIUM"
    os.close(reader)
    os.close(writer)
    wait_until(lambda: d.program.fd_count() == before, "no descriptor is kept")


def test_calls_that_make_no_sense(device, caller):
    device()
    caller.wait_name()
    for path, interface, member, signature, body, name in (
            (proxy(0), "Proxy", "Mount", "s", ["x"], "InvalidArgs"),
            (proxy(0), "Proxy", "Eject", "", [], "UnknownMethod"),
            (proxy(0), "Legacy", "Mount", "s", ["x"], "UnknownMethod"),
            (legacy(0), "Proxy", "Mount", "", [], "UnknownMethod"),
            (proxy(1), "Proxy", "Mount", "", [], "UnknownObject"),
            (ROOT, "Proxy", "Mount", "", [], "UnknownMethod")):
        with pytest.raises(CallError) as error:
            caller.call(path, interface, member, signature, body)
        assert error.value.name == f"org.freedesktop.DBus.Error.{name}", (path, interface, member)


# --- time ---

def test_inactivity_ends_the_session(device, caller, listen, media, workdir):
    d = device(dbus="inactivity_timeout = 2\n")
    caller.wait_name()
    listen(media)
    mount(caller)
    machine = nbd.NBD()
    machine.connect_uri(f"nbd+unix:///?socket={workdir}/run/slot-0.sock")
    seen = set()

    def reads_for_longer():
        machine.pread(512, 0)
        seen.add(caller.get(proxy(0), "MountPoint", "RemainingInactivityTimeout"))
        return d.slot()["counters"]["requests"] > 200 and caller.loop.time() > end

    end = caller.loop.time() + 5
    wait_until(reads_for_longer, "the machine has used the drive for 5 s")
    assert caller.get(proxy(0), "Process", "Active") and 2 in seen and 0 not in seen
    caller.wait(lambda: ("Process", "Active", False) in caller.changes(proxy(0)),
                "the drive has gone")
    d.wait_state("idle")
    assert d.slot()["reason"] == "The machine has not used the drive for 2 seconds."
    assert caller.completions(proxy(0)) == [0]
    assert caller.get(proxy(0), "MountPoint", "RemainingInactivityTimeout") == 0


def test_no_inactivity_limit(device, caller, listen, media):
    device(dbus="inactivity_timeout = 0\n")
    caller.wait_name()
    listen(media)
    mount(caller)
    assert caller.get(proxy(0), "MountPoint", "Timeout") == 0
    assert caller.get(proxy(0), "MountPoint", "RemainingInactivityTimeout") == 0
    unmount(caller)


def test_no_descriptor_is_kept(device, caller, listen, media):
    d = device()
    caller.wait_name()
    listen(media)
    mount(caller)
    unmount(caller)
    before = d.program.fd_count()
    for _ in range(20):
        mount(caller)
        unmount(caller)
    wait_until(lambda: d.program.fd_count() == before, "no descriptor is kept")


def test_stopping_with_a_drive(device, caller, listen, media):
    d = device()
    caller.wait_name()
    listen(media)
    mount(caller)
    assert d.program.stop() == 0
    caller.wait(lambda: ("Process", "Active", False) in caller.changes(proxy(0)),
                "the drive's end is told")
