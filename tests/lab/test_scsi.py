# SPDX-License-Identifier: Apache-2.0
"""The drives of the export `usb` as a machine's SCSI layer and independent programs see them: what
they say of themselves, what they refuse, sizes that are large, several at once, and writes."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import scsi_tables
from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.chance import chance
from platterlab.platter import Platter
from platterlab.returning import Connected, Returning
from platterlab.scsi import compare, wait_for_sizes
from platterlab.writing import Paper, Sparse, Writable

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
MIB = 1 << 20
TIB = 1 << 40

THROUGH, BACK, SHELF = 0, 1, 2
CONFIG = """\
[slot 1]
name = Written back
export = usb
write = back
[slot 2]
name = Shelf, above
export = usb
usb_device = shelf
drive = disk
[slot 3]
name = Shelf, middle
export = usb
usb_device = shelf
drive = cd
[slot 4]
name = Shelf, below
export = usb
usb_device = shelf
drive = disk
"""


@pytest.fixture(scope="module")
def platter(bmc: VirtualBmc) -> Iterator[Platter]:
    with platter_parts.running(bmc, platter_parts.config_with("usb") + CONFIG) as programs:
        yield programs


@pytest.fixture(autouse=True)
def _clean(bmc: VirtualBmc, platter: Platter) -> Iterator[None]:
    yield
    for slot in range(5):
        platter.end(slot, force=True)  # a test that failed may have left its session waiting
    bmc.wait_clean(20)


@contextmanager
def session(
    bmc: VirtualBmc,
    image: object,
    far_end: type[Connected] = Connected,
    kind: str = "disk",
    **query: object,
) -> Iterator[str]:
    """A drive of the machine's, which says nothing of it in its log once it knows it."""
    with Returning(bmc.address(8080)[1], image, far_end, kind=kind, **query) as page:
        page.wait_state("serving")
        drive = wait_for_sizes(bmc, [page.ends[0].image.size])[0]
        mark = f"{drive} {time.monotonic()}"
        bmc.run(f"until dd if={drive} of=/dev/null bs=4096 count=1; do sleep 0.1; done")
        bmc.mark_kernel_log(mark)
        yield drive
        assert bmc.machine_complaints(mark) == []
        page.disconnect()


def agree(bmc: VirtualBmc, drive: str, table: list[scsi_tables.Row], **facts: object) -> None:
    wrong = compare(bmc, drive, table, **facts)
    assert not wrong, "\n".join(wrong)


def test_programs_agree_about_a_disk(bmc: VirtualBmc, platter: Platter) -> None:
    image = Paper(chance("disk").randbytes(16 * MIB))
    with session(bmc, image, Writable) as drive:
        agree(bmc, drive, scsi_tables.DISK)
        assert bytes(image.content[64 * 512 : 192 * 512]) == bytes(128 * 512)


def test_programs_agree_about_a_disk_that_is_read_only(bmc: VirtualBmc, platter: Platter) -> None:
    with session(bmc, bytes(MIB)) as drive:
        agree(bmc, drive, scsi_tables.READ_ONLY)


def test_programs_agree_about_a_cd(bmc: VirtualBmc, platter: Platter) -> None:
    sectors = ISO.stat().st_size // 2048
    # The lead-out begins after the last sector; the first one is at 00:02:00.
    seconds, frames = divmod(sectors + 150, 75)
    lead_out = f"{seconds // 60:02}:{seconds % 60:02}:{frames:02}"
    with session(bmc, ISO.read_bytes(), kind="cd") as drive:
        agree(bmc, drive, scsi_tables.CD, blocks=sectors, lead_out=lead_out)


def test_a_disk_of_3_tib(bmc: VirtualBmc, platter: Platter) -> None:
    """32 bits of blocks are not enough for its end."""
    size = 3 * TIB
    draw = chance("3 TiB")
    places = (0, 2 * TIB - 65536, 2 * TIB, size - 65536)
    marks = {at: draw.randbytes(65536) for at in places}
    with session(bmc, Sparse(size, marks)) as drive:
        assert int(bmc.run(["blockdev", "--getsize64", drive]).out) == size
        said = bmc.run(["sg_readcap", drive]).out
        assert f"Last LBA={size // 512 - 1} " in said, said
        for at, data in marks.items():
            assert bmc.read_at(drive, at, len(data)) == data, f"at {at}"
        assert bmc.read_at(drive, 2 * TIB + 65536, 4096) == bytes(4096)


