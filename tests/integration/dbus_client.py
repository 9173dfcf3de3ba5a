# SPDX-License-Identifier: Apache-2.0
"""A bus of a test's own, and somebody on it who calls platterd as OpenBMC's web server does.

    bus = Bus(programs, workdir)
    with Caller(bus.address) as caller:
        assert caller.call(proxy(0), "Proxy", "Mount") == [True]
        assert caller.wait_completion(proxy(0)) == 0
"""
import asyncio
import hashlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Callable

from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus
from dbus_next.introspection import Node

from harness import Platterd, Programs, wait_until

NAME = "xyz.openbmc_project.VirtualMedia"
ROOT = "/xyz/openbmc_project/VirtualMedia"
PROPERTIES = "org.freedesktop.DBus.Properties"

# Any user may connect: platterd is another one than the tests when those run as root.
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow send_requested_reply="true"/>
    <allow receive_sender="*"/>
    <allow receive_requested_reply="true"/>
  </policy>
  {policy}
</busconfig>
"""


def proxy(slot: int) -> str:
    return f"{ROOT}/Proxy/Slot_{slot}"


def legacy(slot: int) -> str:
    return f"{ROOT}/Legacy/Slot_{slot}"


def listens(path: Path) -> bool:
    """Whether somebody accepts connections there; a socket's file alone comes a moment before."""
    with socket.socket(socket.AF_UNIX) as attempt:
        return path.exists() and attempt.connect_ex(str(path)) == 0


class Bus:
    """dbus-daemon, which can be killed and started again at the same address."""

    def __init__(self, programs: Programs, workdir: Path, policy: str = "") -> None:
        self.programs, self.socket = programs, workdir / "bus.sock"
        self.address = f"unix:path={self.socket}"
        self.config = workdir / "bus.conf"
        self.set_policy(policy)
        self.start()

    def set_policy(self, policy: str) -> None:
        self.config.write_text(CONFIG.format(socket=self.socket, policy=policy))

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.program = self.programs.start(
            "dbus-daemon", ["dbus-daemon", "--nofork", "--nopidfile", "--nosyslog",
                            f"--config-file={self.config}"])
        wait_until(lambda: listens(self.socket), "the bus listens")

    def kill(self) -> None:
        self.program.kill()

    def reload(self) -> None:
        self.program.process.send_signal(signal.SIGHUP)


