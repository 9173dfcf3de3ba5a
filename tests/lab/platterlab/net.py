# SPDX-License-Identifier: Apache-2.0
"""The two networks a virtual BMC can be on.

`UserNetwork` is QEMU's own: it needs no privilege, and is right for everything but measuring (it
carries at most 64 KiB a round trip of TCP). `TapNetwork` is a tap device in a network namespace: it
needs root, and delays that `tc netem` adds in the guest are the only ones there. What speaks to the
guest over it runs inside the namespace: put `prefix` before its command.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Protocol

from .errors import LabError, LabUnavailable
from .qemu import Qemu


class Network(Protocol):
    """What a virtual BMC wants to know of its network."""

    prefix: list[str]
    arguments: list[str]
    guest_address: str
    gateway: str

    def open(self) -> None: ...
    def close(self) -> None: ...
    def reach(self, qemu: Qemu, port: int) -> tuple[str, int]: ...


class UserNetwork:
    """QEMU's user networking; ports of the guest are forwarded from the loopback as asked for."""

    def __init__(self) -> None:
        self.prefix: list[str] = []
        self.arguments = ["-netdev", "user,id=net,restrict=on,ipv6=off"]
        self.guest_address = "10.0.2.15/24"
        self.gateway = "10.0.2.2"
        self._forwarded: dict[int, int] = {}

    def open(self) -> None:
        """Nothing to do: QEMU brings it."""

    def close(self) -> None:
        """Nothing to do: it ends with QEMU."""

    def reach(self, qemu: Qemu, port: int) -> tuple[str, int]:
        for _ in range(20):
            if port in self._forwarded:
                break
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                free = probe.getsockname()[1]
            # Somebody else may take the port in this moment; then QEMU says so and we try another.
            if not qemu.monitor(f"hostfwd_add net tcp:127.0.0.1:{free}-:{port}").strip():
                self._forwarded[port] = free
        else:
            raise LabError(f"no port of the loopback could be forwarded to the guest's {port}")
        return "127.0.0.1", self._forwarded[port]


class TapNetwork:
    """A tap device in a network namespace of its own."""

    def __init__(self) -> None:
        self._name = f"platter-lab-{os.getpid()}"
        self.prefix = ["ip", "netns", "exec", self._name]
        self.arguments = ["-netdev", "tap,id=net,ifname=lab0,script=no,downscript=no"]
        self.guest_address = "10.79.0.2/24"
        self.gateway = "10.79.0.1"

    def open(self) -> None:
        if os.geteuid() != 0:
            raise LabUnavailable("a tap device needs root: run this as root.")
        if not Path("/dev/net/tun").exists():
            raise LabUnavailable("there is no /dev/net/tun here: load the module tun.")
        self._ip("netns", "add", self._name)
        for line in (
            "link set lo up",
            "tuntap add dev lab0 mode tap",
            f"address add {self.gateway}/24 dev lab0",
            "link set lab0 up",
        ):
            self._ip("-n", self._name, *line.split())

    def close(self) -> None:
        if Path("/run/netns", self._name).exists():
            self._ip("netns", "delete", self._name)

    def reach(self, qemu: Qemu, port: int) -> tuple[str, int]:
        return self.guest_address.partition("/")[0], port

    @staticmethod
    def _ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabUnavailable(f"`ip {' '.join(words)}`: {done.stderr.strip()}")
