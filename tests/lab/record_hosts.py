#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Records what real hosts ask their USB drive, for the unit tests that ask it again.

    PLATTER_BUILD=build tests/lab/record_hosts.py DIRECTORY [NAME...]

writes NAME.txt of every host, or of those named. The drive is Platter's in the virtual BMC; the
hosts are that BMC's own Linux, and a virtual machine with SeaBIOS or UEFI that boots a small image
into GRUB. bot_recorder.py listens meanwhile.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.build import CHECKOUT
from platterlab.machine import VirtualMachine
from platterlab.media import boot_image
from platterlab.platter import Platter
from platterlab.returning import Returning

Host = Callable[[VirtualBmc, Platter, Path, str, str], list[str]]

RECORDER = CHECKOUT / "tests/lab/bot_recorder.py"
HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# {what}
# Recorded by tests/lab/record_hosts.py. One command a line: the command block, the direction and
# the length that the host announced; its name and how the drive of the recording answered.
"""


@contextmanager
def recording(bmc: VirtualBmc, into: list[str]) -> Iterator[None]:
    recorder = bmc.start(["/usr/bin/python3", str(RECORDER)])
    recorder.wait_for_output("recording")
    yield
    result = recorder.stop()
    assert result.status == 0, f"not all was seen: {recorder.tell()}"
    into += result.out.splitlines()


def kind_of(line: str) -> tuple[str, ...]:
    """Equal for lines that differ in nothing but where they read."""
    command, _, told = line.partition("  # ")
    return (command[:2], *command.split()[1:], told)


def folded(lines: list[str]) -> Iterator[str]:
    """A sequence of up to four commands that comes again and again: its first and its last time."""
    kinds = [kind_of(line) for line in lines]
    at = 0
    while at < len(lines):
        for period in range(1, 5):
            times = 1
            while kinds[at : at + period] == kinds[at + times * period : at + (times + 1) * period]:
                times += 1
            if times > 3:
                end = at + times * period
                yield from lines[at : at + period]
                yield f"# the last {period} {times - 2} times more, at other places"
                yield from lines[end - period : end]
                at = end
                break
        else:
            yield lines[at]
            at += 1


@contextmanager
def plugged(bmc: VirtualBmc, platter: Platter, image: Path, kind: str) -> Iterator[str]:
    """The image as the BMC's drive; gives its name."""
    with Returning(bmc.address(8080)[1], image.read_bytes(), kind=kind) as page:
        page.wait_state("serving")
        yield bmc.wait_for_disk(kind)
        if platter.status()["state"] == "serving":  # it has not been ejected
            page.disconnect()
    bmc.wait_clean()


def linux(bmc: VirtualBmc, platter: Platter, image: Path, kind: str, digest: str) -> list[str]:
    """Finds it, mounts it, reads a file, reads on raw, and gives it back."""
    lines: list[str] = []
    with recording(bmc, lines), plugged(bmc, platter, image, kind) as drive:
        bmc.run(f"mount -t iso9660 -o ro {drive} /mnt")
        assert digest in bmc.run("sha256sum /mnt/data").out
        bmc.run(f"umount /mnt; dd if={drive} of=/dev/null bs=1M count=4 iflag=direct")
        bmc.run(["blkid", "-p", drive])
        bmc.run(["eject", drive])
    return lines


def booted(uefi: bool = False, controller: str = "qemu-xhci") -> Host:
    """A machine that boots from it as far as GRUB's having read a file."""

    def host(bmc: VirtualBmc, platter: Platter, image: Path, kind: str, digest: str) -> list[str]:
        lines: list[str] = []
        with plugged(bmc, platter, image, kind) as drive, VirtualMachine(uefi=uefi) as machine:
            redirect = bmc.start(["usbredirect", "--device", "1d6b:0104", "--as", "0.0.0.0:4000"])
            bmc.run(f"while [ -e /sys/block/{drive[5:]} ]; do sleep 0.1; done")
            with recording(bmc, lines):
                machine.start(*bmc.address(4000), controller=controller)
                said = machine.wait_for_serial(r"GRUB is here\s+([0-9a-f]{64})[^\0]*GRUB has read")
                assert said[1] == digest, said
            machine.close()
            redirect.stop()
        return lines

    return host


@dataclass(frozen=True)
class Recorded:
    what: str
    host: Host
    first: str = ""  # what GRUB is told before it reads


BOOTS = "boots into GRUB, which reads a file of 1 MiB."
HOSTS = {
    "linux": Recorded(
        "Linux {release}: it finds the drive, mounts it, reads a file of 1 MiB and 4 MiB raw,\n"
        "# looks for file systems, and ejects.",
        linux,
    ),
    "seabios": Recorded(f"SeaBIOS (xHCI) {BOOTS}", booted()),
    "ovmf": Recorded(f"EDK2's UEFI firmware for QEMU, OVMF (xHCI), {BOOTS}", booted(uefi=True)),
    "grub": Recorded(
        f"SeaBIOS (EHCI) {BOOTS}\n# GRUB reads with its own driver for USB drives.",
        booted(controller="usb-ehci"),
        "nativedisk usbms ehci",
    ),
}


def main() -> None:
    target = Path(sys.argv[1])
    wanted = sys.argv[2:] or [f"{host}-{kind}" for host in HOSTS for kind in ("disk", "cd")]
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, VirtualBmc(platter_parts.outside_shares()) as bmc:
        platter = Platter(bmc)
        platter.install()
        platter.start()
        release = bmc.run(["uname", "-r"]).out.strip()
        for name in wanted:
            host, kind = name.split("-")
            recorded = HOSTS[host]
            image = Path(made) / f"{name}.iso"
            digest = boot_image(image, recorded.first)
            lines = recorded.host(bmc, platter, image, kind, digest)
            header = HEADER.format(what=recorded.what.format(release=release))
            (target / f"{name}.txt").write_text(header + "\n".join(folded(lines)) + "\n")
            print(f"{name}: {len(lines)} lines", flush=True)


if __name__ == "__main__":
    main()
