# SPDX-License-Identifier: Apache-2.0
"""OpenBMC's own page, as it is, opens a drive of platterd's: it knows nothing of Platter, brings a
token for a subprotocol or nothing, serves by EXPORT_NAME, and ends at whatever it does not
expect."""
import random
import select
import signal
import socket
import struct
import threading

import nbd
import pytest

import far_end as fe
from far_end import Bytes, FarEnd, chunk, option_reply
from harness import TOP, wait_until
from ws_client import BINARY, CLOSE, PING, PONG, TEXT, Closed, Raw, WebSocket, frame, request, \
    upgrade

KIB = 1024
MESSAGE_MAX = 131088   # what OpenBMC's web server lets through at once,
UNREAD_MAX = 524352    # and what it keeps for a device that does not read
TOKEN = "kBvWUlFtzY9q2N7Xw0aD"
# No multiple of a sector, a page or a block.
IMAGE = random.Random(5).randbytes(3 * 1024 * KIB + 777)


class Page(FarEnd):
    """The page. It answers what it has been asked last first, and watches what is on its way."""

    flags = fe.FLAG_HAS_FLAGS | fe.FLAG_READ_ONLY
    handshake_flags = 1
    path = "/vm/0/0"
    honest = False

    def __init__(self, port, image=IMAGE, path=None, token=None):
        self.image = Bytes(image) if isinstance(image, bytes) else image
        self.greeting = type(self).greeting[:-2] + struct.pack(">H", self.handshake_flags)
        self.socket = WebSocket(port, path or self.path, Sec_WebSocket_Protocol=token)
        assert self.socket.status == 101, (self.socket.status, self.socket.body)
        assert self.socket.headers.get("sec-websocket-protocol") == token
        self.socket.socket.settimeout(60)
        self.structured = False
        self.states, self.requests, self.examined = [], [], []
        self.options = []
        self.closed = self.error = None
        self.pending = b""
        self.most = 0  # bytes of replies that were owed at once
        self.write_lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __exit__(self, kind, *rest):
        super().__exit__(kind, *rest)
        assert not self.states, "it was sent text, which it takes for bytes"

    def is_examined(self):
        return False

    def reply_option(self, option, data):
        self.options.append(option)
        return option_reply(option, fe.REP_ERR_UNSUP)

    def reply_export_name(self):
        zeroes = b"" if self.handshake_flags & 2 else bytes(124)
        return super().reply_export_name() + zeroes

    def reply_flush(self, cookie):
        return self.reply_error(cookie, fe.EINVAL)

    def is_quiet(self):
        """Whether nothing more has been asked, as far as one can see."""
        return not self.pending and not self.socket.pending and \
            not select.select([self.socket.socket], [], [], 0.01)[0]

    def transmit(self):
        owed = []
        while True:
            if owed and self.is_quiet():
                self.send(self.reply_read(*owed.pop()))
                continue
            magic, flags, command, cookie, offset, length = struct.unpack(">IHHQQI", self.take(28))
            assert magic == fe.REQUEST_MAGIC and flags == 0
            self.requests.append((command, offset, length))
            if command == fe.CMD_DISC:
                return
            if command != fe.CMD_READ:
                self.send(self.reply_error(cookie, fe.EINVAL))
                continue
            assert offset + length <= self.image.size, "it was asked past the end"
            owed.append((cookie, offset, length))
            self.most = max(self.most, sum(16 + asked for _, _, asked in owed))
            assert 16 + length <= MESSAGE_MAX and self.most <= UNREAD_MAX


def serving(d, slot=0):
    """Where programs find the drive, once it is there."""
    d.wait_state("serving", slot)
    return d.slot(slot)["uri"]


def connect(uri):
    client = nbd.NBD()
    client.connect_uri(uri)
    return client


def read_whole(uri, length):
    client = connect(uri)
    got = b"".join(bytes(client.pread(min(length - at, 1 << 20), at))
                   for at in range(0, length, 1 << 20))
    client.shutdown()
    return got


def check_session(d, path="/vm/0/0", token=None, slot=0):
    with Page(d.port, path=path, token=token) as page:
        assert read_whole(serving(d, slot), len(IMAGE)) == IMAGE
    d.wait_state("idle", slot)
    return page


