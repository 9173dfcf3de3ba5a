# SPDX-License-Identifier: Apache-2.0
"""A machine of its own boots from the drive: firmware of both kinds, a disk and a CD, up to a boot
loader that reads a file off it. `./dev soak` boots more than that: what people really boot."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from platterlab.bmc import VirtualBmc
from platterlab.machine import VirtualMachine
from platterlab.media import boot_image
from platterlab.platter import Platter
from platterlab.returning import Returning

GRUB = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
MEMTEST = Path("/usr/lib/memtest86+/memtest86+x64.iso")
IPXE = Path("/usr/lib/ipxe/ipxe.iso")
INSTALLER = Path("/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A hybrid image, and the digest of the file that its boot loader reads."""
    path = tmp_path_factory.mktemp("media") / "hybrid.iso"
    digest = boot_image(path)
    return path.read_bytes(), digest


@pytest.fixture
def usb_port(bmc: VirtualBmc) -> Iterator[tuple[str, int]]:
    """Where the machine finds the BMC's gadget, to be opened once there is one."""
    bmc.wait_clean()
    yield bmc.address(4000)
    bmc.wait_clean()


class Plugged:
    """A session with this image, and the way of its drive out to a machine."""

    def __init__(self, bmc: VirtualBmc, platter: Platter, image: bytes, kind: str) -> None:
        self._bmc, self._kind = bmc, kind
        self.page = Returning(bmc.address(8080)[1], image, kind=kind)

    def __enter__(self) -> Plugged:
        self.page.__enter__()
        self.page.wait_state("serving")
        self._bmc.wait_for_disk(self._kind)
        redirect = ["usbredirect", "--device", "1d6b:0104", "--as", "0.0.0.0:4000"]
        self._redirect = self._bmc.start(redirect)
        return self

    def __exit__(self, *error: object) -> None:
        self._redirect.stop()
        self.page.__exit__(*error)


@pytest.mark.parametrize("export", ["usb"], indirect=True)
@pytest.mark.parametrize("kind", ["disk", "cd"])
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_boot_loader_reads_its_file(bmc, platter, image, usb_port, firmware, kind) -> None:
    data, digest = image
    with Plugged(bmc, platter, data, kind):
        with VirtualMachine(uefi=firmware == "uefi") as machine:
            machine.start(*usb_port)
            machine.wait_for_serial("lab: GRUB has read", 240)
            assert digest in machine.serial()
        counters = platter.status()["counters"]
        assert counters["errors"] == 0, counters


@pytest.mark.parametrize("export", ["usb"], indirect=True)
@pytest.mark.parametrize("kind", ["disk", pytest.param("cd", marks=pytest.mark.soak)])
def test_a_machine_that_is_reset_at_any_point(bmc, platter, image, usb_port, kind) -> None:
    """In the firmware, in the loader, while it reads; each time it finds its drive and its file."""
    data, digest = image
    with Plugged(bmc, platter, data, kind), VirtualMachine() as machine:
        machine.start(*usb_port)
        machine.wait_for_text("SeaBIOS")
        machine.reset()
        machine.wait_for_serial("lab: GRUB is here")
        machine.reset()
        machine.wait_for_serial("(?s)GRUB is here.*GRUB is here.*GRUB has read")
        machine.reset()
        machine.wait_for_serial("(?s)GRUB has read.*GRUB has read")
        assert machine.serial().count(digest) >= 2
        assert platter.status()["counters"]["errors"] == 0


def installer_image(directory: Path) -> bytes:
    """An ISO with debian-installer's kernel and initrd, as its own boot loader would start them."""
    tree = directory / "tree"
    (tree / "boot/grub").mkdir(parents=True)
    for name in ("linux", "initrd.gz"):
        (tree / name).write_bytes((INSTALLER / name).read_bytes())
    (tree / "boot/grub/grub.cfg").write_text(
        "linux /linux console=ttyS0 DEBIAN_FRONTEND=text priority=high\n"
        "initrd /initrd.gz\nboot\n"
    )
    path = directory / "installer.iso"
    subprocess.run(["grub-mkrescue", "-o", str(path), str(tree)], capture_output=True, check=True)
    return path.read_bytes()


@pytest.mark.soak
@pytest.mark.parametrize("export", ["usb"], indirect=True)
@pytest.mark.parametrize("kind", ["disk", "cd"])
def test_the_installer_shows_its_first_screen(bmc, platter, usb_port, tmp_path, kind) -> None:
    with Plugged(bmc, platter, installer_image(tmp_path), kind):
        with VirtualMachine(memory=1024) as machine:
            machine.start(*usb_port)
            machine.wait_for_serial("Select a language", 900)
        assert platter.status()["counters"]["errors"] == 0


@pytest.mark.soak
@pytest.mark.parametrize("export", ["usb"], indirect=True)
@pytest.mark.parametrize("kind", ["disk", "cd"])
@pytest.mark.parametrize(
    ("path", "word"), [(GRUB, "GNU GRUB"), (IPXE, "iPXE"), (MEMTEST, "Memtest86+")],
    ids=["grub-rescue", "ipxe", "memtest86+"],
)
def test_what_people_boot(bmc, platter, usb_port, path, word, kind) -> None:
    with Plugged(bmc, platter, path.read_bytes(), kind), VirtualMachine() as machine:
        machine.start(*usb_port)
        machine.wait_for_text(word, 240)
        assert platter.status()["counters"]["errors"] == 0
