# SPDX-License-Identifier: Apache-2.0
"""The whole path of the export `kernel`: in the virtual BMC, over a tap device, the machine's own
dd from the USB drive, with `tc netem` putting 100 ms into the line and without.

QEMU emulates both ends, so only the ratio says something; the same gadget on a local file shows
what this emulation can do at all.
"""
from lab_drive import FarEndProcess, dd, local_once, set_delay
from platterlab.bmc import VirtualBmc
from platterlab.errors import LabUnavailable
from platterlab.net import TapNetwork
from platterlab.platter import Platter, check_built, config_with, outside_shares
from reader import MIB
from result import NotMeasured, Peers, Result
from rig import Rig, say

IMAGE = 192 * MIB
ROUND_TRIP = 100  # ms


def session_once(rig, bmc, delay):
    """One session, from its first byte on, over a line of this round trip."""
    set_delay(bmc, delay)
    with FarEndProcess(rig, bmc, IMAGE):
        return dd(bmc, bmc.wait_for_disk())


def measured(rig, bmc, runs):
    ratios, peers = [], Peers()
    for run in range(runs):
        near = session_once(rig, bmc, 0)
        far = session_once(rig, bmc, ROUND_TRIP)
        local = local_once(bmc)
        ratios.append(far / near)
        for name, value in ((f"at {ROUND_TRIP} ms MB/s", far), ("at 0 ms MB/s", near),
                            ("local file MB/s", local)):
            peers.add(name, value / 1e6)
        say(f"kernel, run {run + 1}: {far / 1e6:.1f} MB/s at {ROUND_TRIP} ms, "
            f"{near / 1e6:.1f} at 0, local file {local / 1e6:.1f}")
    return Result(f"through the kernel, {ROUND_TRIP} ms", "of 0 ms", ratios, at_least=0.90,
                  peers=peers.medians())


def kernel(runs):
    """The machine's dd from the USB drive at 100 ms, over the same at 0 ms, in the lab."""
    try:
        check_built()
        with Rig() as rig, VirtualBmc(network=TapNetwork(), shares=outside_shares()) as bmc:
            platter = Platter(bmc)
            platter.install(config_with("kernel"))
            platter.start()
            yield measured(rig, bmc, runs)
            platter.stop()
    except LabUnavailable as why:
        raise NotMeasured(str(why)) from why


ROWS = {"kernel": kernel}
