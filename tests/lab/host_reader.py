#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The machine's user, reading its drive with O_DIRECT while things happen to it. Runs in the guest.

    host_reader.py DRIVE whole STOP            all of it, in order, until the file STOP exists at
                                               the end of a pass: "whole SHA256" after each
    host_reader.py DRIVE scattered STOP SEED   4 KiB to 256 KiB at random places until STOP exists:
                                               "read OFFSET LENGTH SHA256" after each

Both say "failed OFFSET ERRNO SECONDS" of each read that fails, and go on behind it; and at the end
"longest SECONDS", of one read. What the device's kernel keeps of the drive is dropped on the way,
or else only the first pass would come from afar.
"""

import hashlib
import mmap
import os
import random
import sys
import time

BLOCK = 4096
CHUNK = 1 << 20
READS_KEPT = 16  # before the kernel is asked to forget them


def forget():
    with open("/proc/sys/vm/drop_caches", "w") as caches:
        caches.write("1")


class Drive:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.buffer = mmap.mmap(-1, CHUNK)
        self.longest = 0.0

    def read(self, offset, length):
        """The bytes; none when the machine got an error."""
        began = time.monotonic()
        with memoryview(self.buffer)[:length] as into:
            try:
                count = os.preadv(self.fd, [into], offset)
            except OSError as error:
                print("failed", offset, error.errno, f"{time.monotonic() - began:.1f}", flush=True)
                return b""
            finally:
                self.longest = max(self.longest, time.monotonic() - began)
            return bytes(into[:count])


def read_whole(drive, stop):
    while True:
        forget()
        digest, offset = hashlib.sha256(), 0
        while offset < drive.size:
            data = drive.read(offset, min(CHUNK, drive.size - offset))
            digest.update(data)
            offset += len(data) or CHUNK
        print("whole", digest.hexdigest(), flush=True)
        if os.path.exists(stop):
            return


def read_scattered(drive, stop, seed):
    chance = random.Random(seed)
    count = 0
    while not os.path.exists(stop):
        if count % READS_KEPT == 0:
            forget()
        count += 1
        length = BLOCK << chance.randrange(7)
        offset = chance.randrange((drive.size - length) // BLOCK + 1) * BLOCK
        data = drive.read(offset, length)
        if data:
            print("read", offset, length, hashlib.sha256(data).hexdigest(), flush=True)


def main():
    path, way, stop, *seed = sys.argv[1:]
    with open("/proc/sys/vm/drop_caches", "w") as caches:
        caches.write("4")  # from now on without a line in the kernel's log
    drive = Drive(path)
    if way == "whole":
        read_whole(drive, stop)
    else:
        read_scattered(drive, stop, int(seed[0]))
    print(f"longest {drive.longest:.1f}", flush=True)


main()
