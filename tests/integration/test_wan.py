# SPDX-License-Identifier: Apache-2.0
"""bench/wan does what it says: delay, rate, order, stalls, cuts and ends, between two sockets of
this test. Times have lower bounds alone: how fast this machine is proves nothing about the line."""
import hashlib
import os
import random
import socket
import threading
import time

import pytest

from wan import Wan


class Target:
    """Who listens at the end of the line; takes one connection after the other."""

    def __init__(self, workdir, family):
        self.socket = socket.socket(family)
        self.socket.bind(str(workdir / "target") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        self.socket.listen()
        self.socket.settimeout(20)
        name = self.socket.getsockname()
        self.address = f"unix:{name}" if isinstance(name, str) else "{}:{}".format(*name)

    def accept(self):
        taken = self.socket.accept()[0]
        taken.settimeout(20)
        return taken


@pytest.fixture(params=["tcp", "unix"])
def family(request):
    return socket.AF_INET if request.param == "tcp" else socket.AF_UNIX


@pytest.fixture
def target(workdir, family):
    made = Target(workdir, family)
    yield made
    made.socket.close()


@pytest.fixture
def line(build, workdir, target, family):
    """A function that starts a line to the target."""
    started = []

    def start(**more):
        at = f"unix:{workdir}/line" if family == socket.AF_UNIX else "127.0.0.1:0"
        wan = Wan(build, target.address, at, **more)
        wan.__enter__()
        started.append(wan)
        return wan
    yield start
    for wan in started:
        wan.__exit__()


def connect(wan):
    kind, _, rest = wan.address.partition(":")
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(rest)
    else:
        made = socket.create_connection((kind, int(rest)))
    made.settimeout(20)
    return made


def pair(wan, target):
    """The two ends of a connection over the line."""
    return connect(wan), target.accept()


def receive(end, count):
    taken = b""
    while len(taken) < count:
        got = end.recv(count - len(taken))
        assert got, f"the connection ended after {len(taken)} of {count} bytes"
        taken += got
    return taken


def send_all(end, data):
    thread = threading.Thread(target=end.sendall, args=(data,), daemon=True)
    thread.start()
    return thread


def timed(action):
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def test_delay_each_way(line, target):
    wan = line(delay=0.06)
    near, far = pair(wan, target)
    for one, other in ((near, far), (far, near)):
        one.sendall(b"x")
        assert timed(lambda: receive(other, 1)) >= 0.055
    wan.set_delay(0.11)
    near.sendall(b"y")
    assert timed(lambda: receive(far, 1)) >= 0.105


def test_rate_of_all_connections_together(line, target):
    wan = line(rate=8e6)  # a megabyte a second
    ends = [pair(wan, target) for _ in range(2)]
    data = random.Random(1).randbytes(200_000)
    begun = time.monotonic()
    for near, _ in ends:
        send_all(near, data)
    for _, far in ends:
        assert receive(far, len(data)) == data
    assert time.monotonic() - begun >= 0.4 * 0.97
    assert wan.passed() == {"connections": 2, "up": 400_000, "down": 0}
    wan.set_rate(0)
    for near, far in ends:
        send_all(far, data)
        assert receive(near, len(data)) == data


def test_a_full_line_holds_its_sender_back(line, target):
    """What is on its way is bounded: by the line's own measure, and the two sockets' buffers."""
    wan = line(rate=80e6, delay=0.05)  # 1 MB is a round trip's worth
    near, far = pair(wan, target)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    wan.stall(3600)
    near.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 40_000_000:
            sent += near.send(b"x" * 65536)
    wan.stall(0)
    near.settimeout(20)
    assert sent < 1_000_000  # the sockets' buffers alone: a line that stands still takes nothing
    send_all(near, bytes(4_000_000))
    receive(far, sent + 4_000_000)


def test_every_byte_in_order(line, target):
    """Through changes of delay and rate and through stalls, both ways at once."""
    wan = line(rate=200e6, delay=0.005)
    near, far = pair(wan, target)
    data = os.urandom(6_000_000)
    senders = [send_all(near, data), send_all(far, data[::-1])]
    got = {}

    def take(end, name, count):
        got[name] = hashlib.sha256(receive(end, count)).digest()
    takers = [threading.Thread(target=take, args=(end, name, len(data)))
              for end, name in ((near, "near"), (far, "far"))]
    for one in takers:
        one.start()
    for delay, rate in ((0.02, 200e6), (0, 400e6), (0.01, 0), (0, 100e6)):
        wan.stall(0.02)
        wan.set_delay(delay)
        wan.set_rate(rate)
        wan.wait_over("stall")
    for one in senders + takers:
        one.join(30)
    assert got == {"near": hashlib.sha256(data[::-1]).digest(),
                   "far": hashlib.sha256(data).digest()}


def test_stall(line, target):
    """Nothing comes through, nothing is lost, and the connection is still there."""
    wan = line(delay=0.01)
    near, far = pair(wan, target)
    near.sendall(b"before")
    assert receive(far, 6) == b"before"
    wan.stall(3600)
    near.sendall(b"during")
    far.settimeout(0.3)
    with pytest.raises(TimeoutError):
        far.recv(1)
    late = connect(wan)  # it is neither refused nor joined
    target.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        target.accept()
    target.socket.settimeout(20)
    wan.stall(0.2)
    wan.wait_over("stall")
    far.settimeout(20)
    assert receive(far, 6) == b"during"
    late.sendall(b"late")
    assert receive(target.accept(), 4) == b"late"


def test_stalled_bytes_keep_their_distance(line, target):
    """A stall is time that stood still: what was on its way still has its way to go."""
    wan = line(delay=0.2)
    near, far = pair(wan, target)
    near.sendall(b"x")
    begun = time.monotonic()
    wan.stall(0.3)
    receive(far, 1)
    assert time.monotonic() - begun >= 0.48


def test_cut(line, target):
    wan = line()
    near, far = pair(wan, target)
    wan.cut(3600)
    for end in (near, far):
        try:
            assert end.recv(1) == b""  # all that a unix socket can tell
            assert end.family == socket.AF_UNIX
        except ConnectionResetError:
            pass
    with pytest.raises(ConnectionRefusedError):
        connect(wan)
    wan.cut(0.2)
    wan.wait_over("cut")
    near, far = pair(wan, target)
    near.sendall(b"again")
    assert receive(far, 5) == b"again"


def test_ends_are_told(line, target):
    """An end of file is one, after the last byte; what the other side says after it still comes."""
    wan = line(delay=0.05)
    near, far = pair(wan, target)
    near.sendall(b"all")
    near.shutdown(socket.SHUT_WR)
    assert receive(far, 3) == b"all" and far.recv(1) == b""
    far.sendall(b"answer")
    far.close()
    assert receive(near, 6) == b"answer" and near.recv(1) == b""
    assert wan.passed()["connections"] == 0


@pytest.mark.parametrize("family", [socket.AF_INET])
def test_a_reset_is_told(line, target):
    wan = line(delay=0.05)
    near, far = pair(wan, target)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    with pytest.raises(ConnectionResetError):
        near.recv(1)


def test_words_it_does_not_know(line):
    wan = line()
    for word in ("drop 5", "stall", "cut -1", "rate nan"):
        with pytest.raises(AssertionError, match="error: "):
            wan._command(word)
    assert wan.passed()["connections"] == 0
