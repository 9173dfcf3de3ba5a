# SPDX-License-Identifier: Apache-2.0
"""The far end that a page is: an NBD server over a WebSocket, well-behaved unless told otherwise.

    with FarEnd(port, image) as page:        # image: bytes, or an object with size and read(o, n)
        page.wait_state("serving")
        ...
    assert page.closed == (1000, "")

Subclasses misbehave by overriding greeting, reply_option() and reply_read(), or take changes with
reply_change(); those return the bytes to send. While it is examined, before the drive is there or
after it came back, it behaves well, for else nobody would see more of it, unless `honest` is False.
After the with block, or after wait_closed(), `closed` holds how the device ended it."""
import json
import struct
import threading
import time

from ws_client import BINARY, CLOSE, PING, PONG, TEXT, Closed, WebSocket, frame

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO, OPT_STRUCTURED_REPLY = 1, 2, 3, 6, 7, 8
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES = 0, 1, 2, 3, 4, 6
CMD_FLAG_FUA = 1
FLAG_HAS_FLAGS, FLAG_READ_ONLY, FLAG_SEND_FLUSH, FLAG_SEND_FUA = 1, 2, 4, 8
FLAG_SEND_TRIM, FLAG_SEND_WRITE_ZEROES = 32, 64
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_ERROR = 0, 1, 2, 0x8001
CHUNK_DONE = 1
REQUEST_MAGIC, SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668e33ef
OPTION_REPLY_MAGIC = 0x3e889045565a9
EIO, EINVAL = 5, 22


def option_reply(option, kind, data=b""):
    return struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def simple_reply(cookie, data=b"", error=0):
    return struct.pack(">IIQ", SIMPLE_MAGIC, error, cookie) + data


def chunk(cookie, kind, data=b"", flags=CHUNK_DONE):
    return struct.pack(">IHHQI", STRUCTURED_MAGIC, flags, kind, cookie, len(data)) + data


def data_chunk(cookie, offset, data, flags=CHUNK_DONE):
    return chunk(cookie, CHUNK_DATA, struct.pack(">Q", offset) + data, flags)


class Bytes:
    """An image in memory."""

    def __init__(self, data):
        self.data, self.size = data, len(data)

    def read(self, offset, length):
        return self.data[offset:offset + length]


