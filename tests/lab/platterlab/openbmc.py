# SPDX-License-Identifier: Apache-2.0
"""nbd-proxy in the virtual BMC, started by the stand-in for bmcweb as bmcweb does it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .bmc import VirtualBmc
from .build import CHECKOUT
from .channel import Command
from .errors import LabError, LabUnavailable
from .platter import BUILD

sys.path.insert(0, str(CHECKOUT / "tests/openbmc"))

from standin import sessions  # noqa: E402
from webui_vue import TOKEN  # noqa: E402

_BMCWEB = BUILD / "tests/openbmc/bmcweb"
_PROXY = BUILD / "src/nbd-proxy/nbd-proxy"
_HELPER = BUILD / "src/priv/platter-helper"

# Whoever has these names and no business any more.
_PROCESSES = "for d in /proc/[0-9]*; do read -r name <$d/comm && echo $name; done 2>/dev/null"


def check_built() -> None:
    for path in (_BMCWEB, _PROXY, _HELPER):
        if not path.exists():
            raise LabUnavailable(f"{path} is missing: run `./dev build`.")


class Bmcweb:
    """The stand-in, running; its sessions come one after the other."""

    def __init__(self, bmc: VirtualBmc, command: Command, port: int) -> None:
        self._bmc = bmc
        self._command = command
        self.host, self.port = bmc.address(port)

    def sessions(self) -> list[dict]:
        """Those that are over."""
        return sessions(self._command.out)

    def wait_over(self, count: int, timeout: float = 20) -> dict:
        """How session number `count` ended."""
        deadline = time.monotonic() + timeout
        while len(self.sessions()) < count:
            if time.monotonic() > deadline:
                raise LabError(f"session {count} is not over: {self._command.tell()}")
            time.sleep(0.02)
        return self.sessions()[count - 1]

    def wait_clean(self, timeout: float = 10) -> None:
        """Until nothing stands any more and nobody is left, whom bmcweb did not wait for."""
        self._bmc.wait_clean(timeout)
        deadline = time.monotonic() + timeout
        while left := self._processes() & {"nbd-proxy", "platter-helper"}:
            if time.monotonic() > deadline:
                raise LabError(f"after {timeout} s {' and '.join(left)} still run")
            time.sleep(0.2)

    def _processes(self) -> set[str]:
        return set(self._bmc.run(_PROCESSES).out.split())

    def diagnosis(self) -> str:
        return f"{self._command.tell()}\n{self._bmc.run('cat /run/nbd-proxy.log', check=False).out}"


@contextmanager
def bmcweb(
    bmc: VirtualBmc, port: int = 8070, idle: int = 60, **configuration: object
) -> Iterator[Bmcweb]:
    """The stand-in with `nbd-proxy 0` behind it, for as long as the context lasts. What else is
    given goes into the configuration "0"."""
    check_built()
    described = {"nbd-device": "/dev/nbd0", "default": True, **configuration}
    bmc.write_file("/etc/nbd-proxy.json", json.dumps({"configurations": {"0": described}}))
    proxy = f"exec {_PROXY} --config /etc/nbd-proxy.json --helper {_HELPER} 0 2>>/run/nbd-proxy.log"
    command = bmc.start([str(_BMCWEB), "--port", str(port), "--token", TOKEN, "--idle", str(idle),
                         "--", "sh", "-c", proxy])
    command.wait_for_output("listening on")
    yield Bmcweb(bmc, command, port)
    command.stop()
