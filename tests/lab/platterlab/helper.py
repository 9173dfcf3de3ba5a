# SPDX-License-Identifier: Apache-2.0
"""platter-helper alone in the virtual BMC; the daemon's part is played by helper_client.py, so that
a test can be as late, mute or dead as it needs."""

from __future__ import annotations

import itertools
import re
import signal
from pathlib import Path

from .bmc import VirtualBmc
from .build import CHECKOUT
from .channel import Command
from .platter import BUILD

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
SOCKET = "/run/helper-test/helper.sock"
_HELPER = BUILD / "src/priv/platter-helper"
_CLIENT = CHECKOUT / "tests/lab/helper_client.py"
_CONFIG = """
[helper]
socket = /run/{name}/helper.sock
state_dir = /run/{name}
user = 65534
restart_grace = {grace}
"""
_SLOTS = """
[slot 0]
export = kernel
[slot 1]
export = kernel
[slot 2]
export = unix
"""


def start_helper(
    bmc: VirtualBmc, name: str = "helper-test", grace: int = 0, slots: str = _SLOTS
) -> Command:
    """A helper with its state in /run/NAME, which keeps drives without an owner for `grace` s."""
    bmc.write_file(f"/run/{name}.conf", _CONFIG.format(name=name, grace=grace) + slots)
    helper = bmc.start([str(_HELPER), "--config", f"/run/{name}.conf"])
    helper.wait_for_output("listening on")
    return helper


class Client:
    """helper_client.py in the guest."""

    _numbers = itertools.count(1)

    def __init__(
        self, bmc: VirtualBmc, wrapper: list[str] | None = None, socket: str = SOCKET
    ) -> None:
        self.bmc = bmc
        self.fifo = f"/tmp/client-{next(self._numbers)}"
        command = ["/usr/bin/python3", str(_CLIENT), socket, self.fifo]
        self.command = bmc.start([*(wrapper or []), *command])
        self.wait("ready")

    def say(self, line: str) -> None:
        self.bmc.run(f"echo {line} >{self.fifo}")

    def wait(self, pattern: str, timeout: float = 20) -> str:
        return self.command.wait_for_output(rf"(?m)^({pattern})", timeout)

    def ask(self, line: str, pattern: str) -> str:
        """Says it, and waits for the next answer of this form: there may have been some before."""
        before = len(re.findall(rf"(?m)^{pattern}", self.command.out))
        self.say(line)
        earlier = rf"(?:^{pattern}[\s\S]*?){{{before}}}"
        return self.command.wait_for_output(rf"(?m){earlier}^({pattern})", 20)

    def attach(self, kind: str, path: Path | str = ISO, slot: int = 0) -> str:
        """Attaches, and returns the machine's drive once it has a medium."""
        self.say(f"attach {slot} {kind} {path}")
        self.wait("reply attach 0 nbd")
        return self.bmc.wait_for_disk(kind)

    def usb(self, path: str, word: str = "usb", slot: int = 0, drives: int = 1) -> str:
        """Attaches ("usb") or adopts ("take") a USB device; returns its journal's word."""
        self.ask(f"{word} {slot} {drives} {path}", f"reply {word} 0 -")
        self.wait("functions [0-9]+")
        return self.wait("journal of-[0-9]+").split()[-1]

    def adopt(self, kind: str, path: Path | str = ISO, slot: int = 0) -> None:
        self.ask(f"adopt {slot} {kind} {path}", "reply adopt 0 nbd")

    def kill(self) -> None:
        self.command.signal(signal.SIGKILL)
        self.command.wait()