class FarEnd:
    greeting = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)
    flags = FLAG_HAS_FLAGS | FLAG_READ_ONLY | FLAG_SEND_FLUSH
    block_size = (1, 4096, 1 << 20)
    honest = True       # until it is used
    says_alive = False  # answers each word, as a page does
    try_limit = 10      # seconds to open it in

    def __init__(self, port, image, slot=0, kind="disk", name="test.img", address="127.0.0.1",
                 **query):
        """`query`: what else the request asks, such as resume="..." and modified=0."""
        self.image = Bytes(image) if isinstance(image, bytes) else image
        more = "".join(f"&{key}={value}" for key, value in query.items())
        self.socket = WebSocket(port, f"/api/slots/{slot}/media?kind={kind}&name={name}{more}",
                                address, timeout=self.try_limit)
        assert self.socket.status == 101, (self.socket.status, self.socket.body)
        self.socket.socket.settimeout(60)  # wait_closed() watches the time
        self.structured = False
        self.states = []   # every text message, decoded
        self.requests = []  # (type, offset, length) of every command since it is used
        self.examined = []  # and of those before that
        self.closed = None
        self.error = None
        self.pending = b""
        self.write_lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)

    # --- for tests ---

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.disconnect()
        if kind is None:
            self.wait_closed()
        self.socket.close()
        assert self.error is None, self.error

    def disconnect(self, code=1000):
        """What the page's Disconnect does."""
        if self.closed is None:
            self.send_frame(frame(CLOSE, struct.pack(">H", code)))

    def drop(self):
        """What a killed browser does."""
        self.socket.socket.shutdown(2)

    def wait_closed(self, timeout=15):
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the device has not closed the WebSocket"
        return self.closed

    def token(self):
        """By which another one takes this one's place in its session."""
        return self.wait_word(lambda word: "token" in word, "a token")["token"]

    def wait_state(self, state, timeout=10):
        """The text message that first said this state."""
        return self.wait_word(lambda word: word["state"] == state, state, timeout)

    def wait_word(self, fits, what, timeout=10):
        """The first text message that fits."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for word in list(self.states):
                if fits(word):
                    return word
            assert self.closed is None, self.closed
            time.sleep(0.01)
        raise AssertionError(f"never '{what}', but {self.states}")

    # --- to be overridden ---

    def reply_option(self, option, data):
        """The answer to one option; None ends the negotiation without one."""
        if option == OPT_STRUCTURED_REPLY:
            self.structured = True
            return option_reply(option, REP_ACK)
        if option in (OPT_GO, OPT_INFO):
            export = struct.pack(">HQH", INFO_EXPORT, self.image.size, self.flags)
            sizes = struct.pack(">HIII", INFO_BLOCK_SIZE, *self.block_size)
            return (option_reply(option, REP_INFO, export) + option_reply(option, REP_INFO, sizes)
                    + option_reply(option, REP_ACK))
        return option_reply(option, REP_ERR_UNSUP)

    def reply_export_name(self):
        return struct.pack(">QH", self.image.size, self.flags)

    def reply_read(self, cookie, offset, length):
        data = self.image.read(offset, length)
        if len(data) != length:
            return self.reply_error(cookie, EINVAL)
        if self.structured:
            return data_chunk(cookie, offset, data)
        return simple_reply(cookie, data)

    def reply_flush(self, cookie):
        return self.reply_done(cookie)

    def reply_change(self, cookie, flags, command, offset, what):
        """`what`: the bytes of a WRITE, or the length of what else it is."""
        return self.reply_error(cookie, EINVAL)

    def reply_done(self, cookie):
        return chunk(cookie, CHUNK_NONE) if self.structured else simple_reply(cookie)

    def reply_error(self, cookie, error):
        if self.structured:
            return chunk(cookie, CHUNK_ERROR, struct.pack(">IH", error, 0))
        return simple_reply(cookie, error=error)

    # --- the server ---

    def send_frame(self, data):
        with self.write_lock:
            try:
                self.socket.send(data)
            except OSError:
                pass  # the reader hears of it, with the device's goodbye

    def send(self, data):
        self.send_frame(frame(BINARY, data))

    def take(self, count):
        """The next bytes of the stream; text messages and pings are dealt with on the way."""
        while len(self.pending) < count:
            opcode, payload = self.socket.frame()
            if opcode == BINARY:
                self.pending += payload
            elif opcode == TEXT:
                self.states.append(json.loads(payload))
                if self.says_alive:
                    self.send_frame(frame(TEXT, b'{"alive":true}'))
            elif opcode == PING:
                self.send_frame(frame(PONG, payload))
            elif opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                raise Closed(code, payload[2:].decode())
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def _run(self):
        try:
            self.serve()
        except Closed as closed:
            self.closed = (closed.code, closed.reason)
            if closed.code != 1006:
                self.send_frame(frame(CLOSE, struct.pack(">H", closed.code)))
        except (ConnectionError, OSError) as error:
            self.closed = (1006, str(error))
        except BaseException as error:
            self.error = error

    def serve(self):
        self.send(self.greeting)
        self.take(4)
        if self.negotiate():
            self.transmit()
        while True:  # the device's goodbye ends this
            self.take(1)

    def negotiate(self):
        while True:
            magic, option, length = struct.unpack(">8sII", self.take(16))
            assert magic == b"IHAVEOPT"
            data = self.take(length)
            if option == OPT_EXPORT_NAME:
                self.send(self.reply_export_name())
                return True
            reply = self.reply_option(option, data)
            if reply is None:
                return False
            self.send(reply)
            if option == OPT_ABORT:
                return False
            # GO has succeeded when its last reply is an acknowledgement.
            if option == OPT_GO and reply[-8:-4] == struct.pack(">I", REP_ACK):
                return True

    def is_examined(self):
        """Whether the device is still finding out what this is."""
        return not self.states or self.states[-1]["state"] in ("opening", "resuming", "returning")

    def transmit(self):
        while True:
            head = struct.unpack(">IHHQQI", self.take(28))
            magic, flags, command, cookie, offset, length = head
            assert magic == REQUEST_MAGIC, head
            data = self.take(length) if command == CMD_WRITE else b""
            examined = self.is_examined()
            (self.examined if examined else self.requests).append((command, offset, length))
            if command == CMD_DISC:
                return
            if command == CMD_FLUSH:
                reply = self.reply_flush(cookie)
            elif command == CMD_READ:
                read = FarEnd.reply_read if examined and self.honest else type(self).reply_read
                reply = read(self, cookie, offset, length)
            else:
                reply = self.reply_change(cookie, flags, command, offset, data or length)
            if reply:
                self.send(reply)
