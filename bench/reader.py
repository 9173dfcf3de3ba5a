# SPDX-License-Identifier: Apache-2.0
"""The machine's part: reads from an export, in order or at random, with libnbd."""
import random
import threading
import time

import nbd

KIB = 1024
MIB = 1024 * KIB


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(str(uri))
    return handle


def sequential(uri, start=0, length=None, request=256 * KIB, depth=16, stop=None):
    """Reads in order, `depth` requests at a time, to the end of `length` or until the event `stop`
    is set. The bytes read and the seconds from before the connection to the last byte."""
    begun = time.monotonic()
    handle = connect(uri)
    end = handle.get_size() if length is None else start + length
    state = {"open": 0, "done": 0}
    at = start
    buffers = [nbd.Buffer(request) for _ in range(depth)]

    def ask(buffer, offset, count):
        def complete(error):
            assert error.value == 0, f"a read at {offset} failed with error {error.value}"
            state["open"] -= 1
            state["done"] += count
            buffers.append(buffer)
            return 1
        if count != request:
            buffer = nbd.Buffer(count)
        state["open"] += 1
        handle.aio_pread(buffer, offset, complete)

    while at < end or state["open"]:
        while buffers and at < end and not (stop and stop.is_set()):
            count = min(request, end - at)
            ask(buffers.pop(), at, count)
            at += count
        if stop and stop.is_set() and not state["open"]:
            break
        handle.poll(-1)
    taken = time.monotonic() - begun
    handle.shutdown()
    return state["done"], taken


class Stream:
    """A sequential read in a thread of its own, for as long as the context lasts."""

    def __init__(self, uri, **more):
        self._stop = threading.Event()
        self.bytes, self.seconds, self._error = 0, 0.0, None
        self._thread = threading.Thread(target=self._run, args=(uri, more), daemon=True)

    def _run(self, uri, more):
        try:
            self.bytes, self.seconds = sequential(uri, stop=self._stop, **more)
        except Exception as error:  # it is the context's to raise
            self._error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream's last reads were not answered in 60 s"
        if self._error:
            raise self._error

    @property
    def rate(self):
        """Bytes per second, once it is over."""
        return self.bytes / self.seconds


def jumps(uri, count, start, length, seed, request=4 * KIB):
    """Reads that many times at random, one after the other, never the same 1 MiB twice if there is
    room; the seconds that each took."""
    handle = connect(uri)
    chosen = random.Random(seed)
    places = length // MIB
    where = chosen.sample(range(places), min(count, places))
    times = []
    for place in (where * -(-count // len(where)))[:count]:
        offset = start + place * MIB + chosen.randrange(MIB // request) * request
        begun = time.monotonic()
        handle.pread(request, offset)
        times.append(time.monotonic() - begun)
    handle.shutdown()
    return times
