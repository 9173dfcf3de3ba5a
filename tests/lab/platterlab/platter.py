# SPDX-License-Identifier: Apache-2.0
"""Platter as it runs in the virtual BMC: platterd under a user of its own, platter-helper as root.

Both are copied to /opt/platter there, as an installation would: the checkout may lie where that
user may not look (under /root, say).
"""

from __future__ import annotations

import json
import os
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .bmc import VirtualBmc
from .build import CHECKOUT
from .channel import Command
from .errors import LabUnavailable

BUILD = Path(os.environ.get("PLATTER_BUILD", CHECKOUT / "build"))
PAGE = CHECKOUT / "web" / "dist"
_DAEMON = BUILD / "src/daemon/platterd"
_HELPER = BUILD / "src/priv/platter-helper"
_USER = "990"
_PORT = 8080

# The exports that are USB drives of the machine.
EXPORTS = ("usb", "kernel")

_CONFIG = f"""\
[daemon]
listen = 0.0.0.0:{_PORT}
insecure_no_login = yes
page = /opt/platter/page
runtime_dir = /run/platter

[helper]
socket = /run/platter-helper/helper.sock
state_dir = /run/platter-helper
user = {_USER}
restart_grace = GRACE

[slot 0]
name = Virtual drive
"""


def config_with(export: str, restart_grace: int = 10) -> str:
    """The configuration of both programs, with one slot; keys that are added are that slot's."""
    return f"{_CONFIG.replace('GRACE', str(restart_grace))}export = {export}\n"


def check_built() -> None:
    """Raises LabUnavailable when something has not been built."""
    for path in (_DAEMON, _HELPER, PAGE / "index.html"):
        if not path.exists():
            raise LabUnavailable(f"{path} is missing: run `./dev build`.")


def outside_shares() -> tuple[Path, ...]:
    """What a virtual BMC must see beside the checkout to run Platter."""
    inside = BUILD.resolve().is_relative_to(CHECKOUT)
    return () if inside or not BUILD.is_dir() else (BUILD.resolve(),)


class Platter:
    """The two programs in one virtual BMC; start() once, then stop and start either at will."""

    def __init__(self, bmc: VirtualBmc) -> None:
        self._bmc = bmc
        self.daemon: Command | None = None
        self.helper: Command | None = None

    def install(self, config: str) -> None:
        """Puts everything in place. What the build made must not change while the BMC runs."""
        quoted = [shlex.quote(str(path.resolve())) for path in (_DAEMON, _HELPER, PAGE)]
        self._bmc.run(
            f"""set -e
            rm -rf /opt/platter && mkdir -p /opt/platter/page
            cp {quoted[0]} {quoted[1]} /opt/platter/
            cp -r {quoted[2]}/. /opt/platter/page/
            chmod -R a+rX /opt/platter
            install -d -m 755 -o {_USER} -g {_USER} /run/platter""",
            timeout=60,
        )
        self._bmc.write_file("/tmp/platter.conf", config)

    def start(self) -> None:
        """Starts both, and waits until they say that they are ready."""
        self.start_helper()
        self.start_daemon()

    def start_helper(self) -> None:
        self.helper = self._bmc.start("exec /opt/platter/platter-helper --config /tmp/platter.conf")
        self.helper.wait_for_output("listening on")

    def start_daemon(self) -> None:
        self.daemon = self._bmc.start(
            f"exec setpriv --reuid {_USER} --regid {_USER} --clear-groups --no-new-privs "
            "/opt/platter/platterd --config /tmp/platter.conf"
        )
        self.daemon.wait_for_output("the page is at")

    def kill_daemon(self) -> None:
        """SIGKILL, and waits until all it had open is closed."""
        assert self.daemon
        self._bmc.run(["kill", "-9", str(self.daemon.pid)])
        self.daemon.wait()

    def stop(self) -> None:
        """Ends both in an orderly way."""
        for program in (self.daemon, self.helper):
            if program and program.status is None:
                program.stop()

    @property
    def url(self) -> str:
        """Where the outer side finds the page."""
        host, port = self._bmc.address(_PORT)
        return f"http://{host}:{port}/"

    def status(self, slot: int = 0) -> dict:
        """What the daemon says of one slot."""
        with urllib.request.urlopen(f"{self.url}api/slots", timeout=20) as answer:
            return json.load(answer)["slots"][slot]

    def post_end(self, slot: int = 0, force: bool = False) -> None:
        """Asks for the end of a slot's session at the device's side; HTTPError when refused."""
        url = f"{self.url}api/slots/{slot}/end{'?force=1' if force else ''}"
        post = urllib.request.Request(url, method="POST", headers={"Origin": self.url.rstrip("/")})
        urllib.request.urlopen(post, timeout=20).close()

    def end(self, slot: int = 0, force: bool = False) -> None:
        """The same, if it has one."""
        try:
            self.post_end(slot, force)
        except urllib.error.HTTPError as refused:
            if refused.code != 409:  # it has none
                raise

    def footprint(self) -> dict[str, tuple[int, int]]:
        """For each program and its workers: (descriptors open, resident KiB)."""
        said = self._bmc.run(
            """for d in /proc/[0-9]*; do
                   read -r name <"$d/comm" || continue
                   case $name in platter*) ;; *) continue ;; esac
                   set -- "$d"/fd/*
                   while read -r word rest; do [ "$word" = VmRSS: ] && break; done <"$d/status"
                   echo "$name.${d##*/} $# ${rest% kB}"
               done 2>/dev/null"""
        )
        rows = (line.split() for line in said.out.splitlines())
        return {row[0]: (int(row[1]), int(row[2])) for row in rows}

    def diagnosis(self) -> str:
        """What both have said so far."""
        parts = []
        for name, program in (("platterd", self.daemon), ("platter-helper", self.helper)):
            if program:
                parts.append(f"--- {name} (status {program.status})\n{program.err[-4000:]}")
        return "\n".join(parts)


@contextmanager
def running(bmc: VirtualBmc, config: str) -> Iterator[Platter]:
    """Both programs, installed and started, for as long as the context lasts."""
    check_built()
    programs = Platter(bmc)
    programs.install(config)
    programs.start()
    yield programs
    programs.stop()