class CallError(Exception):
    """An error that was answered: its name, and its sentence."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


class Caller:
    """A client of the bus, over python3-dbus-next; `signals` holds what platterd signalled."""

    def __init__(self, address: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.bus = self.loop.run_until_complete(self._connect(address))
        self.signals: list[Message] = []
        self.bus.add_message_handler(self._heard)
        self._call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                   "AddMatch", "s", [f"type='signal',path_namespace='{ROOT}'"])

    async def _connect(self, address: str) -> MessageBus:
        return await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: Any) -> None:
        self.bus.disconnect()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _heard(self, message: Message) -> None:
        if message.message_type == MessageType.SIGNAL and message.path.startswith(ROOT):
            self.signals.append(message)

    async def _ask(self, destination: str, path: str, interface: str, member: str,
                   signature: str = "", body: tuple | list = (), fds: tuple | list = ()) -> list:
        message = Message(destination=destination, path=path, interface=interface, member=member,
                          signature=signature, body=list(body), unix_fds=list(fds))
        answer = await asyncio.wait_for(self.bus.call(message), 20)
        if answer.message_type == MessageType.ERROR:
            raise CallError(answer.error_name, answer.body[0] if answer.body else "")
        return answer.body

    def _call(self, *arguments: Any) -> list:
        return self.loop.run_until_complete(self._ask(*arguments))

    def call(self, path: str, interface: str, member: str, signature: str = "",
             body: tuple | list = (), fds: tuple | list = ()) -> list:
        """Calls platterd; `interface` as the last word of one of its own, or whole."""
        whole = interface if "." in interface else f"{NAME}.{interface}"
        return self._call(NAME, path, whole, member, signature, body, fds)

    def call_at_once(self, times: int, path: str, interface: str, member: str) -> list:
        """The same call so many times without waiting in between: each answer, or CallError."""
        async def all_of_them() -> list:
            return await asyncio.gather(*(
                self._ask(NAME, path, f"{NAME}.{interface}", member) for _ in range(times)),
                return_exceptions=True)
        return self.loop.run_until_complete(all_of_them())

    def wait_name(self) -> None:
        """Until platterd is on the bus."""
        wait_until(lambda: self._call("org.freedesktop.DBus", "/org/freedesktop/DBus",
                                      "org.freedesktop.DBus", "NameHasOwner", "s", [NAME])[0],
                   "platterd is on the bus", 20)

    def get(self, path: str, interface: str, name: str) -> Any:
        return self.call(path, PROPERTIES, "Get", "ss", [f"{NAME}.{interface}", name])[0].value

    def get_all(self, path: str, interface: str) -> dict[str, Any]:
        answer = self.call(path, PROPERTIES, "GetAll", "s", [f"{NAME}.{interface}"])[0]
        return {name: variant.value for name, variant in answer.items()}

    def introspect(self, path: str) -> Node:
        return Node.parse(self.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0])

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
        """The condition's first true value, while signals are heard."""
        async def heard() -> Any:
            end = self.loop.time() + timeout
            while not (value := condition()):
                assert self.loop.time() < end, f"after {timeout} s still not: {what}"
                await asyncio.sleep(0.02)
            return value
        return self.loop.run_until_complete(heard())

    def completions(self, path: str) -> list[int]:
        return [message.body[0] for message in self.signals
                if message.path == path and message.member == "Completion"]

    def wait_completion(self, path: str, count: int = 1, timeout: float = 20.0) -> int:
        """The result that the count-th Completion tells."""
        self.wait(lambda: len(self.completions(path)) >= count,
                  f"{path} signals Completion {count} times", timeout)
        assert len(self.completions(path)) == count
        return self.completions(path)[-1]

    def changes(self, path: str) -> list[tuple[str, str, Any]]:
        """What PropertiesChanged has told so far: (the interface's last word, name, value)."""
        return [(re.sub(r".*\.", "", message.body[0]), name, variant.value)
                for message in self.signals
                if message.path == path and message.member == "PropertiesChanged"
                for name, variant in message.body[1].items()]


# --- what tests do on it ---

def media_socket(workdir: Path, slot: int = 0) -> Path:
    return workdir / f"media-{slot}.sock"


def mount(caller: Caller, slot: int = 0, result: int = 0) -> None:
    before = len(caller.completions(proxy(slot)))
    assert caller.call(proxy(slot), "Proxy", "Mount") == [True]
    assert caller.wait_completion(proxy(slot), before + 1) == result


def unmount(caller: Caller, slot: int = 0) -> None:
    before = len(caller.completions(proxy(slot)))
    assert caller.call(proxy(slot), "Proxy", "Unmount") == [True]
    assert caller.wait_completion(proxy(slot), before + 1) == 0


def fails(caller: Caller, name: str, member: str = "Mount", slot: int = 0) -> str:
    """The sentence of the error that a Proxy object's method must answer."""
    try:
        answer = caller.call(proxy(slot), "Proxy", member)
    except CallError as error:
        assert error.name == name, error
        return error.text
    raise AssertionError(f"{member} answered {answer}")


def digest_of_drive(device: Platterd, slot: int = 0) -> tuple[str, int]:
    """Of what a machine reads: of all that the unix export shows."""
    done = subprocess.run(["nbdcopy", f"nbd+unix:///?socket={device.socket(slot)}", "-"],
                          check=True, timeout=60, capture_output=True)
    return hashlib.sha256(done.stdout).hexdigest(), len(done.stdout)


def digest_of_image(image: Path) -> tuple[str, int]:
    data = image.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)


def busctl(bus: Bus, *argv: str, user: str | None = None) -> subprocess.CompletedProcess:
    """`user`: who calls, when the tests run as root."""
    other = {"user": user, "extra_groups": []} if user and os.geteuid() == 0 else {}
    return subprocess.run(["busctl", f"--address={bus.address}", *argv], timeout=20,
                          capture_output=True, text=True, **other)
