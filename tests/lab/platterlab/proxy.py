# SPDX-License-Identifier: Apache-2.0
"""nbd-proxy in the virtual BMC, installed where OpenBMC has it, and started as its web server does:
by proxy_parent.py, which is the far end as well."""

from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path

from .bmc import VirtualBmc
from .build import CHECKOUT
from .channel import Command
from .errors import LabUnavailable
from .platter import BUILD

_PROXY = BUILD / "src/nbd-proxy/nbd-proxy"
_HELPER = BUILD / "src/priv/platter-helper"
_PARENT = CHECKOUT / "tests/lab/proxy_parent.py"
ETC = "/etc/nbd-proxy"
HELPER = "/usr/sbin/platter-helper"


def install_proxy(bmc: VirtualBmc) -> None:
    """Both programs, and no configuration."""
    for path in (_PROXY, _HELPER):
        if not path.exists():
            raise LabUnavailable(f"{path} is missing: run `./dev build`.")
    bmc.run(f"mkdir -p {ETC} && cp {_PROXY} /usr/bin/nbd-proxy && cp {_HELPER} {HELPER}")


def configure(bmc: VirtualBmc, hook: str | None = None, **keys: object) -> None:
    """Two configurations with these keys, "0" and "1", and a hook if it is given."""
    both = {str(n): {"nbd-device": f"/dev/nbd{n}", **keys} for n in range(2)}
    bmc.write_file(f"{ETC}/config.json", json.dumps({"configurations": both}))
    bmc.run(f"rm -f {ETC}/state")
    if hook is not None:
        bmc.write_file(f"{ETC}/state", f"#!/bin/sh\n{hook}\n")
        bmc.run(f"chmod 755 {ETC}/state")


class Proxy:
    """One nbd-proxy, and the far end at its pipes."""

    _numbers = itertools.count(1)

    def __init__(self, bmc: VirtualBmc, image: Path | str, name: str = "0") -> None:
        self._bmc = bmc
        self._fifo = f"/tmp/proxy-{next(self._numbers)}"
        words = ["/usr/bin/python3", str(_PARENT), self._fifo, str(image)]
        self.command: Command = bmc.start([*words, "nbd-proxy", "--helper", HELPER, name])

    def wait(self, pattern: str, timeout: float = 30) -> str:
        return self.command.wait_for_output(rf"(?m)^{pattern}", timeout)

    def mute(self) -> None:
        """From now on the far end answers nothing."""
        self._bmc.run(f"echo mute >{self._fifo}")
        self.wait("muted")

    def end(self, how: str = "term") -> tuple[int, int]:
        """Ends it, by "term", "eof" or "epipe": its exit code, and after how many milliseconds."""
        self._bmc.run(f"echo {how} >{self._fifo}")
        words = self.wait(r"exit \S+ \d+").split()
        self.command.stop()
        return int(words[1]), int(words[2])

    def wait_ended(self, timeout: float = 30) -> int:
        """It ends by itself: its exit code."""
        code = int(self.wait(r"exit \S+", timeout).split()[1])
        self.command.stop()
        return code

    @property
    def log(self) -> str:
        return self.command.err

    def drive(self, count: int = 1) -> str:
        """The machine's disk, once there are so many of them: the newest."""
        deadline = time.monotonic() + 60
        while True:
            disks = self._bmc.run("ls -d /sys/block/sd* 2>/dev/null", check=False).out.split()
            ready = [d for d in disks if self._size(d) > 0]
            if len(ready) >= count:
                return "/dev/" + re.sub(".*/", "", ready[-1])
            assert time.monotonic() < deadline, f"{disks}\n{self.log}"
            time.sleep(0.1)

    def _size(self, disk: str) -> int:
        said = self._bmc.run(f"cat {disk}/size", check=False).out.strip()
        return int(said or 0)
