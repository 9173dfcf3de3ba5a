#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A shell in a fresh virtual BMC, as root there; with arguments, one command, and its status.

    tests/lab/shell.py          a shell; the machine ends with it
    tests/lab/shell.py lsblk    one command
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import socket
import sys
import termios
import time
import tty

from platterlab.bmc import VirtualBmc
from platterlab.build import GUEST
from platterlab.errors import LabError, LabUnavailable

_PORT = 4023


def run_command(bmc: VirtualBmc, words: list[str]) -> int:
    """Runs one command and shows what it says."""
    result = bmc.run(words, timeout=3600, check=False)
    sys.stdout.write(result.out)
    sys.stderr.write(result.err)
    return result.status


def open_shell(bmc: VirtualBmc) -> int:
    """Joins this terminal to a shell in the guest, until either ends."""
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "dumb")
    words = ["/usr/bin/python3", str(GUEST / "terminal.py"), str(_PORT)]
    server = bmc.start([*words, str(size.lines), str(size.columns), term])
    server.wait_for_output("listening")
    with socket.create_connection(bmc.address(_PORT)) as connection:
        before = termios.tcgetattr(0) if os.isatty(0) else None
        if before:
            tty.setraw(0)
        try:
            _relay(connection)
        finally:
            if before:
                termios.tcsetattr(0, termios.TCSADRAIN, before)
    print()
    return 0


def _relay(connection: socket.socket) -> None:
    sources = [0, connection.fileno()]
    while True:
        ready = select.select(sources, [], [])[0]
        if connection.fileno() in ready:
            data = connection.recv(65536)
            if not data:
                return
            os.write(1, data)
        if 0 in ready:
            data = os.read(0, 65536)
            if data:
                connection.sendall(data)
            else:  # what was piped in has ended: so does the shell, once it has read it
                connection.sendall(b"\x04")
                sources.remove(0)


def main() -> int:
    begun = time.monotonic()
    print("Booting the virtual BMC ...", file=sys.stderr, flush=True)
    try:
        with VirtualBmc() as bmc:
            if len(sys.argv) > 1:
                return run_command(bmc, sys.argv[1:])
            print(
                f"It is up after {time.monotonic() - begun:.0f} s. You are root in it; its root is "
                f"this machine's, and what you write is forgotten.\r\n"
                f"/exchange is {shlex.quote(str(bmc.exchange))} here. `exit` ends it.",
                file=sys.stderr,
            )
            return open_shell(bmc)
    except (LabError, LabUnavailable) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
