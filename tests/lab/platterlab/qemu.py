# SPDX-License-Identifier: Apache-2.0
"""One QEMU process: its directory, its console's log, its QMP monitor, and its certain end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .errors import LabError, LabUnavailable

# Plain emulation: the same everywhere, also where /dev/kvm is not to be had. A processor with fast
# string operations (ERMS) has its kernel copy all memory by `rep movsb`, which is emulated byte by
# byte: without, pages are cleared and copied several times as fast.
PROCESSOR = "max,-erms"
EMULATION = ["-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-nodefaults", "-no-user-config"]


class Qemu:
    """A running QEMU. `prefix` is put before its command line (such as `ip netns exec NAME`)."""

    def __init__(self, name: str, prefix: list[str] | None = None) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"platter-{name}-"))
        self.console = self.directory / "console.log"
        self._prefix = prefix or []
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: socket.socket | None = None
        self._kept = b""
        self._asking = threading.Lock()

    def start(self, arguments: list[str]) -> None:
        qmp = self.directory / "qmp"
        program = shutil.which("qemu-system-x86_64")
        if not program:
            raise LabUnavailable("QEMU is missing: `sudo apt-get install qemu-system-x86`.")
        # --pdeathsig: however this process ends, no QEMU stays behind.
        command = [*self._prefix, "setpriv", "--pdeathsig", "KILL", program, *EMULATION]
        command += ["-name", self.name, "-qmp", f"unix:{qmp},server=on,wait=off"]
        command += ["-serial", f"file:{self.console}", *arguments]
        with (self.directory / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who then end it
            )
        self._qmp = self.connect(qmp)
        self._receive()
        self.qmp("qmp_capabilities")

    def connect(self, path: Path, timeout: float = 20) -> socket.socket:
        """Connects to a unix socket that QEMU makes as it starts."""
        deadline = time.monotonic() + timeout
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
                return connection
            except OSError:
                connection.close()
            if not self.is_running() or time.monotonic() > deadline:
                said = (self.directory / "qemu.log").read_text(errors="replace")
                raise LabError(f"QEMU ({self.name}) did not start: {said.strip()}")
            time.sleep(0.05)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def qmp(self, command: str, **arguments: object) -> object:
        assert self._qmp
        message = {"execute": command, "arguments": arguments}
        with self._asking:
            self._qmp.sendall(json.dumps(message).encode() + b"\n")
            while True:
                answer = self._receive()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise LabError(f"QMP {command}: {answer['error']['desc']}")

    def monitor(self, line: str) -> str:
        """A command of QEMU's human monitor, for what QMP has no command for."""
        return str(self.qmp("human-monitor-command", **{"command-line": line}))

    def _receive(self) -> dict:
        assert self._qmp
        while b"\n" not in self._kept:
            got = self._qmp.recv(65536)
            if not got:
                raise LabError(f"QEMU ({self.name}) has gone")
            self._kept += got
        line, self._kept = self._kept.split(b"\n", 1)
        return json.loads(line)

    def console_tail(self, lines: int = 40) -> str:
        try:
            return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def close(self) -> None:
        if self._qmp:
            self._qmp.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        keep = os.environ.get("PLATTER_LAB_KEEP")
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
