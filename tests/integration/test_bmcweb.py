# SPDX-License-Identifier: Apache-2.0
"""The stand-in for bmcweb and the far end that stands in for its page, on which the tests of
nbd-proxy rely: each limit at its last allowed byte and its first refused one."""
import errno
import random
import struct
import sys
import time

import nbd
import pytest

from harness import TOP, wait_until
from ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, Closed, WebSocket, frame

sys.path.insert(0, str(TOP / "tests/openbmc"))

from standin import MESSAGE_MAX, UNREAD_MAX, sessions  # noqa: E402
from webui_vue import TOKEN, WebuiVue  # noqa: E402

DEAF = ("sleep", "1000")


class Standin:
    def __init__(self, programs, build, argv, idle):
        self.program = programs.start("bmcweb", [
            build / "tests/openbmc/bmcweb", "--port", 0, "--token", TOKEN, "--idle", idle, "--",
            *argv])
        self.port = int(self.program.wait_for(r"listening on (\d+)")[1])

    def page(self, path="/vm/0/0", token=TOKEN):
        return WebSocket(self.port, path, Sec_WebSocket_Protocol=token)

    def sessions(self):
        return sessions(self.program.text())

    def wait_over(self, count=1):
        """How the session ended; it is the number `count` to do so."""
        wait_until(lambda: len(self.sessions()) >= count, "the session is over")
        return self.sessions()[count - 1]


@pytest.fixture
def standin(programs, build):
    """Starts the stand-in with a program behind it."""
    return lambda *argv, idle=60: Standin(programs, build, argv, idle)


def still_there(page):
    """All it was sent has been looked at, and it is answered."""
    page.send(frame(PING, b"?"))
    while True:
        opcode, payload = page.frame()
        if opcode == PONG:
            return payload == b"?"
        if opcode == CLOSE:
            return False


def test_bytes_go_both_ways(standin):
    bmcweb = standin("cat")
    sent = random.Random(1).randbytes(3 << 20)
    with bmcweb.page() as page:
        assert page.status == 101
        assert page.headers["sec-websocket-protocol"] == TOKEN
        got = b""
        for at in range(0, len(sent), 100000):
            piece = sent[at:at + 100000]
            page.send(frame(BINARY, piece))
            got += page.binary(len(piece))
        assert got == sent
        page.send(frame(CLOSE, struct.pack(">H", 1000)))
        assert page.frame() == (CLOSE, struct.pack(">H", 1000))
    end = bmcweb.wait_over()
    assert end["end"] == "the page said goodbye"
    assert (end["received"], end["sent"]) == (len(sent), len(sent))
    assert (end["status"], end["signal"]) == (-1, 15)


def test_a_message_may_come_in_pieces(standin):
    with standin("cat").page() as page:
        page.send(frame(BINARY, b"one ", final=False) + frame(CONTINUATION, b"two ", final=False)
                  + frame(CONTINUATION, b"three"))
        assert page.binary(13) == b"one two three"


