# SPDX-License-Identifier: Apache-2.0
"""Images and a far end that a machine may write to; what was written is looked at on this side."""

from __future__ import annotations

import time

from .returning import Connected

from far_end import (
    CMD_FLAG_FUA,
    CMD_WRITE,
    FLAG_HAS_FLAGS,
    FLAG_SEND_FLUSH,
    FLAG_SEND_FUA,
    FLAG_SEND_TRIM,
    FLAG_SEND_WRITE_ZEROES,
)


class Sparse:
    """An image of any size: nothing but zeroes, and what was put in somewhere."""

    def __init__(self, size: int, marks: dict[int, bytes]) -> None:
        self.size = size
        self.marks = marks

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        data = bytearray(length)
        for at, mark in self.marks.items():
            begin, end = max(at, offset), min(at + len(mark), offset + length)
            if begin < end:
                data[begin - offset : end - offset] = mark[begin - at : end - at]
        return bytes(data)


class Paper:
    """An image in memory that keeps what is written, and remembers the order of it."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.size = len(content)
        self.events: list[str] = []  # "write", "write fua", "flush"

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])


class Writable(Connected):
    """A far end that takes every change. `slowness`: seconds it takes for one."""

    flags = (
        FLAG_HAS_FLAGS | FLAG_SEND_FLUSH | FLAG_SEND_FUA | FLAG_SEND_TRIM | FLAG_SEND_WRITE_ZEROES
    )
    slowness = 0.0

    def reply_change(self, cookie: int, flags: int, command: int, offset: int, what) -> bytes:
        data = what if command == CMD_WRITE else bytes(what)
        assert offset + len(data) <= self.image.size
        time.sleep(self.slowness)
        self.image.content[offset : offset + len(data)] = data
        self.image.events.append("write fua" if flags & CMD_FLAG_FUA else "write")
        return self.reply_done(cookie)

    def reply_flush(self, cookie: int) -> bytes:
        self.image.events.append("flush")
        return super().reply_flush(cookie)
