# SPDX-License-Identifier: Apache-2.0
"""The whole path of the export `kernel`: in the virtual BMC, over a tap device, the machine's own
dd from the USB drive, with `tc netem` putting 100 ms into the line and without.

QEMU emulates both ends, so only the ratio says something; the same gadget on a local file shows
what this emulation can do at all.
"""
import re
import sys

from platterlab.bmc import VirtualBmc
from platterlab.errors import LabUnavailable
from platterlab.net import TapNetwork
from platterlab.platter import Platter, check_built, config_with, outside_shares
from reader import MIB
from result import NotMeasured, Peers, Result
from rig import TOP, Rig, say

IMAGE = 192 * MIB
LOCAL = 96 * MIB  # of the guest's memory
ROUND_TRIP = 100  # ms

LOCAL_GADGET = f"""set -e
modprobe usb_f_mass_storage
dd if=/dev/urandom of=/run/local.img bs=1M count={LOCAL // MIB} status=none
mkdir /sys/kernel/config/usb_gadget/local && cd /sys/kernel/config/usb_gadget/local
echo 0x1d6b >idVendor; echo 0x0104 >idProduct
mkdir strings/0x409 configs/c.1 functions/mass_storage.0
echo 1 >functions/mass_storage.0/lun.0/ro
echo /run/local.img >functions/mass_storage.0/lun.0/file
ln -s functions/mass_storage.0 configs/c.1/
echo dummy_udc.1 >UDC
"""

LOCAL_GADGET_GONE = """set -e
cd /sys/kernel/config/usb_gadget/local
echo "" >UDC
rm configs/c.1/mass_storage.0
rmdir configs/c.1 functions/mass_storage.0 strings/0x409
cd / && rmdir /sys/kernel/config/usb_gadget/local
rm /run/local.img
"""


def dd(bmc, drive):
    """Bytes per second that the machine reads the whole drive with, nothing of it in a cache of the
    kernel's."""
    bmc.run("echo 3 >/proc/sys/vm/drop_caches")
    said = bmc.run(f"dd if={drive} of=/dev/null bs=1M iflag=direct", timeout=600)
    count, seconds = re.search(r"(\d+) bytes.*copied, ([\d.e-]+) s", said.err).groups()
    return int(count) / float(seconds)


def local_once(bmc):
    bmc.run(LOCAL_GADGET)
    try:
        return dd(bmc, bmc.wait_for_disk())
    finally:
        bmc.run(LOCAL_GADGET_GONE)
        bmc.wait_clean()


class FarEndProcess:
    """bench/far_end_main.py on the outer side of the tap, in its namespace."""

    def __init__(self, rig, bmc, host, port):
        self._bmc = bmc
        self.program = rig.programs.start("far-end", [
            *bmc.network.prefix, sys.executable, TOP / "bench/far_end_main.py", host, port, IMAGE])

    def __enter__(self):
        self.program.wait_for("serving", 60)
        return self

    def __exit__(self, *_):
        self.program.stop(2)  # SIGINT: it says goodbye
        self._bmc.wait_clean(30)


def session_once(rig, bmc, delay):
    """One session, from its first byte on, over a line of this round trip."""
    rule = "replace" if delay else "del"
    how = f"netem delay {delay}ms limit 100000" if delay else ""
    bmc.run(f"tc qdisc {rule} dev eth0 root {how}", check=bool(delay))
    with FarEndProcess(rig, bmc, *bmc.address(8080)):
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
