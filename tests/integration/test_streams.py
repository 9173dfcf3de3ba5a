# SPDX-License-Identifier: Apache-2.0
"""The stream over a WebSocket at its worst moments, with stream-server as its owner: what
base/stream.h promises must hold when calls come from inside events and when nobody reads."""
import os
import resource
import threading
import time
from pathlib import Path

import pytest

from harness import wait_until
from ws_client import BINARY, CLOSE, PING, PONG, TEXT, Closed, Raw, WebSocket, frame, response


@pytest.fixture
def server(programs, workdir):
    page = workdir / "page"
    page.mkdir()
    (page / "index.html").write_text("page")
    program = programs.start("stream-server", [
        programs.install("tests/integration/stream-server"), page])
    program.port = int(program.wait_for(r"the page is at http://127\.0\.0\.1:(\d+)/")[1])
    return program


def connect(server, mode):
    ws = WebSocket(server.port, f"/api/slots/0/media?kind=disk&name={mode}")
    assert ws.status == 101
    assert ws.message() == (TEXT, b'{"state":"opening"}')
    return ws


def test_echo_in_every_shape(server):
    """What went in comes out, however it is cut into messages, fragments and packets."""
    data = os.urandom(300_000)
    with connect(server, "echo") as ws:
        for size in (1, 125, 126, 65535, 65536, 131000, 300_000):
            ws.send(frame(BINARY, data[:size]))
            assert ws.binary(size) == data[:size]
        ws.send(frame(BINARY, data[:1000], final=False) + frame(9, b"x")
                + frame(0, data[1000:2000], final=False) + frame(0, data[2000:3000]))
        assert ws.binary(3000) == data[:3000]
        for byte in frame(BINARY, data[:50]):
            ws.send(bytes([byte]))
        assert ws.binary(50) == data[:50]
        ws.send(frame(CLOSE, b"\x03\xe8"))
        assert ws.goodbye() == (1000, "")
    server.wait_for("echo: closed orderly: it was disconnected there")
    done = server.wait_for(r"echo: sent (\d+) done (\d+) failed (\d+) open 0")
    assert done[1] == done[2] and done[3] == "0"


def test_a_locked_drive_is_ended_by_force(server):
    def end(query):
        with Raw(server.port) as raw:
            raw.send(f"POST /api/slots/1/end{query} HTTP/1.1\r\nHost: localhost\r\n"
                     "Origin: http://localhost\r\n\r\n".encode())
            return response(raw)

    status, _, body = end("")
    assert status == 409 and body.startswith(b"The machine is using this drive") \
        and body.count(b"\n") == 1
    assert end("?force=%31")[0] == 204
    assert end("?force=2")[0] == 400


def test_pauses(server):
    """Held back again and again: nothing comes while it is not wanted, and nothing is lost."""
    data = os.urandom(1 << 20)
    with connect(server, "pauses") as ws:
        ws.send(b"".join(frame(BINARY, data[at:at + 5000]) for at in range(0, len(data), 5000)))
        assert ws.binary(len(data)) == data


def test_held_back(server):
    """While data is not wanted the socket is not read: the page fills the kernel's buffers, not the
    device's memory, and the device goes on with others."""
    with connect(server, "hold") as ws:
        ws.send(frame(BINARY, b"x"))
        before = server.rss_kib()
        ws.socket.settimeout(2)
        piece, sent = frame(BINARY, bytes(1 << 20)), 0
        with pytest.raises(TimeoutError):
            while sent < 512:
                ws.socket.sendall(piece)
                sent += 1
        assert server.rss_kib() < before + 4096
        with connect(server, "echo") as other:
            other.send(frame(BINARY, b"y"))
            assert other.binary(1) == b"y"


def test_words_go_out_while_megabytes_come_in(server):
    with connect(server, "sink") as ws:
        enough = threading.Event()
        piece = frame(BINARY, bytes(1 << 20))

        def flood():
            while not enough.is_set():
                ws.send(piece)
        sender = threading.Thread(target=flood, daemon=True)
        sender.start()
        for _ in range(50):
            assert ws.message() == (TEXT, b'{"state":"tick"}')
        assert sender.is_alive()
        enough.set()
        sender.join(10)
        assert not sender.is_alive()