def test_drives_of_both_kinds_on_one_usb_device(bmc: VirtualBmc, platter: Platter) -> None:
    draw = chance("shelf")
    images = [draw.randbytes(size * MIB) for size in (5, 6, 7)]
    kinds = ["disk", "cd", "disk"]
    sums = [hashlib.sha256(image).hexdigest() for image in images]
    with ExitStack() as stack:
        pages = []
        for number, (image, kind) in enumerate(zip(images, kinds)):
            page = Returning(bmc.address(8080)[1], image, slot=SHELF + number, kind=kind)
            pages.append(stack.enter_context(page))
            page.wait_state("serving")
        drives = wait_for_sizes(bmc, [len(image) for image in images])
        assert [drive[5:7] for drive in drives] == ["sd", "sr", "sd"]
        devices = usb_devices(bmc)
        assert len(devices) == 1
        bmc.mark_kernel_log("the shelf is full")
        readers = [bmc.start(f"for n in 1 2 3; do {SUM.format(drive)}; done") for drive in drives]
        for reader, digest in zip(readers, sums):
            assert reader.wait(120).out.split()[::2] == [digest] * 3
        # One leaves and comes back with another medium, and the others do not notice.
        others = [bmc.start(SUM.format(drive)) for drive in drives[1:]]
        pages[0].disconnect()
        for reader, digest in zip(others, sums[1:]):
            assert reader.wait(120).out.split()[0] == digest
        assert bmc.machine_complaints("the shelf is full") == []
        fresh = draw.randbytes(4 * MIB)
        page = stack.enter_context(Returning(bmc.address(8080)[1], fresh, slot=SHELF, kind="disk"))
        page.wait_state("serving")
        assert wait_for_sizes(bmc, [len(fresh)]) == [drives[0]]
        assert bmc.sha256(drives[0]) == hashlib.sha256(fresh).hexdigest()
        assert usb_devices(bmc) == devices
        for each in (*pages[1:], page):
            each.disconnect()


SUM = "dd if={} bs=64k iflag=direct status=none | sha256sum"


def usb_devices(bmc: VirtualBmc) -> list[str]:
    """The machine's USB devices that are ours: bus, and number on it."""
    script = """for d in /sys/bus/usb/devices/*; do
        [ "$(cat "$d/idProduct" 2>&1)" = 0104 ] && cat "$d/busnum" "$d/devnum" | xargs
        done 2>/dev/null; true"""
    return bmc.run(script).out.splitlines()


class Slow(Writable):
    """Takes its time for every change."""

    slowness = 0.3


def test_a_write_through_is_over_when_the_far_end_has_it(
    bmc: VirtualBmc, platter: Platter
) -> None:
    image = Paper(bytes(8 * MIB))
    data = chance("through").randbytes(4096)
    with session(bmc, image, Slow) as drive:
        assert "WCE           0" in bmc.run(["sdparm", "--get=WCE", drive], check=False).out
        bmc.write_file("/tmp/data", data)
        for at in range(4):
            begun = time.monotonic()
            bmc.run(f"dd if=/tmp/data of={drive} bs=4096 seek={at} oflag=direct status=none")
            assert image.content[at * 4096 : (at + 1) * 4096] == data
            assert time.monotonic() - begun >= Slow.slowness


@pytest.mark.parametrize("slot", [THROUGH, BACK], ids=["through", "back"])
def test_a_file_system_is_made_and_filled(
    bmc: VirtualBmc, platter: Platter, tmp_path: Path, slot: int
) -> None:
    """By the machine's own kernel; what the far end holds then is read by another program."""
    image = Paper(bytes(12 * MIB))
    data = chance(f"file {slot}").randbytes(MIB)
    bmc.write_file("/tmp/file", data)
    with session(bmc, image, Writable, slot=slot) as drive:
        cached = bmc.run(f"cat /sys/block/{drive[5:]}/queue/write_cache").out.strip()
        assert cached == ("write back" if slot == BACK else "write through")
        bmc.run(f"""set -e
            mkfs.vfat {drive} >/dev/null && mount -t vfat {drive} /mnt
            cp /tmp/file /mnt/first && sync /mnt/first""")
        # What is synchronized is at the far end, and told to be kept, before it is unmounted.
        assert image.events[-1] in ("flush", "write fua") or slot == THROUGH
        (tmp_path / "image").write_bytes(bytes(image.content))
        assert from_image(tmp_path / "image", "first") == data
        bmc.run("""set -e
            for n in 1 2 3 4 5 6 7 8; do head -c 50000 /tmp/file >/mnt/$n; done
            rm /mnt/3 /mnt/5; umount /mnt""")
        assert bmc.sha256(drive) == hashlib.sha256(image.content).hexdigest()
    (tmp_path / "image").write_bytes(bytes(image.content))
    for name in ("1", "8"):
        assert from_image(tmp_path / "image", name) == data[:50000]
    assert from_image(tmp_path / "image", "first") == data


def from_image(image: Path, name: str) -> bytes:
    """A file of a FAT image, as mtools reads it."""
    return subprocess.run(
        ["mcopy", "-i", str(image), f"::{name}", "-"], capture_output=True, check=True
    ).stdout