@pytest.mark.parametrize("token", [None, TOKEN, "a", "0x1-_.z", "x" * 62])
@pytest.mark.parametrize("path, slot", [("/vm/0/0", 0), ("/nbd/0", 0), ("/nbd/1", 1)])
def test_a_session(platterd, path, slot, token):
    d = platterd(slots=("export = unix\n",) * 2, env={"PLATTER_DEBUG": "1"})
    with Page(d.port, path=path, token=token) as page:
        assert read_whole(serving(d, slot), len(IMAGE)) == IMAGE
        medium = d.slot(slot)["medium"]
        assert medium == {"name": "OpenBMC virtual media", "kind": "disk", "size": len(IMAGE),
                          "read_only": True}
        assert d.slot(1 - slot)["state"] == "idle"
        assert not list(d.runtime_dir.glob("*.session"))
    d.wait_state("idle", slot)
    assert fe.OPT_STRUCTURED_REPLY not in page.options
    # Several at once, and never more than there is room for: the page itself looks at that.
    assert page.most > MESSAGE_MAX
    assert len(token or "") < 10 or token not in d.program.text()


@pytest.mark.parametrize("flags", [1, 3])
def test_with_and_without_zeroes(platterd, monkeypatch, flags):
    monkeypatch.setattr(Page, "handshake_flags", flags)
    check_session(platterd())


@pytest.mark.parametrize("size", [1, 511, 4097, 131073])
def test_odd_sizes(platterd, size):
    d = platterd()
    with Page(d.port, IMAGE[:size]):
        assert read_whole(serving(d), size) == IMAGE[:size]


def test_long_reads_many_at_once_and_flushes(platterd):
    """What a newer kernel asks, and more of it than the page is ever asked."""
    d = platterd()
    with Page(d.port) as page:
        client = connect(serving(d))
        dice = random.Random(1)
        reads = []
        for _ in range(200):
            length = dice.choice([1, 4096, 70000, 1 << 20, 2 << 20])
            offset = dice.randrange(len(IMAGE) - length)
            buffer = nbd.Buffer(length)
            reads.append((offset, length, buffer, client.aio_pread(buffer, offset)))
        for offset, length, buffer, cookie in reads:
            while not client.aio_command_completed(cookie):
                client.poll(10000)
            assert buffer.to_bytearray() == IMAGE[offset:offset + length]
        if client.can_flush():
            client.flush()
        client.shutdown()
    assert {command for command, _, _ in page.requests} == {fe.CMD_READ}
    assert max(length for _, _, length in page.requests) <= 128 * KIB


# --- how it ends ---


def page_closes(page, payload):
    page.send_frame(frame(CLOSE, payload))
    return page.wait_closed()


@pytest.mark.parametrize("payload, reason", [
    (b"", "The page ended the session: it was disconnected there."),
    (struct.pack(">H", 1000), "The page ended the session: it was disconnected there."),
    (struct.pack(">H", 1001), "The page was lost: its tab was closed."),
])
def test_the_page_closes(platterd, payload, reason):
    d = platterd()
    with Page(d.port) as page:
        serving(d)
        code, _ = page_closes(page, payload)
        assert code == (struct.unpack(">H", payload)[0] if payload else 1005)
    d.wait_state("idle")
    assert d.slot()["reason"] == reason
    check_session(d)


def test_the_browser_dies(platterd):
    """The session ends with its line: nobody could come back to it."""
    d = platterd()
    with Page(d.port) as page:
        serving(d)
        page.drop()
        d.wait_state("idle")
    assert "suspended" not in d.program.text()
    check_session(d)


def test_the_browser_dies_with_reads_outstanding(platterd):
    class Mute(Page):
        def reply_read(self, cookie, offset, length):
            return b"" if offset > (1 << 20) else super().reply_read(cookie, offset, length)

    d = platterd()
    with Mute(d.port) as page:
        client = connect(serving(d))
        cookie = client.aio_pread(nbd.Buffer(65536), 2 << 20)
        wait_until(lambda: any(at >= 2 << 20 for _, at, _ in page.requests), "it is asked")
        page.drop()
        with pytest.raises(nbd.Error):
            while not client.aio_command_completed(cookie):
                client.poll(10000)
        d.wait_state("idle")
    check_session(d)


def test_the_device_ends_it(platterd):
    d = platterd()
    with Page(d.port) as page:
        serving(d)
        d.end()
        assert page.wait_closed() == (1000, "The session was ended on the device.")
    with Page(d.port) as page:
        serving(d)
        d.program.stop(signal.SIGTERM)
        assert page.wait_closed() == (1001, "Platter was stopped on the machine.")


