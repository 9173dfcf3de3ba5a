# SPDX-License-Identifier: Apache-2.0
"""nbd-proxy as OpenBMC's web server runs it, on a real kernel: whole images by both exports, the
hook, two at once, and its end within a second whatever waits. PLATTER_LONG=1 ends it 50 times."""

from __future__ import annotations

import pytest

from platterlab.bmc import VirtualBmc
from platterlab.chance import LONG, chance
from platterlab.helper import ISO
from platterlab.platter import EXPORTS
from platterlab.proxy import ETC, Proxy, configure, install_proxy

ENDS = 50 if LONG else 3
# Milliseconds that whoever started it waits, blocking.
SECOND = 1000
LOG = "/tmp/hook-log"
# What such hooks do: a gadget on the nbd device, on whatever controller there is.
HOOK = f"""echo "$@" >>{LOG}
cd /sys/kernel/config/usb_gadget || exit 1
case $1 in
start)
    modprobe -a libcomposite usb_f_mass_storage
    mkdir -p hook/strings/0x409 hook/configs/c.1 hook/functions/mass_storage.0 && cd hook || exit 1
    echo 0x1d6b >idVendor && echo 0x0104 >idProduct
    echo 1 >functions/mass_storage.0/lun.0/ro && echo 1 >functions/mass_storage.0/lun.0/removable
    echo "/dev/nbd$2" >functions/mass_storage.0/lun.0/file || exit 1
    ln -s functions/mass_storage.0 configs/c.1
    ls /sys/class/udc | head -n 1 >UDC ;;
stop)
    cd hook || exit 1
    echo >UDC
    rm configs/c.1/mass_storage.0
    rmdir functions/mass_storage.0 configs/c.1 strings/0x409
    cd .. && rmdir hook ;;
esac"""


@pytest.fixture(scope="module", autouse=True)
def digest(bmc: VirtualBmc) -> str:
    """Installs it; the image's digest."""
    install_proxy(bmc)
    return bmc.run(["sha256sum", str(ISO)]).out.split()[0]


@pytest.mark.parametrize("export", EXPORTS)
def test_the_whole_image(bmc, digest, export):
    configure(bmc, export=export)
    proxy = Proxy(bmc, ISO)
    drive = proxy.drive()
    assert bmc.sha256(drive) == digest
    assert bmc.run(f"cat /sys/block/{drive[5:]}/ro /sys/block/{drive[5:]}/removable").out.split() \
        == ["1", "1"]
    usb = bmc.run("cat /sys/bus/usb/devices/*/idVendor /sys/bus/usb/devices/*/idProduct").out
    assert "0104" in usb.split()
    code, _ = proxy.end()
    assert code == 0
    bmc.wait_clean()


@pytest.mark.parametrize("export", EXPORTS)
def test_it_ends_within_a_second_whatever_waits(bmc, export):
    moments = chance(f"nbd-proxy ends, {export}")
    configure(bmc, export=export)
    took = []
    for number in range(ENDS):
        proxy = Proxy(bmc, ISO)
        drive = proxy.drive()
        proxy.mute()
        # Where nobody has read yet: neither the machine's cache nor the drive's has it.
        skip = moments.randrange(30, 70)
        reader = bmc.start(f"dd if={drive} of=/dev/null bs=64k skip={skip} iflag=direct")
        proxy.wait("held")
        how = ("term", "eof", "epipe")[number % 3]
        code, milliseconds = proxy.end(how)
        assert code == 0, proxy.log
        took.append(milliseconds)
        bmc.wait_clean()
        assert reader.wait(30).status != 0
    print(f"{export}: ended after {min(took)} to {max(took)} ms")
    assert max(took) < SECOND, took


def test_the_hook(bmc, digest):
    configure(bmc, hook=HOOK)
    bmc.run(f"rm -f {LOG}")
    proxy = Proxy(bmc, ISO)
    assert bmc.sha256(proxy.drive()) == digest
    assert bmc.run(f"cat {LOG}").out == "start 0\n"
    assert bmc.run("ls /sys/kernel/config/usb_gadget").out.split() == ["hook"]
    proxy.mute()
    reader = bmc.start(f"dd if={proxy.drive()} of=/dev/null bs=64k skip=50 iflag=direct")
    code, milliseconds = proxy.end()
    assert (code, milliseconds < SECOND) == (0, True), proxy.log
    reader.wait(30)
    assert bmc.run(f"cat {LOG}").out == "start 0\nstop 0\n"
    bmc.wait_clean()


