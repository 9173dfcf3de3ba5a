# SPDX-License-Identifier: Apache-2.0
"""A machine's SCSI devices, and programs that judge them."""

from __future__ import annotations

import re

from .bmc import VirtualBmc


def sg_of(bmc: VirtualBmc, drive: str) -> str:
    """The generic device of "/dev/sda": "/dev/sg0"."""
    found = bmc.run(f"ls /sys/block/{drive[5:]}/device/scsi_generic").out
    return f"/dev/{found.strip()}"


def wait_for_sizes(bmc: VirtualBmc, sizes: list[int], timeout: float = 30) -> list[str]:
    """The machine's drives whose media have these sizes in bytes, which differ from each other.
    Nobody polls for media here: they are looked for by opening the drives."""
    names = []
    for size in sizes:
        script = f"""
            while :; do
                for d in /sys/block/s[dr]*; do
                    (: <"/dev/${{d##*/}}")
                    [ "$(cat "$d/size" 2>&1)" = {size // 512} ] && echo "/dev/${{d##*/}}" && exit
                done 2>/dev/null
                sleep 0.1
            done"""
        names.append(bmc.run(script, timeout).out.strip())
    return names


def compare(bmc: VirtualBmc, drive: str, rows, **facts: object) -> list[str]:
    """Runs the rows of a table (scsi_tables.py) and returns what is not as they say."""
    wrong = []
    sg = sg_of(bmc, drive)
    for command, status, patterns in rows:
        said = bmc.run(command.replace("{sg}", sg).replace("{drive}", drive), check=False)
        out = said.out + said.err
        if said.status != status:
            wrong.append(f"{command}: status {said.status}, not {status}:\n{out}")
            continue
        for pattern in patterns:
            for name, value in facts.items():
                pattern = pattern.replace(f"{{{name}}}", str(value))
            found = re.search(pattern.removeprefix("!"), out, re.MULTILINE)
            if bool(found) == pattern.startswith("!"):
                wrong.append(f"{command}: not as {pattern!r} says:\n{out}")
    return wrong