def test_one_session_a_slot(platterd):
    d = platterd()
    with Page(d.port) as page:
        serving(d)
        for path in ("/vm/0/0", "/nbd/0"):
            with Page(d.port, path=path, token=TOKEN) as second:
                assert second.wait_closed() == (1011, "Slot is in use")
        with FarEnd(d.port, IMAGE) as own:
            assert own.wait_closed() == (4003, "Slot is in use")
        assert page.closed is None
        assert read_whole(serving(d), len(IMAGE)) == IMAGE
    d.wait_state("idle")
    with FarEnd(d.port, IMAGE) as own:
        own.wait_state("serving")
        with Page(d.port) as second:
            assert second.wait_closed() == (1011, "Slot is in use")


# --- what is not let in ---


@pytest.mark.parametrize("path", ["/nbd/1", "/nbd/x", "/nbd/", "/nbd/00", "/nbd/0/",
                                  "/nbd/99999999999", "/vm/0/1", "/vm/", "/vm/0/0/0"])
def test_no_such_drive(platterd, path):
    d = platterd()
    with Page(d.port, path=path, token=TOKEN) as page:
        assert page.wait_closed() == (1011, "This machine has no drive of that number.")
    check_session(d)


@pytest.mark.parametrize("status, changes", [
    (403, {"Origin": None}),
    (403, {"Origin": "http://evil.example"}),
    (403, {"Host": "evil.example"}),
    (426, {"Sec_WebSocket_Version": "8"}),
    (400, {"Sec_WebSocket_Protocol": "a, b"}),
    (400, {"Sec_WebSocket_Protocol": "x" * 63}),
    (400, {"Sec_WebSocket_Protocol": "x" * 3000}),
    (400, {"Sec_WebSocket_Protocol": "a b"}),
    (400, {"Sec_WebSocket_Protocol": "a;b"}),
    (400, {"Sec_WebSocket_Protocol": "\"a\""}),
    (400, {"Sec_WebSocket_Protocol": "12345678"}),
    (400, {"Sec_WebSocket_Protocol": "/"}),
])
def test_not_let_in(platterd, status, changes):
    d = platterd()
    changes = {"Sec_WebSocket_Protocol": TOKEN, **changes}
    assert WebSocket(d.port, "/vm/0/0", **changes).status == status
    check_session(d, token=TOKEN)


def test_a_token_is_for_its_own_request(platterd):
    """What one page brought is no subprotocol for the next, and none of the other page's."""
    d = platterd()
    with Raw(d.port) as raw:  # let in, and then not a WebSocket after all
        raw.send(upgrade(f"127.0.0.1:{d.port}", "/vm/0/0", Sec_WebSocket_Protocol=TOKEN,
                         Sec_WebSocket_Key=None))
        raw.at_end()
    assert WebSocket(d.port, Sec_WebSocket_Protocol=TOKEN).status == 400
    own = WebSocket(d.port, Sec_WebSocket_Protocol=f"http, {TOKEN}, platter.media.1")
    assert (own.status, own.headers["sec-websocket-protocol"]) == (101, "platter.media.1")
    own.close()
    d.wait_state("idle")
    page = WebSocket(d.port, "/vm/0/0", Sec_WebSocket_Protocol="platter.media.1")
    assert (page.status, page.headers["sec-websocket-protocol"]) == (101, "platter.media.1")
    page.close()


def test_only_websockets_are_there(platterd):
    d = platterd()
    for path in ("/vm/0/0", "/nbd/0"):
        assert request(d.port, path)[0] == 404
        assert request(d.port, path, method="POST")[0] == 405
    check_session(d)


# --- pages that break the protocol ---


class Garbage(Page):
    greeting = b"GET / HTTP/1.1\r\n" * 10 + b"  "

    def serve(self):
        self.send(self.greeting)
        while True:
            self.take(1)


class HugeOptionReply(Page):
    def reply_option(self, option, data):
        return struct.pack(">QIII", fe.OPTION_REPLY_MAGIC, option, fe.REP_ACK, 0xffffffff)


class NothingInIt(Page):
    def __init__(self, port):
        super().__init__(port, b"")


class WrongCookie(Page):
    def reply_read(self, cookie, offset, length):
        return super().reply_read(cookie ^ 1 << 63, offset, length)


class RepliesTwice(Page):
    def reply_read(self, cookie, offset, length):
        return super().reply_read(cookie, offset, length) * 2


class Structured(Page):
    def reply_read(self, cookie, offset, length):
        return chunk(cookie, fe.CHUNK_DATA, struct.pack(">Q", offset) + bytes(length))


