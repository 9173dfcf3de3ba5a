#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`./dev demo`: a person picks an ISO in their browser, and a machine boots from it.

It boots two machines in QEMU, as an ordinary user: the virtual BMC with platterd and platter-helper
in it, and the virtual machine whose USB port is joined to the BMC's gadget. Its screen is shown in
the browser by noVNC. `--once` goes all the way by itself, and is how the demo is tested. (A machine
with a USB device controller of its own needs none of this: `./dev demo` offers to use that first.)
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from platterlab import platter
from platterlab.bmc import VirtualBmc
from platterlab.build import CHECKOUT
from platterlab.demo_server import NOVNC, DemoServer
from platterlab.errors import LabError, LabUnavailable
from platterlab.machine import VirtualMachine

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
_REDIRECT_PORT = 4000

# Offers the gadget to the virtual machine for as long as it is there; usbredirect alone would stay
# when it has gone. The BMC's own usb-storage would take it first, and read from it for nothing.
_OFFER = f"""rmmod usb_storage
plugged() {{ grep -qs 0104 /sys/bus/usb/devices/*/idProduct; }}
while :; do
    if plugged; then
        usbredirect --device 1d6b:0104 --as 0.0.0.0:{_REDIRECT_PORT} &
        while plugged && kill -0 $!; do sleep 0.3; done
        kill $!
        wait
    fi
    sleep 0.3
done"""


class Demo:
    """The two machines, and what happens between them."""

    def __init__(self, bmc: VirtualBmc, machine: VirtualMachine) -> None:
        self._machine = machine
        self.platter = platter.Platter(bmc)
        self.platter.install(platter.config_with("usb"))
        self.platter.start()
        bmc.start(_OFFER)
        display = ["-vnc", "127.0.0.1:0,to=99,websocket=on"]
        machine.start(*bmc.address(_REDIRECT_PORT), display)
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def state(self) -> dict:
        return {"slot": self.platter.status(), "plugged": self._machine.has_drive()}

    def end(self) -> None:
        self._ending.set()
        self._watcher.join()

    def _watch(self) -> None:
        """A machine that was switched on without a drive boots from it once it is plugged in."""
        had = False
        while not self._ending.wait(0.5):
            has = self._machine.has_drive()
            if has and not had:
                self._machine.reset()
            had = has


@contextlib.contextmanager
def virtual_demo(port: int) -> Iterator[tuple[Demo, VirtualMachine, DemoServer]]:
    if not (NOVNC / "core/rfb.js").exists():
        raise LabUnavailable("the demo needs novnc: run `sudo apt-get install novnc`.")
    if not shutil.which("usbredirect"):
        raise LabUnavailable("the demo needs usbredirect: `sudo apt-get install usbredirect`.")
    platter.check_built()
    with VirtualBmc(shares=platter.outside_shares()) as bmc, VirtualMachine(memory=1024) as machine:
        demo = Demo(bmc, machine)
        start = {"platter": demo.platter.url, "screen": machine.screen_url()}
        server = DemoServer(port, start, demo.state, machine.reset)
        try:
            yield demo, machine, server
        finally:
            server.close()
            demo.end()


def run_virtual(port: int) -> int:
    print("Starting two machines in QEMU; this takes half a minute ...", flush=True)
    with virtual_demo(port) as (_, _, server):
        print(f"\n    Open in your browser:  {server.url}\n\nCtrl-C ends the demo.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                signal.pause()
    print("\nThe demo has ended; nothing of it is left.")
    return 0


def run_once() -> int:
    """The whole demo without a person: its page answers, an ISO is picked, the machine boots."""
    sys.path.insert(0, str(CHECKOUT / "tests/e2e"))
    from page import Page, PageError

    with virtual_demo(0) as (demo, machine, server):
        for part in ("", "demo.js", "novnc/core/rfb.js", "start.json", "state.json"):
            with urllib.request.urlopen(server.url + part, timeout=20) as answer:
                answer.read()
        try:
            with Page(demo.platter.url, ISO, "cd") as page:
                page.wait_for_state("serving")
                machine.wait_for_text("GNU GRUB")
                page.disconnect()
        except PageError as error:
            raise LabError(str(error)) from error
        deadline = time.monotonic() + 20
        while demo.state()["plugged"] or demo.platter.status()["state"] != "idle":
            if time.monotonic() > deadline:
                raise LabError("the drive is still there 20 s after Disconnect")
            time.sleep(0.2)
    print("demo: the page answered, the ISO was picked, the machine showed GRUB's menu")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser("./dev demo", description="Watch a machine boot from a file.")
    parser.add_argument("--once", action="store_true", help="go all the way by itself, and exit")
    parser.add_argument("--port", type=int, default=8100, help="of the demo's page, if it is free")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if arguments.once:
            return run_once()
        return run_virtual(arguments.port)
    except (LabError, LabUnavailable) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was ended before it had begun.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
