# SPDX-License-Identifier: Apache-2.0
"""Those who ask and do not read, or do not answer: each harms itself alone."""
import os
import signal
import threading
import time

import nbd

from far_end import FarEnd
from harness import wait_until
from ws_client import Raw, WebSocket, upgrade

IMAGE = os.urandom(8 << 20)


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def ask_and_not_read(handle, count):
    """Sends requests for 1 MiB each, as far as they are taken, and reads no reply."""
    for i in range(count):
        handle.aio_pread(nbd.Buffer(1 << 20), (i % 8) << 20)
    while handle.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
        handle.aio_notify_write()


def test_a_client_that_does_not_read_holds_up_nobody_else(platterd):
    d = platterd()
    with FarEnd(d.port, IMAGE) as page:
        uri = page.wait_state("serving")["uri"]
        lazy = [connect(uri), connect(uri)]
        for handle in lazy:
            ask_and_not_read(handle, 40)
        wait_until(lambda: len(page.requests) >= 8, "their reads have gone out")
        other = connect(uri)
        read = []
        reader = threading.Thread(target=lambda: read.append(other.pread(2 << 20, 0)))
        reader.daemon = True
        reader.start()
        reader.join(20)
        assert read and bytes(read[0]) == IMAGE[:2 << 20]


MIDDLE = 4 << 20  # of the image: nobody looks there but a machine that reads it


class Frozen(FarEnd):
    """A page whose browser answers pings for it, while it answers no more reads."""

    def reply_read(self, cookie, offset, length):
        return b"" if offset >= MIDDLE else super().reply_read(cookie, offset, length)


class Slow(FarEnd):
    """A page on a thin line: a read takes it longer than a dead one is waited for."""

    def reply_read(self, cookie, offset, length):
        reply = super().reply_read(cookie, offset, length)
        if not offset <= MIDDLE < offset + length:
            return reply
        for at in range(0, len(reply), len(reply) // 32):
            self.send(reply[at:at + len(reply) // 32])
            time.sleep(0.9)
        return b""


def read_or_error(uri, length, results):
    try:
        results.append(bytes(connect(uri).pread(length, MIDDLE)))
    except nbd.Error as error:
        results.append(error)


def test_a_frozen_page_is_given_up_and_a_slow_one_is_not(platterd):
    d = platterd(slots=("export = unix\n", "export = unix\n"))
    with Frozen(d.port, IMAGE) as frozen, Slow(d.port, IMAGE, slot=1) as slow:
        results, slow_results = [], []
        readers = [
            threading.Thread(target=read_or_error, daemon=True,
                             args=(page.wait_state("serving")["uri"], 4096, into))
            for page, into in ((frozen, results), (slow, slow_results))]
        for reader in readers:
            reader.start()
        code, reason = frozen.wait_closed(timeout=40)
        assert (code, "25 seconds" in reason) == (4004, True)
        assert d.slot(0)["state"] == "suspended"
        d.end(0)
        for reader in readers:
            reader.join(20)
        assert isinstance(results[0], nbd.Error)
        assert slow_results == [IMAGE[MIDDLE:MIDDLE + 4096]]


def test_a_stop_is_not_put_off(platterd):
    """Connections that are there already become WebSockets one by one while the program stops."""
    d = platterd()
    crowd = [Raw(d.port) for _ in range(30)]
    with WebSocket(d.port) as mute:
        d.program.process.send_signal(signal.SIGTERM)
        mute.read(1)
        for raw in crowd:
            if not d.program.running():
                break
            try:
                raw.send(upgrade(f"127.0.0.1:{d.port}", "/api/slots/0/media?kind=cd&name=x"))
            except OSError:
                pass  # it is dropped already
            time.sleep(0.5)
        assert d.program.wait(0) == 0
        assert "has not ended" not in d.program.text()
    for raw in crowd:
        raw.close()