@pytest.mark.parametrize("kind", [Garbage, HugeOptionReply, NothingInIt, WrongCookie, RepliesTwice,
                                  Structured])
def test_hostile_pages(platterd, kind):
    d = platterd()
    with kind(d.port) as page:
        code, reason = page.wait_closed()
        assert code in (1002, 1011) and 10 < len(reason.encode()) <= 120, (code, reason)
        d.wait_state("idle")
    check_session(d)


class BigText(Page):
    def serve(self):
        self.send_frame(frame(TEXT, b"x" * 5000))
        while True:
            self.take(1)


def test_text_is_nothing_to_it(platterd):
    d = platterd()
    with Page(d.port) as page:
        uri = serving(d)
        page.send_frame(frame(TEXT, b'{"alive":true}'))
        assert read_whole(uri, len(IMAGE)) == IMAGE
    d.wait_state("idle")
    with BigText(d.port) as page:
        assert page.wait_closed()[0] == 1002
    check_session(d)


class Drip(Page):
    """Its bytes come in messages of one byte and of a few."""

    def send(self, data):
        for at in range(0, min(len(data), 200)):
            super().send(data[at:at + 1])
        for at in range(200, len(data), 5000):
            super().send(data[at:at + 5000])


def test_messages_cut_anywhere(platterd):
    d = platterd()
    with Drip(d.port, IMAGE[:300000]):
        assert read_whole(serving(d), 300000) == IMAGE[:300000]


def test_nothing_leaks(platterd):
    d = platterd()
    kinds = [Page, WrongCookie, Garbage, Page, RepliesTwice]

    def session(kind):
        with kind(d.port) as page:
            if kind is Page:
                read_whole(serving(d), 65536)
            else:
                page.wait_closed()
        d.wait_state("idle")

    for kind in kinds:
        session(kind)
    descriptors = d.program.fd_count()
    for index in range(30):
        session(kinds[index % len(kinds)])
    wait_until(lambda: d.program.fd_count() <= descriptors, "descriptors as before")


# --- Platter's library in that page's place ---


class Bridge:
    """Carries the library's messages, each as one, to a WebSocket, and what comes back."""

    def __init__(self, port, library):
        self.library = socket.socket(socket.AF_UNIX)
        self.library.connect(str(library))
        self.socket = WebSocket(port, "/nbd/0", Sec_WebSocket_Protocol=TOKEN)
        assert self.socket.status == 101
        self.sizes, self.texts, self.closed = [], 0, None
        self.error = None
        self.threads = [threading.Thread(target=self.guard, args=(way,), daemon=True)
                        for way in (self.carry_out, self.carry_in)]
        for thread in self.threads:
            thread.start()

    def guard(self, way):
        try:
            way()
        except (OSError, Closed):
            pass
        except BaseException as error:
            self.error = error

    def exactly(self, count):
        got = b""
        while len(got) < count:
            more = self.library.recv(count - len(got))
            if not more:
                raise Closed(1006)
            got += more
        return got

    def carry_out(self):
        while True:
            message = self.exactly(struct.unpack(">I", self.exactly(4))[0])
            self.sizes.append(len(message))
            self.socket.send(frame(BINARY, message))

    def carry_in(self):
        while True:
            opcode, payload = self.socket.frame()
            if opcode == BINARY:
                self.library.sendall(payload)
            elif opcode == PING:
                self.socket.send(frame(PONG, payload))
            elif opcode == TEXT:
                self.texts += 1
            elif opcode == CLOSE:
                self.closed = struct.unpack(">H", payload[:2])[0]
                self.socket.send(frame(CLOSE, payload[:2]))
                return

    def end(self):
        self.threads[1].join(15)
        assert not self.threads[1].is_alive() and not self.error
        self.library.close()
        self.socket.close()


def test_our_library_within_those_limits(platterd, programs, workdir):
    path, listen = workdir / "image", workdir / "library.sock"
    path.write_bytes(IMAGE)
    tool = TOP / "web/tools/serve-socket.mjs"
    library = programs.start("library", ["node", tool, "--bmcweb", "--messages", "--listen",
                                         f"unix:{listen}", "--file", path])
    library.wait_for("listening", 30)
    d = platterd()
    bridge = Bridge(d.port, listen)
    assert read_whole(serving(d), len(IMAGE)) == IMAGE
    d.end()
    bridge.end()
    assert max(bridge.sizes) == MESSAGE_MAX
    assert (bridge.texts, bridge.closed) == (0, 1000)
    library.wait_for("done: The far end took its leave")
