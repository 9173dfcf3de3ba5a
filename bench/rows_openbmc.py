# SPDX-License-Identifier: Apache-2.0
"""Under OpenBMC's web server, with a far end as its page's, in the virtual BMC: the machine's dd
through nbd-proxy, beside what those systems run without Platter (joiner.c, gadget-hook.sh).

Both stand behind the same stand-in for bmcweb, whose limits (tests/openbmc) are what they share. A
peer that does worse than it must would make nbd-proxy look good, so no figure counts unless
nbd-client straight over TCP is as fast as the same behind bmcweb, and that as fast as it was known
to be at least.
"""
import contextlib
import json
import sys

from lab_drive import BUSES, dd, set_bus, set_delay
from platterlab.bmc import VirtualBmc
from platterlab.errors import LabUnavailable
from platterlab.net import TapNetwork
from platterlab.platter import outside_shares
from reader import MIB
from result import NotMeasured, Peers, Result
from rig import BUILD, TOP, Rig, need, say

IMAGE = 48 * MIB
# Milliseconds of round trip, and how many times as fast as before it has to be.
BOUNDS = {0: 1.5, 20: 2.5, 100: 3.5}
# MB/s that nbd-client behind bmcweb reaches at 0 ms, or the machine is too busy for any of this.
PRIOR_LEAST = 2.5
TOKEN = "bench-bench-bench-20"
PORT, NBD_PORT = 8070, 10809
HOOK = TOP / "bench/gadget-hook.sh"
PRIOR = [BUILD / "bench/joiner", "/run/joiner.sock", "/dev/nbd0", HOOK]
PLATTER = [BUILD / "src/nbd-proxy/nbd-proxy", "--helper", BUILD / "src/priv/platter-helper",
           "--config", "/run/nbd-proxy.json", "0"]
PLATTER_CONFIG = {"configurations": {"0": {"nbd-device": "/dev/nbd0", "default": True}}}


class UnderBmcweb:
    """The stand-in, with either program behind it, and a page as webui-vue's on the outer side of
    the tap."""

    def __init__(self, rig, bmc, image, program):
        self.bmc, self._rig, self._image, self._program = bmc, rig, image, program

    @contextlib.contextmanager
    def drive(self):
        standin = self.bmc.start([str(word) for word in (
            BUILD / "tests/openbmc/bmcweb", "--port", PORT, "--token", TOKEN, "--",
            *self._program)])
        standin.wait_for_output("listening on")
        page = self._rig.programs.start("page", [
            *self.bmc.network.prefix, sys.executable, TOP / "tests/openbmc/webui_vue.py",
            *self.bmc.address(PORT), TOKEN, self._image])
        page.wait_for("negotiated", 60)
        yield self.bmc.wait_for_disk()
        page.stop(2)  # SIGINT: it says goodbye
        standin.wait_for_output('"end"')
        standin.stop()
        self.bmc.wait_clean(30)


class OverTcp:
    """nbd-client and the same gadget without bmcweb, and with nbdkit as the far end."""

    def __init__(self, rig, bmc, image):
        self.bmc, self._rig, self._image = bmc, rig, image

    @contextlib.contextmanager
    def drive(self):
        server = self._rig.programs.start("nbdkit", [
            *self.bmc.network.prefix, "nbdkit", "-f", "-r", "-p", NBD_PORT, "file", self._image])
        gateway = self.bmc.network.gateway
        client = f"nbd-client {gateway} {NBD_PORT} /dev/nbd0 -L"
        # It refuses until nbdkit listens.
        self.bmc.run(f"until {client}; do sleep 0.1; done")
        self.bmc.run(f"{HOOK} start /dev/nbd0")
        yield self.bmc.wait_for_disk()
        self.bmc.run(f"{HOOK} stop /dev/nbd0 && nbd-client -d /dev/nbd0")
        server.stop()
        self.bmc.wait_clean(30)


def rate(way):
    """MB/s of the machine's dd of the whole drive."""
    with way.drive() as drive:
        return dd(way.bmc, drive) / 1e6


def check_fair(peers):
    straight, prior = peers["straight over TCP, 0 ms MB/s"], peers["before, 0 ms MB/s"]
    if not straight >= prior >= PRIOR_LEAST:
        raise NotMeasured(f"nbd-client reads {straight:.1f} MB/s over TCP and {prior:.1f} behind "
                          f"bmcweb; the first has to be the more, and the second {PRIOR_LEAST} at "
                          "least: leave this machine alone and measure again")


def measured(rig, bmc, image, runs, bus, judged):
    """Both side by side on a bus of this speed; whether there are bounds for it."""
    set_bus(bmc, bus)
    ways = {"nbd-proxy": UnderBmcweb(rig, bmc, image, PLATTER),
            "before": UnderBmcweb(rig, bmc, image, PRIOR)}
    straight = OverTcp(rig, bmc, image)
    ratios, peers = {delay: [] for delay in BOUNDS}, Peers()
    for run in range(runs):
        peers.add("straight over TCP, 0 ms MB/s", rate(straight))
        for delay in BOUNDS:
            set_delay(bmc, delay)
            got = {name: rate(way) for name, way in ways.items()}
            set_delay(bmc, 0)
            ratios[delay].append(got["nbd-proxy"] / got["before"])
            for name, value in got.items():
                peers.add(f"{name}, {delay} ms MB/s", value)
            say(f"openbmc, {bus}, run {run + 1}, {delay} ms: nbd-proxy "
                f"{got['nbd-proxy']:.2f} MB/s, before {got['before']:.2f}")
    beside = peers.medians()
    say(f"straight over TCP, 0 ms: {beside['straight over TCP, 0 ms MB/s']:.1f} MB/s")
    check_fair(beside)
    for delay, bound in BOUNDS.items():
        yield Result(f"under bmcweb, {delay} ms, {bus}", "of nbd-client", ratios[delay],
                     at_least=bound if judged else None,
                     peers={name: value for name, value in beside.items()
                            if f" {delay} ms" in name})


def openbmc(runs):
    """The machine's dd through nbd-proxy, over nbd-client's, behind bmcweb at 0, 20 and 100 ms."""
    need("nbd-client", "nbdkit")
    try:
        with Rig() as rig, VirtualBmc(network=TapNetwork(), shares=outside_shares()) as bmc:
            bmc.write_file("/run/nbd-proxy.json", json.dumps(PLATTER_CONFIG))
            image = rig.noise("openbmc.img", IMAGE)
            for bus, judged in BUSES.items():
                yield from measured(rig, bmc, image, runs, bus, judged)
    except LabUnavailable as why:
        raise NotMeasured(str(why)) from why


ROWS = {"openbmc": openbmc}
