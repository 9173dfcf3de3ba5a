# SPDX-License-Identifier: Apache-2.0
"""The virtual machine that a virtual BMC looks after: a PC with SeaBIOS or UEFI (OVMF), a VGA
screen, a serial line and one USB port. What usbredirect offers on a TCP port of the BMC is plugged
in there, and it boots from that.

Its screen is read as text out of the VGA's memory: exact, unlike comparing pictures, and enough for
a BIOS and its boot loaders, which use the text mode. UEFI draws: there, read the serial line.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from .errors import LabError, LabUnavailable
from .qemu import Qemu

_TEXT_MEMORY = 0xB8000
_COLUMNS = 80
_ROWS = 25
_UEFI = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
_UEFI_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


class VirtualMachine:
    """Use as a context; start() switches it on."""

    def __init__(self, memory: int = 256, uefi: bool = False) -> None:
        self._memory = memory
        self._uefi = uefi
        self._qemu = Qemu("machine")

    def __enter__(self) -> VirtualMachine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._qemu.close()

    def start(
        self,
        host: str,
        port: int,
        display: list[str] | None = None,
        controller: str = "qemu-xhci",
    ) -> None:
        """Switches it on, its USB port connected to the usbredirect server at host:port. `display`
        is QEMU's, in place of none; `controller`: what the port belongs to."""
        arguments = ["-device", controller]
        # reconnect: the drive may come and go while the machine runs.
        arguments += ["-chardev", f"socket,id=usb,host={host},port={port},reconnect=1"]
        arguments += ["-device", "usb-redir,chardev=usb,id=drive,bootindex=0"]
        self._switch_on(arguments, display)

    def start_with_cd(self, uri: str) -> None:
        """Switches it on without a USB port, the image at `uri` (nbd+unix:///...) in a CD drive."""
        self._switch_on(["-drive", f"file={uri},format=raw,media=cdrom,readonly=on"], None)

    def _switch_on(self, arguments: list[str], display: list[str] | None) -> None:
        common = ["-M", "pc", "-m", str(self._memory), "-vga", "std"]
        common += display or ["-display", "none"]
        # With nothing to boot from, SeaBIOS tries again by itself.
        common += ["-boot", "strict=on,reboot-timeout=5000"]
        self._qemu.start([*common, *self._firmware(), *arguments])

    def _firmware(self) -> list[str]:
        if not self._uefi:
            return []  # QEMU's own: SeaBIOS
        if not _UEFI.exists():
            raise LabUnavailable("there is no UEFI firmware: `sudo apt-get install ovmf`.")
        variables = self._qemu.directory / "variables.fd"
        shutil.copyfile(_UEFI_VARIABLES, variables)
        parts = [f"file={_UEFI},readonly=on", f"file={variables}"]
        return [word for part in parts for word in ("-drive", f"if=pflash,format=raw,{part}")]

    def screen_url(self) -> str:
        """Where a browser finds the screen, if its display is `-vnc ...,websocket=on`."""
        servers = self._qemu.qmp("query-vnc-servers")
        assert isinstance(servers, list)
        found = [end for each in servers for end in each["server"] if end["websocket"]]
        return f"ws://127.0.0.1:{found[0]['service']}"

    def has_drive(self) -> bool:
        """Whether something is plugged into the USB port."""
        port = self._qemu.qmp("qom-get", path="/machine/peripheral/drive", property="attached")
        return port is True

    def reset(self) -> None:
        """Presses the reset button."""
        self._qemu.qmp("system_reset")

    def press(self, key: str) -> None:
        """Presses a key, by QEMU's name for it: "ret", "down", "c"."""
        self._qemu.monitor(f"sendkey {key}")

    def screen(self) -> str:
        """The text on the screen, without trailing blanks."""
        picture = self._qemu.directory / "screen"
        size = _COLUMNS * _ROWS * 2
        self._qemu.qmp("pmemsave", val=_TEXT_MEMORY, size=size, filename=str(picture))
        cells = picture.read_bytes()[::2]
        rows = [cells[n : n + _COLUMNS] for n in range(0, len(cells), _COLUMNS)]
        return "\n".join(row.decode("cp437").replace("\0", " ").rstrip() for row in rows).rstrip()

    def wait_for_text(self, text: str, timeout: float = 90) -> str:
        """Waits until `text` stands on the screen; returns the whole screen."""
        return self._wait(lambda screen: text in screen, f"no {text!r}", timeout)

    def wait_until_gone(self, text: str, timeout: float = 30) -> str:
        """Waits until `text` no longer stands on the screen."""
        return self._wait(lambda screen: text not in screen, f"still {text!r}", timeout)

    def _wait(self, is_right, wrong: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while not is_right(screen := self.screen()):
            if time.monotonic() > deadline:
                raise LabError(f"{wrong} on the machine's screen in {timeout} s:\n{screen}")
            time.sleep(0.2)
        return screen

    def serial(self) -> str:
        """What the machine has said on its serial line so far."""
        return self._qemu.console.read_text(errors="replace")

    def wait_for_serial(self, pattern: str, timeout: float = 120) -> re.Match[str]:
        """Waits until what it has said on the serial line matches."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.serial())):
            if time.monotonic() > deadline:
                raise LabError(f"no {pattern!r} in {timeout} s: {self._qemu.console_tail()}")
            time.sleep(0.2)
        return found

    def screenshot(self, path: str) -> None:
        """Writes the screen as a PNG."""
        self._qemu.qmp("screendump", filename=path, format="png")

    def diagnosis(self) -> str:
        """What one wants to see when a test has failed."""
        try:
            if not self._qemu.is_running():
                return "not running"
            return f"--- screen\n{self.screen()}\n--- serial\n{self._qemu.console_tail()}"
        except LabError as error:
            return str(error)
