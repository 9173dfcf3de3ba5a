# SPDX-License-Identifier: Apache-2.0
"""The export `usb` in the virtual BMC: the machine's own dd, beside the export `kernel` and beside
the kernel's gadget on a local file, which has no nbd and no daemon in its way.

For these three nothing comes from afar: the whole image lies in the slot's cache, or in a tmpfs.
QEMU emulates everything, so only ratios within a run say something.
"""
from lab_drive import BUSES, LOCAL, FarEndProcess, dd, local_once, set_bus, set_delay
from page import Page
from platterlab.bmc import VirtualBmc
from platterlab.errors import LabUnavailable
from platterlab.net import TapNetwork
from platterlab.platter import Platter, check_built, config_with, outside_shares
from reader import MIB
from result import NotMeasured, Peers, Result
from rig import Rig, say

SLOTS = {"usb": 0, "kernel": 1}
IMAGE = 96 * MIB  # through the browser
ROUND_TRIP = 100  # ms


def busy(bmc):
    """CPU seconds that the virtual BMC has worked so far, the machine's side with it."""
    words = bmc.run("grep -m1 ^cpu /proc/stat").out.split()
    return (sum(map(int, words[1:9])) - int(words[4]) - int(words[5])) / 100


class Drive:
    """A drive from the slot's cache alone; how fast it was and what it cost."""

    def __init__(self, rig, bmc, export):
        with FarEndProcess(rig, bmc, LOCAL, SLOTS[export]):
            drive = bmc.wait_for_disk()
            dd(bmc, drive)
            begun = busy(bmc)
            self.rate = dd(bmc, drive)
            self.cost = (busy(bmc) - begun) * (1 << 30) / LOCAL


def from_memory(rig, bmc, runs, bus, judged):
    """Three ways side by side on a bus of this speed; whether there are bounds for it."""
    set_bus(bmc, bus)
    over_kernel, over_local, costs, peers = [], [], [], Peers()
    for run in range(runs):
        usb, kernel = Drive(rig, bmc, "usb"), Drive(rig, bmc, "kernel")
        local = local_once(bmc)
        over_kernel.append(usb.rate / kernel.rate)
        over_local.append(usb.rate / local)
        costs.append(usb.cost)
        for name, value in (("usb MB/s", usb.rate / 1e6), ("kernel MB/s", kernel.rate / 1e6),
                            ("local file MB/s", local / 1e6), ("kernel s/GiB", kernel.cost)):
            peers.add(name, value)
        say(f"usb, {bus}, run {run + 1}: {usb.rate / 1e6:.1f} MB/s, "
            f"kernel {kernel.rate / 1e6:.1f}, local file {local / 1e6:.1f}; "
            f"{usb.cost:.1f} and {kernel.cost:.1f} CPU s/GiB")
    middle = peers.medians()
    cost = {"kernel": middle.pop("kernel s/GiB")}
    name = f"usb, from memory, {bus}"
    yield Result(name, "of kernel", over_kernel, at_least=1.6 if judged else None, peers=middle)
    yield Result(name, "of a local file", over_local, at_least=0.95 if judged else None,
                 peers=middle)
    yield Result(f"usb, CPU of both sides, {bus}", "s/GiB", costs, peers=cost)


def through_browser(bmc, image, delay):
    set_delay(bmc, delay)
    host, port = bmc.address(8080)
    with Page(f"http://{host}:{port}/", image, "disk", prefix=bmc.network.prefix) as page:
        page.wait_for_state("serving")
        rate = dd(bmc, bmc.wait_for_disk())
        page.disconnect()
    bmc.wait_clean(30)
    return rate


def from_afar(rig, bmc, runs):
    ratios, peers = [], Peers()
    image = rig.noise("usb.img", IMAGE)
    for run in range(runs):
        near = through_browser(bmc, image, 0)
        far = through_browser(bmc, image, ROUND_TRIP)
        ratios.append(far / near)
        peers.add(f"at {ROUND_TRIP} ms MB/s", far / 1e6)
        peers.add("at 0 ms MB/s", near / 1e6)
        say(f"usb, browser, run {run + 1}: {far / 1e6:.1f} MB/s at {ROUND_TRIP} ms, "
            f"{near / 1e6:.1f} at 0")
    set_delay(bmc, 0)
    return Result(f"usb, {ROUND_TRIP} ms, from the page", "of 0 ms", ratios, at_least=0.90,
                  peers=peers.medians())


def usb(runs):
    """The machine's dd from the export usb, over kernel, a local file, and itself at 100 ms."""
    cache = f"cache = {LOCAL // MIB + 32}\n"
    try:
        check_built()
        with Rig() as rig, VirtualBmc(network=TapNetwork(), shares=outside_shares()) as bmc:
            platter = Platter(bmc)
            platter.install(config_with("usb") + cache + "[slot 1]\nexport = kernel\n" + cache)
            for bus, judged in BUSES.items():
                platter.start()
                yield from from_memory(rig, bmc, runs, bus, judged)
                platter.stop()
            platter.install(config_with("usb"))
            platter.start()
            yield from_afar(rig, bmc, runs)
            platter.stop()
    except LabUnavailable as why:
        raise NotMeasured(str(why)) from why


ROWS = {"usb": usb}
