# SPDX-License-Identifier: Apache-2.0
"""Media that the lab's tests make themselves."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from pathlib import Path

from .errors import LabUnavailable

_MODULES = (
    "part_msdos part_gpt iso9660 fat search normal echo cat serial terminal hashsum "
    "gcry_sha256 sleep all_video test nativedisk usbms ehci"
)

# It speaks on the serial line, which is the same with every firmware; UEFI's console is there too.
_GRUB = """\
if [ "$grub_platform" = efi ]; then
    terminal_output console
else
    serial --unit=0 --speed=115200
    terminal_output serial console
fi
{first}
echo "lab: GRUB is here"
hashsum --hash sha256 /data
echo "lab: GRUB has read"
sleep 100000
"""


def boot_image(path: Path, first: str = "") -> str:
    """Makes an image that boots as a disk and as a CD, under BIOS and UEFI, into GRUB; GRUB says
    the digest of its file /data on the serial line, between "lab: GRUB is here" and "lab: GRUB has
    read". `first`: what GRUB is told before that. Returns the digest."""
    if not shutil.which("grub-mkrescue"):
        raise LabUnavailable("there is no grub-mkrescue: run `./dev setup`.")
    tree = path.with_suffix(".tree")
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "boot/grub/grub.cfg").write_text(_GRUB.format(first=first))
    data = random.Random(1).randbytes(1 << 20)
    (tree / "data").write_bytes(data)
    command = ["grub-mkrescue", f"--install-modules={_MODULES}", "--locales=", "--fonts="]
    command += ["--themes=", "-o", str(path), str(tree)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise LabUnavailable(f"grub-mkrescue failed: {made.stderr[-400:]}")
    shutil.rmtree(tree)
    return hashlib.sha256(data).hexdigest()