def test_no_descriptors_left(server):
    """What cannot be accepted waits, and does not keep the processor busy meanwhile."""
    def seconds():
        return sum(map(int, Path(f"/proc/{server.pid}/stat").read_text().split()[13:15])) / 100
    with connect(server, "echo") as ws:
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.fd_count(), limits[1]))
        with Raw(server.port) as raw:
            raw.send(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
            server.wait_for("cannot take a connection: Too many open files; trying again")
            start, used = time.monotonic(), seconds()
            while time.monotonic() < start + 1.5:  # longer than it rests, and not idle ourselves
                ws.send(frame(BINARY, b"x"))
                assert ws.binary(1) == b"x"
                time.sleep(0.05)
            assert seconds() - used < 0.7
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
            assert response(raw)[2] == b"page"
        assert server.text().count("cannot take a connection") == 1


def test_bytes_before_the_answer(server):
    """RFC 6455 (4.1) forbids a page to speak before it has the answer to its request, and
    libwebsockets spoils what it says then. It harms nobody else."""
    with WebSocket(server.port, "/api/slots/0/media?kind=disk&name=pauses",
                   tail=frame(BINARY, b"a" * 3000) + frame(BINARY, b"b" * 3000)) as ws:
        assert ws.status == 101
        ws.binary(1)
    with connect(server, "echo") as ws:
        ws.send(frame(BINARY, b"x"))
        assert ws.binary(1) == b"x"


def test_freed_inside_an_event(server):
    with connect(server, "free") as ws:
        ws.send(frame(BINARY, b"x" * 100) * 50)
        with pytest.raises((Closed, ConnectionError)) as ended:
            ws.message()
        assert getattr(ended.value, "code", 1006) == 1006
    server.wait_for("free: sent 1 done 1 failed 1 open 0")


def test_closed_and_freed_inside_an_event(server):
    with connect(server, "close-and-free") as ws:
        ws.send(frame(BINARY, b"x" * 100) * 50)
        assert ws.goodbye() == (4001, "The machine ejected the drive.")
    server.wait_for("close-and-free: sent 0 done 0 failed 0 open 0")


def test_closed_and_freed_at_once(server):
    with connect(server, "busy") as ws:
        assert ws.goodbye() == (4003, "Slot is in use")


def test_what_is_queued_goes_before_the_goodbye(server):
    """Texts keep their place among the bytes; what comes after close() is answered, not sent."""
    with connect(server, "close-after-echo") as ws:
        ws.send(frame(BINARY, b"x" * 40_000))
        assert ws.message() == (TEXT, b'{"state":"before"}')
        got = b""
        while len(got) < 40_000:
            opcode, payload = ws.message()
            assert opcode == BINARY
            got += payload
        assert ws.message() == (TEXT, b'{"state":"after"}')
        assert ws.goodbye() == (4004, "The helper was lost.")


def test_a_page_that_does_not_read(server):
    """64 MiB queued, then a goodbye: it is given up after two seconds, and others go on."""
    with connect(server, "flood") as ws:
        ws.send(frame(BINARY, b"x"))
        start = time.monotonic()
        while "flood: sent" not in server.text():
            assert time.monotonic() - start < 8, "it waits for a page that does not read"
            with connect(server, "echo") as other:
                other.send(frame(BINARY, b"y"))
                assert other.binary(1) == b"y"
        server.wait_for(r"flood: sent 64 done 64 failed \d+ ")


def test_a_page_that_reads_slowly_but_does(server):
    """The queue drains into a reader that keeps up, whole and before the goodbye."""
    with connect(server, "flood") as ws:
        ws.send(frame(BINARY, b"x"))
        total = 0
        try:
            while True:
                opcode, payload = ws.message()
                total += len(payload) if opcode == BINARY else 0
        except Closed as closed:
            assert (closed.code, closed.reason) in ((1001, "The device is stopping."),
                                                    (1006, "end of file"))
    assert total > 1 << 20


def test_dead_pages_are_noticed(server):
    """One that answers pings stays, also when it says nothing else; one that does not is gone
    within 25 seconds and the time a timer takes."""
    with connect(server, "echo") as alive, connect(server, "dead") as dead:
        dead.socket.settimeout(40)
        alive.socket.settimeout(40)
        start = time.monotonic()
        while "dead: closed" not in server.text():
            assert time.monotonic() - start < 35
            opcode, payload = alive.frame()
            assert opcode == PING
            alive.send(frame(PONG, payload))
            wait_until(lambda: "dead: closed" in server.text() or time.monotonic() - start < 20,
                       "the dead page is noticed", 15)
        assert "dead: closed disorderly: its connection broke" in server.text()
        alive.send(frame(BINARY, b"x"))
        assert alive.binary(1) == b"x"