@pytest.mark.parametrize(
    "hook, words", [("exit 3", "it ended with 3"), ("[ $1 = stop ] || sleep 1000", "told to stop")]
)
def test_a_hook_that_fails_or_hangs(bmc, hook, words):
    configure(bmc, hook=hook)
    proxy = Proxy(bmc, ISO)
    if "sleep" in hook:
        bmc.run("until pgrep -f '^sleep 1000'; do sleep 0.1; done")
        code, milliseconds = proxy.end()
        assert (code, milliseconds < SECOND) == (0, True), proxy.log
    else:
        assert proxy.wait_ended() == 1
    assert words in proxy.log
    assert bmc.run("pgrep -f '^sleep 1000'", check=False).status == 1
    bmc.wait_clean()


def test_two_side_by_side_and_none_twice(bmc, digest):
    configure(bmc)
    first, second = Proxy(bmc, ISO, "0"), Proxy(bmc, ISO, "1")
    second.drive(2)
    again = Proxy(bmc, ISO, "0")
    assert again.wait_ended() == 1
    assert "Another nbd-proxy serves this configuration" in again.log
    drives = bmc.run("cd /sys/block && ls -d sd*").out.split()
    assert [bmc.sha256(f"/dev/{drive}") for drive in drives] == [digest, digest]
    assert first.end()[0] == 0
    assert second.end()[0] == 0
    bmc.wait_clean()


def test_what_the_machine_lacks(bmc):
    configure(bmc, gadget={"udc": "nowhere.0"})
    proxy = Proxy(bmc, ISO)
    assert proxy.wait_ended() == 1
    assert "no USB device controller nowhere.0" in proxy.log
    bmc.wait_clean()
    # A device that another program has.
    configure(bmc, export="kernel")
    nbdkit = bmc.start("nbdkit -f -U /tmp/other.sock memory 1M")
    bmc.run("modprobe nbd max_part=0; until [ -S /tmp/other.sock ]; do sleep 0.1; done; "
            "nbd-client -unix /tmp/other.sock /dev/nbd0")
    proxy = Proxy(bmc, ISO)
    assert proxy.wait_ended() == 1
    assert "nbd0 is in use by another program" in proxy.log
    bmc.run("nbd-client -d /dev/nbd0")
    nbdkit.stop()
    bmc.wait_clean()


def test_killed(bmc):
    configure(bmc)
    proxy = Proxy(bmc, ISO)
    proxy.drive()
    bmc.run(f"kill -9 {proxy.wait('ready .*').split()[1]}")
    assert proxy.wait_ended() == -9
    bmc.wait_clean()


def test_its_words_are_in_the_system_log(bmc):
    """Where its web server sends stderr nowhere, that is all there is to read."""
    log = bmc.start(["/usr/bin/python3", "-c", """
import os, socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
os.path.exists("/dev/log") and os.unlink("/dev/log")
log.bind("/dev/log")
print("bound", flush=True)
while True:
    print(log.recv(4096).decode(), flush=True)"""])
    log.wait_for_output("bound")
    bmc.write_file(f"{ETC}/config.json", '{\n"configurations": }')
    assert bmc.run("nbd-proxy 0 2>/dev/null", check=False).status == 1
    log.wait_for_output(r"<27>.*nbd-proxy\[\d+\]: /etc/nbd-proxy/config.json:2:\d+: this is not")
    configure(bmc, gadget={"udc": "nowhere.0"})
    assert Proxy(bmc, ISO).wait_ended() == 1
    log.wait_for_output(r"<27>.*platter-helper\[\d+\]: slot 15: attach failed: There is no USB")
    log.stop()
    bmc.run("rm /dev/log")
    bmc.wait_clean()