@pytest.mark.parametrize("pieces", [1, 3])
def test_the_longest_message(standin, pieces):
    def message(length):
        cuts = [length * n // pieces for n in range(pieces + 1)]
        return b"".join(frame(CONTINUATION if n else BINARY, bytes(cuts[n + 1] - cuts[n]),
                              final=n == pieces - 1) for n in range(pieces))

    bmcweb = standin("cat")
    with bmcweb.page() as page:
        page.send(message(MESSAGE_MAX))
        assert page.binary(MESSAGE_MAX) == bytes(MESSAGE_MAX)
        page.send(message(MESSAGE_MAX + 1))
        assert page.goodbye()[0] == 1009
    end = bmcweb.wait_over()
    assert end["end"] == "A message is too long"
    assert end["received"] == MESSAGE_MAX


def test_the_most_that_may_be_unread(standin):
    bmcweb = standin(*DEAF)
    with bmcweb.page() as page:
        page.send(frame(BINARY, bytes(MESSAGE_MAX)) * 4)
        assert 4 * MESSAGE_MAX == UNREAD_MAX
        assert still_there(page)
        page.send(frame(BINARY, b"x"))
        assert page.goodbye() == (1000, "Buffer overrun when writing data")
    end = bmcweb.wait_over()
    assert end["end"] == "Buffer overrun when writing data"
    assert end["received"] == end["unread_most"] == UNREAD_MAX


def test_what_the_program_has_read_does_not_count(standin):
    bmcweb = standin("sh", "-c", "dd bs=70000 count=1 iflag=fullblock of=/dev/null; echo done;"
                     "exec sleep 1000")
    with bmcweb.page() as page:
        page.send(frame(BINARY, bytes(MESSAGE_MAX)) * 4)
        assert page.binary(5) == b"done\n"
        page.send(frame(BINARY, bytes(70000)))
        assert still_there(page)
        page.send(frame(BINARY, b"x"))
        assert page.goodbye() == (1000, "Buffer overrun when writing data")
    assert bmcweb.wait_over()["received"] == UNREAD_MAX + 70000


def test_one_message_that_is_too_much(standin):
    """It is refused whole, although part of it would have had room."""
    bmcweb = standin(*DEAF)
    with bmcweb.page() as page:
        page.send(frame(BINARY, bytes(100000)) * 5)
        page.send(frame(BINARY, bytes(UNREAD_MAX - 500000 + 1)))
        assert page.goodbye() == (1000, "Buffer overrun when writing data")
    assert bmcweb.wait_over()["received"] == 500000


def test_one_session_at_a_time(standin):
    bmcweb = standin("cat")
    with bmcweb.page() as page:
        page.send(frame(BINARY, b"1"))
        assert page.binary(1) == b"1"
        with bmcweb.page() as other:
            assert other.goodbye() == (1000, "Slot is in use")
        page.send(frame(BINARY, b"2"))
        assert page.binary(1) == b"2"
    bmcweb.wait_over()
    with bmcweb.page() as page:
        page.send(frame(BINARY, b"3"))
        assert page.binary(1) == b"3"
    assert [end["session"] for end in (bmcweb.wait_over(1), bmcweb.wait_over(2))] == [1, 2]


def test_the_program_has_pipes_and_no_stderr(standin):
    told = "for n in 0 1 2; do readlink /proc/$$/fd/$n; done; ls /proc/$$/fd | wc -l; cat"
    with standin("sh", "-c", told).page() as page:
        lines = page.binary(1).decode()
        while lines.count("\n") < 4:
            lines += page.message()[1].decode()
    stdin, stdout, stderr, count = lines.split()
    assert stdin.startswith("pipe:") and stdout.startswith("pipe:") and stdin != stdout
    assert stderr == "/dev/null"
    assert int(count) == 3


def test_a_program_that_ends_ends_the_session(standin):
    bmcweb = standin("sh", "-c", "echo last words; exit 3")
    with bmcweb.page() as page:
        assert page.binary(11) == b"last words\n"
        assert page.goodbye() == (1000, "Error in reading from proxy port")
    end = bmcweb.wait_over()
    assert (end["status"], end["signal"]) == (3, 0)
    assert end["exit_seconds"] < 0.5


def test_a_program_that_is_not_there(standin):
    bmcweb = standin("/there/is/no/such/program")
    with bmcweb.page() as page:
        assert page.goodbye() == (1000, "Error connecting to nbd-proxy")
    assert bmcweb.wait_over()["status"] == -1


@pytest.mark.parametrize("abrupt", [False, True])
def test_it_waits_for_the_program_and_measures_that(standin, abrupt):
    bmcweb = standin("bash", "-c",
                     "trap 'sleep 0.7; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    with bmcweb.page() as page:
        assert page.binary(6) == b"ready\n"
        if not abrupt:
            page.send(frame(CLOSE))
            page.goodbye()
    # It is deaf for that time, as bmcweb is.
    begun = time.monotonic()
    with bmcweb.page() as page:
        assert time.monotonic() - begun > 0.4
    end = bmcweb.wait_over()
    assert end["end"] == ("the page was lost" if abrupt else "the page said goodbye")
    assert end["status"] == 5
    assert 0.7 <= end["exit_seconds"] < 2


def test_idle_pages_are_pinged_and_then_dropped(standin):
    bmcweb = standin("cat", idle=2)
    with bmcweb.page() as page:
        begun = time.monotonic()
        for _ in range(3):  # with answers it may last
            opcode, payload = page.frame()
            assert opcode == PING
            page.send(frame(PONG, payload))
        assert time.monotonic() - begun > 2
        assert page.frame()[0] == PING
        page.at_end()
    assert bmcweb.wait_over()["end"] == "the page was lost"


def test_its_port_is_taken(standin, programs, build):
    taken = standin("cat").port
    program = programs.start("bmcweb", [build / "tests/openbmc/bmcweb", "--port", taken, "--token",
                                        TOKEN, "--", "cat"])
    assert program.wait() == 1
    assert f"the port {taken} cannot be listened on" in program.text()


def test_what_is_no_virtual_medium(standin):
    bmcweb = standin("cat")
    with bmcweb.page("/vm/0/1") as page:
        assert page.status == 404
    with pytest.raises(Closed):
        bmcweb.page(token="somebody's")
    with bmcweb.page(token=None) as page:
        assert page.status == 101
        assert "sec-websocket-protocol" not in page.headers


# The far end. An independent NBD client is joined to it through the stand-in.

SIZE = (3 << 20) + 1536


@pytest.fixture
def image(workdir):
    path = workdir / "image"
    path.write_bytes(random.Random(5).randbytes(SIZE))
    return path


@pytest.fixture
def joined(standin, workdir, image):
    """A function that gives the page and a libnbd handle on it."""
    def join():
        socket = workdir / "joined.sock"
        joiner = ("import os, select, socket, sys\n"
                  "listener = socket.socket(socket.AF_UNIX)\n"
                  f"listener.bind({str(socket)!r})\n"
                  "listener.listen()\n"
                  "near = listener.accept()[0]\n"
                  "while True:\n"
                  "    ready = select.select([0, near], [], [])[0]\n"
                  "    for one, to in ((0, near.sendall), (near.fileno(), None)):\n"
                  "        if one in [r if r == 0 else r.fileno() for r in ready]:\n"
                  "            got = os.read(one, 65536)\n"
                  "            if not got: sys.exit()\n"
                  "            to(got) if to else os.write(1, got)\n")
        page = WebuiVue(standin(sys.executable, "-c", joiner).port, image)
        page.__enter__()
        wait_until(socket.is_socket, "the program listens")
        client = nbd.NBD()
        client.set_strict_mode(0)
        client.connect_unix(str(socket))
        return page, client
    return join


def test_the_far_end_answers_in_any_order(joined, image):
    page, client = joined()
    whole = image.read_bytes()
    assert client.get_size() == SIZE and client.is_read_only()
    # GO and what else a modern client tries.
    assert page.refused and not client.get_structured_replies_negotiated()
    page.hold()
    reads = []
    for offset in range(0, 4 * 131072, 131072):
        buffer = nbd.Buffer(131072)
        reads.append((offset, buffer, client.aio_pread(buffer, offset)))
    page.wait_pending()
    page.answer()
    for offset, buffer, cookie in reads:
        while not client.aio_command_completed(cookie):
            client.poll(10000)
        assert buffer.to_bytearray() == whole[offset:offset + 131072]
    for _ in range(50):
        assert client.pread(512, SIZE - 512) == whole[-512:]
    assert page.reads == 54 and page.overtaken > 0
    client.shutdown()
    assert page.wait_closed() == (1000, "it said goodbye")


def test_the_far_end_refuses_what_its_original_does(joined):
    page, client = joined()
    for call, wrong in ((client.flush, errno.EINVAL),
                        (lambda: client.trim(512, 0), errno.EPERM),
                        (lambda: client.zero(512, 0), errno.EINVAL)):
        with pytest.raises(nbd.Error) as caught:
            call()
        assert caught.value.errnum == wrong
    with pytest.raises(nbd.Error):
        client.pread(512, SIZE - 511)
    assert page.wait_closed() == (1000, "it said goodbye")


def test_the_far_end_is_slow_and_mute_and_dies(joined, image):
    page, client = joined()
    page.slow(0.3)
    begun = time.monotonic()
    client.pread(512, 0)
    assert time.monotonic() - begun >= 0.3
    page.mute()
    buffer = nbd.Buffer(131072)
    cookie = client.aio_pread(buffer, 0)
    client.poll(500)
    assert not client.aio_command_completed(cookie)
    page.slow(0)
    while not client.aio_command_completed(cookie):
        client.poll(10000)
    page.die()
    assert page.wait_closed() == (1006, "it died")
    with pytest.raises(nbd.Error):
        client.pread(512, 0)


def test_the_far_end_vanishes_with_its_mouth_full(joined):
    page, client = joined()
    page.hold()
    cookie = client.aio_pread(nbd.Buffer(131072), 0)
    page.wait_pending()
    page.mute()
    page.vanish()
    assert page.wait_closed() == (1006, "it vanished")
    with pytest.raises(nbd.Error):
        while not client.aio_command_completed(cookie):
            client.poll(10000)
    assert page.reads == 0


def test_the_far_end_dies_in_the_middle_of_a_reply(joined, image):
    page, client = joined()
    page.hold()
    cookie = client.aio_pread(nbd.Buffer(131072), 0)
    page.wait_pending()
    page.die()
    assert page.wait_closed() == (1006, "it died")
    with pytest.raises(nbd.Error):
        while not client.aio_command_completed(cookie):
            client.poll(10000)
