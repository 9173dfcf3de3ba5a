#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A far end in a process of its own, for where the device is in another network.

usage: far_end_main.py HOST PORT SIZE SLOT

Says `serving` once the drive is there; SIGINT ends the session.
"""
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/integration"))

from far_end import FarEnd  # noqa: E402


class Noise:
    """An image without holes, and no two mebibytes of it alike."""

    def __init__(self, size):
        self.size = size
        self._bytes = os.urandom(4 << 20)

    def read(self, offset, length):
        start = (offset * 7 // 8) % (2 << 20)
        return self._bytes[start:start + length]


def main():
    host, port, size, slot = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    with FarEnd(int(port), Noise(int(size)), address=host, slot=int(slot)) as page:
        page.wait_state("serving", 60)
        print("serving", flush=True)
        signal.sigwait([signal.SIGINT])


if __name__ == "__main__":
    main()
