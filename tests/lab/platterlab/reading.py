# SPDX-License-Identifier: Apache-2.0
"""A machine that reads its drive while things happen to the line, and the verdict on it: whether it
got the right bytes, and whether it noticed anything.

    with Reading(bmc, drive, image, seed) as reading:      reads on and on, in two programs
        line.cut(5)
    # here both have ended, every byte was right, no read failed, and the machine's log is clean
"""

from __future__ import annotations

import hashlib

from .bmc import VirtualBmc
from .build import CHECKOUT

READER = CHECKOUT / "tests/lab/host_reader.py"
# Linux gives a USB drive's command 30 s. A read of more than one command may take longer.
FINISH = 600.0


class Reading:
    """A full sequential read, again and again, with random reads beside it. `may_reset`: the
    machine may reset its drive, which costs it nothing; else it may not say a word."""

    number = 0

    def __init__(
        self, bmc: VirtualBmc, drive: str, image: bytes, seed: int, may_reset: bool = False
    ) -> None:
        Reading.number += 1
        self.bmc, self.drive, self.image = bmc, drive, image
        self.mark = f"reading number {Reading.number}"
        self.stop = f"/tmp/reading-{Reading.number}-is-over"
        self.seed = seed
        self.may_reset = may_reset
        self.passes = 0
        self.scattered = 0
        self.longest = 0.0

    def __enter__(self) -> Reading:
        self.bmc.mark_kernel_log(self.mark)
        python = ["/usr/bin/python3", str(READER), self.drive]
        self.whole = self.bmc.start([*python, "whole", self.stop])
        self.random = self.bmc.start([*python, "scattered", self.stop, str(self.seed)])
        self.random.wait_for_output("(?m)^read")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.bmc.write_file(self.stop, "")
        if kind is None:
            self.check()

    def check(self) -> None:
        """Waits for the end of both, and judges them."""
        digest = hashlib.sha256(self.image).hexdigest()
        failed = []
        for command in (self.whole, self.random):
            result = command.wait(FINISH)
            assert result.status == 0, command.tell()
            for line in result.out.splitlines():
                self._take(line.split(), digest, failed)
        assert not failed, f"{failed[:5]}\n{self._log()}"
        assert self.passes > 0 and self.scattered > 0
        complaints = self.bmc.machine_complaints(self.mark, self.may_reset)
        assert complaints == [], self._log()

    def _take(self, words: list[str], digest: str, failed: list[str]) -> None:
        if words[0] == "whole":
            self.passes += 1
            if words[1] != digest:
                failed.append(f"pass {self.passes} has another checksum")
        elif words[0] == "read":
            self.scattered += 1
            offset, length = int(words[1]), int(words[2])
            if hashlib.sha256(self.image[offset : offset + length]).hexdigest() != words[3]:
                failed.append(f"{length} bytes at {offset} are wrong")
        elif words[0] == "longest":
            self.longest = max(self.longest, float(words[1]))
        else:
            failed.append(" ".join(words))

    def _log(self) -> str:
        return "\n".join(self.bmc.machine_complaints(self.mark)[:40])

    def tell(self) -> str:
        return f"{self.passes} passes, {self.scattered} random reads, longest {self.longest} s"
