# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client as raw as a test needs it: it sends exactly the bytes it is told to, right or
wrong, and shows frames one by one. For well-behaved pages there is far_end.py."""
import base64
import os
import socket
import struct

SUBPROTOCOL = "platter.media.1"
CSP = ("default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; "
       "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
       "frame-ancestors 'none'")
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NO_MASK = bytes(4)  # a mask like any other, but it changes nothing and costs nothing


class Closed(Exception):
    """The far end sent a close frame; code 1006 when the connection just ended."""

    def __init__(self, code, reason=""):
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


def frame(opcode, payload=b"", final=True, mask=b"\x11\x22\x33\x44"):
    """One frame as a browser would mask it."""
    length = len(payload)
    first = bytes([(0x80 if final else 0) | opcode])
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65536:
        size = bytes([0x80 | 126]) + struct.pack(">H", length)
    else:
        size = bytes([0x80 | 127]) + struct.pack(">Q", length)
    if mask == NO_MASK:
        return first + size + mask + payload
    key = (mask * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
    return first + size + mask + masked


def upgrade(host, path, **changes):
    """The request that opens a WebSocket; a header given as None is left out."""
    headers = {
        "Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Origin": f"http://{host}",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": SUBPROTOCOL,
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


class Raw:
    """A TCP connection that is read in pieces as asked."""

    def __init__(self, port, host="127.0.0.1", timeout=10):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.pending = b""

    def send(self, data):
        self.socket.sendall(data)

    def read(self, count):
        while len(self.pending) < count:
            more = self.socket.recv(65536)
            if not more:
                raise Closed(1006, "end of file")
            self.pending += more
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def read_until(self, mark):
        while mark not in self.pending:
            more = self.socket.recv(65536)
            if not more:
                raise Closed(1006, "end of file")
            self.pending += more
        return self.read(self.pending.index(mark) + len(mark))

    def at_end(self):
        """Whether the far end closes the connection, whatever it says before."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def response(raw, method="GET"):
    """Status, headers (names in lower case) and body of one HTTP response."""
    head = raw.read_until(b"\r\n\r\n").decode()
    status, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:]
                   for line in lines if line)
    bare = " 101 " in status or method == "HEAD"
    body = b"" if bare else raw.read(int(headers.get("content-length", 0)))
    return int(status.split()[1]), headers, body


def check_headers(headers):
    """Every response says what a browser may do with it."""
    assert headers["content-security-policy"] == CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def request(port, path="/", method="GET", host=None, extra=(), address="127.0.0.1"):
    """One request on its own connection."""
    default = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = [f"{method} {path} HTTP/1.1", *extra]
    if host != "":
        lines.insert(1, f"Host: {host or default}")
    with Raw(port, address) as raw:
        raw.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return response(raw, method)


class WebSocket(Raw):
    """A WebSocket of the media kind."""

    def __init__(self, port, path="/api/slots/0/media?kind=disk&name=x", address="127.0.0.1",
                 tail=b"", timeout=10, **changes):
        super().__init__(port, address, timeout)
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.send(upgrade(host, path, **changes) + tail)
        self.status, self.headers, self.body = response(self)

    def frame(self):
        """Opcode and payload of the next frame."""
        first, second = self.read(2)
        length = second & 0x7f
        assert not second & 0x80, "the server masked a frame"
        assert not first & 0x70, "the server set a reserved bit"
        if length == 126:
            length = struct.unpack(">H", self.read(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.read(8))[0]
        return first & 15, self.read(length)

    def message(self):
        """The next text or binary message; Closed when it is a goodbye."""
        opcode, payload = self.frame()
        if opcode == CLOSE:
            code = struct.unpack(">H", payload[:2])[0] if payload else 1005
            raise Closed(code, payload[2:].decode())
        if opcode in (PING, PONG):
            return self.message()
        return opcode, payload

    def binary(self, count):
        """The next `count` bytes of binary messages, text messages passed over."""
        got = b""
        while len(got) < count:
            opcode, payload = self.message()
            if opcode != TEXT:
                got += payload
        return got

    def goodbye(self):
        """Reads to the close frame, answers it, and returns its code and reason."""
        try:
            while True:
                self.message()
        except Closed as closed:
            if closed.code != 1006:
                self.send(frame(CLOSE, struct.pack(">H", closed.code)))
            return closed.code, closed.reason
