# SPDX-License-Identifier: Apache-2.0
"""What the rows in the virtual BMC have in common: the machine's own dd, a local file in a gadget
of the kernel's alone, a far end on the other side of the tap, and a line of some length."""
import re
import sys

from reader import MIB
from rig import TOP

LOCAL = 96 * MIB  # of the guest's memory

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


# The speeds of the bus that the machine has its drives on; what there are bounds for, and what is
# only reported. At high speed the kernel's emulated bus carries 6,656 bytes in 125 microseconds
# (dummy_hcd.c, dummy_timer), which is 53 MB/s and less than the quicker ways can do: what is
# measured there is that bus, and what its interrupts cost an emulated processor.
BUSES = {"SuperSpeed": True, "high speed": False}


def set_bus(bmc, bus):
    """Anew, while no gadget stands on it."""
    bmc.run("modprobe -r dummy_hcd && "
            f"modprobe dummy_hcd num=2 is_super_speed={int(bus == 'SuperSpeed')}")


class FarEndProcess:
    """bench/far_end_main.py on the outer side of the tap, in its namespace."""

    def __init__(self, rig, bmc, size, slot=0):
        self._bmc = bmc
        self.program = rig.programs.start("far-end", [
            *bmc.network.prefix, sys.executable, TOP / "bench/far_end_main.py",
            *bmc.address(8080), size, slot])

    def __enter__(self):
        self.program.wait_for("serving", 60)
        return self

    def __exit__(self, *_):
        self.program.stop(2)  # SIGINT: it says goodbye
        self._bmc.wait_clean(30)


def set_delay(bmc, milliseconds):
    """From now on the line has this round trip."""
    rule = "replace" if milliseconds else "del"
    how = f"netem delay {milliseconds}ms limit 100000" if milliseconds else ""
    bmc.run(f"tc qdisc {rule} dev eth0 root {how}", check=bool(milliseconds))
