# SPDX-License-Identifier: Apache-2.0
"""Does the device fetch more than the machine wants? Bytes fetched, what the warm-up fetched apart,
over the bytes that the machine read: in order, and when a machine boots.
"""
import re
import shutil
import subprocess
from pathlib import Path

import reader
from platterlab.build import BUSYBOX, boot_files
from platterlab.errors import LabUnavailable
from reader import KIB, MIB
from result import NotMeasured, Peers, Result
from rig import Rig, need, say, wait_until

ROUND_TRIP = 0.02
SEQUENTIAL = 64 * MIB
INITRD_PADDING = 32 * MIB  # as large as an installer's
NEVER_READ = 96 * MIB      # the rest of the disc
BOOTED = "platter: the machine is up"

INIT = f"""#!/bin/busybox sh
/bin/busybox echo "{BOOTED}"
/bin/busybox poweroff -f
"""

GRUB = """set timeout=0
menuentry "Start" {
    linux /boot/vmlinuz console=ttyS0 quiet
    initrd /boot/initrd
}
"""

READ = re.compile(r" Read id=\d+ offset=0x([0-9a-f]+) count=0x([0-9a-f]+) ")


def surplus(counters, wanted):
    return (counters["bytes_fetched"] - counters["bytes_warmed"]) / wanted


def sequential_once(rig_file, **reading):
    with Rig() as rig:
        far = rig.nbdkit("-r", "pattern", str(rig_file))
        _, socket = rig.line(far.socket, ROUND_TRIP / 2)
        relay = rig.relay(socket)
        done, _ = reader.sequential(relay.uri, **reading)
        told = relay.counters()
        relay.stop()
        return surplus(told, done)


def overfetch(runs):
    """Bytes fetched over bytes read, in order: whole, and half of it."""
    ways = {"in order": {"request": 128 * KIB, "depth": 1},
            "in order, 16 at a time": {"request": 256 * KIB, "depth": 16},
            # What is fetched ahead of a reader who then stops is lost.
            "in order, the first half of it": {"request": 32 * KIB, "depth": 1,
                                               "length": SEQUENTIAL // 2}}
    for name, reading in ways.items():
        values = [sequential_once(SEQUENTIAL, **reading) for _ in range(runs)]
        say(f"overfetch {name}: {values}")
        yield Result(f"overfetch, {name}", "of bytes read", values, at_most=1.1)


def make_initrd(work, noise):
    """A kernel's first program that says it has come so far, and what an installer would bring."""
    root = work / "initrd"
    (root / "bin").mkdir(parents=True)
    (root / "dev").mkdir()
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    shutil.copy2(noise, root / "installer")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (work / "initrd.img").open("wb") as out:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, check=True, stdout=out,
                       input=names.encode() + b"\n")
    return work / "initrd.img"


def make_image(rig):
    """A hybrid image as distributions make them: GRUB, a kernel, a large initrd, and more."""
    need("grub-mkrescue", "xorriso", "cpio", "qemu-system-x86_64")
    if not Path("/usr/lib/grub/i386-pc").is_dir():
        raise NotMeasured("GRUB's files for PCs are missing: run ./dev setup bench")
    try:
        kernel = boot_files().kernel
    except LabUnavailable as why:
        raise NotMeasured(str(why)) from why
    tree = rig.workdir / "tree"
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "live").mkdir()
    shutil.copy2(kernel, tree / "boot/vmlinuz")
    shutil.copy2(make_initrd(rig.workdir, rig.noise("padding", INITRD_PADDING)),
                 tree / "boot/initrd")
    rig.noise("rest", NEVER_READ).rename(tree / "live/filesystem.squashfs")
    (tree / "boot/grub/grub.cfg").write_text(GRUB)
    image = rig.workdir / "boot.img"
    subprocess.run(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", image, tree], check=True,
                   timeout=120, capture_output=True)
    return image


def read_once(log):
    """How many bytes of the medium a log of nbdkit's tells of, each counted once."""
    runs = sorted((int(at, 16), int(at, 16) + int(count, 16))
                  for at, count in READ.findall(log.read_text()))
    total = end = 0
    for start, stop in runs:
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def boot_once(rig, image):
    """The engine's counters after a machine has booted, and how many bytes it read."""
    far = rig.nbdkit("-r", "file", str(image))
    _, socket = rig.line(far.socket, ROUND_TRIP / 2)
    relay = rig.relay(socket)
    log = rig.path("reads")
    watched = rig.nbdkit("-r", "--filter=log", "nbd", f"socket={relay.socket}", f"logfile={log}")
    console = rig.path("console")
    console.touch()
    machine = rig.programs.start("qemu", [
        "qemu-system-x86_64", "-accel", "tcg", "-M", "pc", "-m", "512", "-display", "none",
        "-no-reboot", "-serial", f"file:{console}", "-net", "none",
        "-drive", f"if=none,id=image,format=raw,readonly=on,file={watched.uri}",
        "-device", "qemu-xhci", "-device", "usb-storage,drive=image,bootindex=0"])
    wait_until(lambda: BOOTED in console.read_text(errors="replace") or not machine.running(),
               "the machine boots", 300)
    machine.wait(60)
    assert BOOTED in console.read_text(errors="replace"), \
        f"the machine did not boot:\n{console.read_text(errors='replace')}\n{machine.text()}"
    watched.stop()
    told = relay.counters()
    relay.stop()
    return told, read_once(log)


def boot(runs):
    """Bytes fetched over bytes read when a machine boots from an image of more than 40 MB."""
    values, peers = [], Peers()
    with Rig() as rig:
        image = make_image(rig)
        for run in range(runs):
            told, wanted = boot_once(rig, image)
            values.append(surplus(told, wanted))
            peers.add("image MB", image.stat().st_size / 1e6)
            peers.add("read MB", wanted / 1e6)
            peers.add("read again MB", (told["bytes_read"] - wanted) / 1e6)
            peers.add("warmed MB", told["bytes_warmed"] / 1e6)
            say(f"boot, run {run + 1}: {values[-1]:.3f} of {wanted / 1e6:.1f} MB read; "
                f"{told['bytes_warmed'] / 1e6:.1f} MB were warmed")
    yield Result("overfetch, boot", "of bytes read", values, at_most=1.6, peers=peers.medians())


ROWS = {"overfetch": overfetch, "boot": boot}
