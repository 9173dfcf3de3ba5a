# SPDX-License-Identifier: Apache-2.0
"""nbd-proxy as a web server runs it: by two pipes, ended by SIGTERM, and waited for. The kernel and
platter-helper are played by fake_helper.py; tests/lab has the real ones."""
import hashlib
import json
import os
import pty
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from far_end import (CMD_DISC, CMD_READ, FLAG_HAS_FLAGS, FLAG_READ_ONLY, OPT_EXPORT_NAME,
                     REP_ERR_UNSUP, option_reply, simple_reply)
from harness import SANITIZER_EXIT, TOP, wait_until

SIZE = 5 * (1 << 20) + 512 * 3
IMAGE = random.Random(7).randbytes(SIZE)
# For the end of a session: what bmcweb waits for, blocking.
SECOND = 1.0
ENDS = 13  # each way; over fifty in all
NO_LEAKS = f"detect_leaks=0:exitcode={SANITIZER_EXIT}"
FAKE = TOP / "tests/integration/fake_helper.py"


class Server(threading.Thread):
    """An NBD server over two descriptors, as OpenBMC's page is one: EXPORT_NAME alone, simple
    replies, out of order, and at most four of 128 KiB may wait behind it."""

    def __init__(self, reads, writes, image=IMAGE, writable=False, muted=False):
        super().__init__(daemon=True)
        self.reads, self.writes, self.image = reads, writes, image
        self.flags = FLAG_HAS_FLAGS | (0 if writable else FLAG_READ_ONLY)
        self.muted = muted
        self.unanswered = 0
        self.longest = 0
        self.start()

    def take(self, length):
        data = b""
        while len(data) < length:
            # Not waited for in the read itself, which would hold the pipe open for as long.
            while not select.select([self.reads], [], [], 0.05)[0]:
                pass
            more = os.read(self.reads, length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def give(self, data):
        while data:
            data = data[os.write(self.writes, data):]

    def greet(self):
        self.give(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self.take(4)
        while True:
            option, length = struct.unpack(">8xII", self.take(16))
            self.take(length)
            if option == OPT_EXPORT_NAME:
                self.give(struct.pack(">QH", len(self.image), self.flags))
                return
            self.give(option_reply(option, REP_ERR_UNSUP))

    def serve(self):
        while True:
            kind, cookie, offset, length = struct.unpack(">4x2xHQQI", self.take(28))
            if kind == CMD_DISC:
                return
            assert kind == CMD_READ and offset + length <= len(self.image)
            self.longest = max(self.longest, length)
            if self.muted:
                self.unanswered += 1
            else:
                self.give(simple_reply(cookie, self.image[offset:offset + length]))

    def run(self):
        try:
            self.greet()
            self.serve()
        except (EOFError, OSError):
            pass


class Session:
    """nbd-proxy with a server behind its pipes."""

    def __init__(self, start, name, server=True, muted=False, **options):
        theirs_in, self.writes = os.pipe()
        self.reads, theirs_out = os.pipe()
        self.program = start(name, stdin=theirs_in, stdout=theirs_out, **options)
        os.close(theirs_in)
        os.close(theirs_out)
        self.server = Server(self.reads, self.writes, muted=muted) if server else None

    def hang_up(self, fd):
        """Closes one of the pipes, though a thread may be waiting in it."""
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, fd)
        os.close(null)


@pytest.fixture
def start(build, programs, place):
    """Starts nbd-proxy; `config` as in the file, `fake` as in fake_helper.py."""

    def run(*names, config=None, fake="", hook=None, options=(), leaks=True,
            **streams):
        if config is None:
            config = {str(n): {"nbd-device": f"/dev/nbd{n}", "export": "kernel"} for n in range(2)}
        text = config if isinstance(config, str) else json.dumps({"configurations": config})
        (place / "config.json").write_text(text)
        if hook is not None:
            (place / "state").write_text(f"#!/bin/sh\n{hook}\n")
            (place / "state").chmod(0o700)
        argv = [build / "src/nbd-proxy/nbd-proxy", "--config", place / "config.json", "--run-dir",
                place / "run", "--helper", FAKE, *options, *names]
        # Leaks are looked for in `leaks` alone, for that takes longer than these programs may.
        env = {"FAKE_HELPER": fake} if leaks else {"FAKE_HELPER": fake, "ASAN_OPTIONS": NO_LEAKS}
        return programs.start("nbd-proxy", argv, env=env, **streams)
    return run


def said(place, slot=15):
    path = place / f"run/{slot}/said"
    return path.read_text().splitlines() if path.exists() else []


def read_right(place, slot=15):
    path = place / f"run/{slot}/image"
    wait_until(path.exists, "the whole image was read")
    return hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(IMAGE).digest()


def stop_in_time(session):
    began = time.monotonic()
    assert session.program.stop() == 0
    assert time.monotonic() - began < SECOND


def written(path):
    """What a process has written into it, once it has."""
    return path.read_text() if path.exists() else ""


def is_alive(pid):
    """A process that is nobody's child here; one that only waits to be reaped has ended."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def sentence(program):
    """The one line of a program that refuses to start."""
    assert program.wait() == 1
    lines = program.text().strip().split("\n")
    assert len(lines) == 1, lines
    return lines[0]


def test_the_whole_image(start, place):
    session = Session(start, "0")
    assert read_right(place)
    session.program.wait_for("serving")
    assert session.program.stop() == 0
    assert said(place) == [f"attach 15 ro {SIZE}", "detach 15 dead", "stopped"]
    # Every request fits what OpenBMC's web server lets through, though longer ones were made here.
    assert session.server.longest == 128 << 10


def test_nbdkit_by_a_socket(start, place, workdir):
    (workdir / "image").write_bytes(IMAGE)
    ours, theirs = socket.socketpair()
    program = start("0", stdin=theirs, stdout=theirs)
    theirs.close()
    nbdkit = subprocess.Popen(["nbdkit", "-s", "-r", "file", workdir / "image"], stdin=ours,
                              stdout=ours)
    ours.close()
    assert read_right(place)
    nbdkit.kill()
    nbdkit.wait()
    assert program.wait() == 0
    assert "the far end closed" in program.text()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "EOF", "EPIPE"])
def test_it_ends_within_a_second_whatever_waits(start, place, how):
    for number in range(ENDS):
        session = Session(start, "0", fake="greedy", muted=True, leaks=False)
        wait_until(lambda: session.server.unanswered == 4, "four requests wait at the far end")
        began = time.monotonic()
        if how == "EOF":
            session.hang_up(session.writes)
        elif how == "EPIPE":
            session.hang_up(session.reads)
        else:
            session.program.process.send_signal(getattr(signal, how))
        assert session.program.wait() == 0
        assert time.monotonic() - began < SECOND
        # What the machine had asked for was answered, by an error each.
        assert said(place)[3 * number + 1:] == ["detach 15 dead", "stopped"]


def test_it_leaves_what_is_slow_to_its_helper(start, place):
    first = Session(start, "0", fake="greedy stuck", muted=True, leaks=False)
    first.program.wait_for("serving")
    stop_in_time(first)
    assert "platter-helper takes it away" in first.program.text()
    assert "stopped" not in said(place)
    # The next one is not refused, but waits until that has ended.
    second = Session(start, "0")
    second.program.wait_for("serving")
    attach = f"attach 15 ro {SIZE}"
    assert said(place) == [attach, "detach 15 dead", "stopped", attach]
    assert second.program.stop() == 0


def test_two_side_by_side_and_none_twice(start, place):
    first, second = Session(start, "0"), Session(start, "1")
    first.program.wait_for("serving")
    second.program.wait_for("serving")
    again = Session(start, "0")
    assert "Another nbd-proxy serves this configuration" in sentence(again.program)
    assert first.program.running() and second.program.running()
    assert first.program.stop() == 0
    assert second.program.stop() == 0
    assert said(place, 14)[0] == f"attach 14 ro {SIZE}"
    # And once it has ended it may be served again.
    third = Session(start, "0")
    third.program.wait_for("serving")
    assert third.program.stop() == 0


def test_killed(start, place):
    session = Session(start, "0")
    session.program.wait_for("serving")
    session.program.kill()
    wait_until(lambda: "stopped" in said(place), "its helper has ended")


def test_the_hook(start, place):
    session = Session(start, "0", hook=f'echo "$@" >>{place}/hook')
    session.program.wait_for("serving")
    assert (place / "hook").read_text() == "start 0\n"
    assert "gadget = no" in (place / "run/15/helper.conf").read_text()
    assert session.program.stop() == 0
    assert (place / "hook").read_text() == "start 0\nstop 0\n"


def test_a_hook_that_fails(start, place):
    session = Session(start, "0", hook="[ $1 = stop ] || exit 4")
    assert session.program.wait() == 1
    assert "start 0` failed: it ended with 4" in session.program.text()
    assert said(place)[1:] == ["detach 15 alive", "stopped"]


def test_a_start_of_the_hook_that_hangs(start, place):
    hook = f"[ $1 = stop ] || {{ echo $$ >{place}/pid; exec sleep 1000; }}"
    session = Session(start, "0", leaks=False, hook=hook)
    pid = int(wait_until(lambda: written(place / "pid"), "the hook runs"))
    stop_in_time(session)
    wait_until(lambda: not is_alive(pid), "the hook is killed", 1)


def test_a_stop_of_the_hook_that_is_slow(start, place):
    hook = f"echo $1 >>{place}/hook; [ $1 = start ] || {{ sleep 1.5; echo done >>{place}/hook; }}"
    first = Session(start, "0", leaks=False, hook=hook)
    first.program.wait_for("serving")
    stop_in_time(first)
    assert "the hook's stop" in first.program.text()
    assert (place / "hook").read_text() == "start\nstop\n"
    # It has its time, and the next one waits for it.
    second = Session(start, "0", hook=hook)
    second.program.wait_for("serving")
    assert (place / "hook").read_text() == "start\nstop\ndone\nstart\n"
    assert second.program.stop() == 0


def test_a_stop_of_the_hook_that_hangs(start, place):
    """It is killed by nobody but whoever waits for it, when nbd-proxy has long ended."""
    hook = f"[ $1 = start ] || {{ echo $$ >{place}/pid; exec sleep 1000; }}"
    session = Session(start, "0", leaks=False, hook=hook)
    session.program.wait_for("serving")
    stop_in_time(session)
    pid = int(wait_until(lambda: written(place / "pid"), "the hook's number"))
    wait_until(lambda: not is_alive(pid), "the hook is killed", 20)
    wait_until(lambda: "did not end within 10 s" in session.program.text(), "that is said")


def test_a_gadget_of_its_own(start, place):
    gadget = {"vendor-id": "1", "product-id": "0x2", "vendor": "ACME", "product": "A disk",
              "serial": "S1", "udc": "dummy.0", "cdrom": True}
    config = {"0": {"nbd-device": "/dev/nbd5", "export": "kernel", "gadget": gadget}}
    session = Session(start, "0", hook="exit 0", config=config)
    session.program.wait_for("serving")
    lines = (place / "run/15/helper.conf").read_text().split("[slot 15]\n")[1].splitlines()
    assert sorted(lines) == ["export = kernel", "gadget = yes", "nbd = nbd5", "product = A disk",
                             "serial = S1", "udc = dummy.0", "usb_id = 0001:0002",
                             "vendor = ACME"]
    assert session.program.stop() == 0


def test_what_the_machine_may_write(start, place):
    """A gadget is read-only as it always was; an nbd device is what its far end says."""
    for gadget, word in ({}, "ro"), ("none", "rw"):
        config = {"0": {"nbd-device": "/dev/nbd5", "export": "kernel", "gadget": gadget}}
        session = Session(start, "0", server=False, config=config)
        Server(session.reads, session.writes, writable=True)
        session.program.wait_for("serving")
        assert said(place)[-1] == f"attach 15 {word} {SIZE}"
        assert session.program.stop() == 0


def test_failures_end_it_with_their_reason(start, place):
    session = Session(start, "0", fake="refuse")
    assert session.program.wait() == 1
    assert "It is refused: let it be." in session.program.text()
    session = Session(start, "0", fake="die")
    assert session.program.wait() == 1
    assert "platter-helper" in session.program.text()
    session = Session(start, "0", server=False)
    os.write(session.writes, b"HTTP/1.1 200 Certainly not an NBD server\r\n\r\n")
    assert session.program.wait() == 1
    assert "the session has ended: The page was lost" in session.program.text()


def test_what_it_refuses(start, place, workdir):
    assert ":2:" in sentence(start("0", config='{"timeout": 1,\n "configurations": }'))
    assert "has no configuration \"7\"" in sentence(start("7"))
    assert "lacks \"nbd-device\"" in sentence(start("0", config={"0": {}}))
    assert "more than one configuration and no default" in sentence(start())
    assert "name one configuration, not 2" in sentence(start("0", "1"))
    assert "stdin is neither a pipe nor a socket" in sentence(start("0"))
    main, terminal = pty.openpty()
    assert "stdin is a terminal" in sentence(start("0", stdin=terminal))
    os.close(main)
    os.close(terminal)
    (place / "run").mkdir(exist_ok=True)
    (place / "run").chmod(0o777)
    assert "let nobody else write there" in sentence(Session(start, "0", server=False).program)
    (place / "run").chmod(0o700)
    session = Session(start, "0", server=False, options=["--helper", workdir / "none"])
    assert "install platter-helper there" in sentence(session.program)
    assert said(place) == []


def test_words(start, build):
    config = {"a": {"nbd-device": "/dev/nbd0", "metadata": {"owner": "é", "list": [1, 2]}},
              "b": {"nbd-device": "/dev/nbd1"}}
    program = start("--metadata", config=config)
    assert program.wait() == 0
    assert json.loads(program.text()) == {"a": config["a"]["metadata"], "b": None}
    program = start("--help")
    assert program.wait() == 0 and program.text().startswith("usage: nbd-proxy [CONFIGURATION]")
    program = start("--version")
    assert program.wait() == 0 and program.text().startswith("nbd-proxy ")
    program = start("--nonsense")
    assert program.wait() == 1


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_its_words_reach_the_system_log(start, programs, build, place, workdir):
    """Under a web server stderr goes nowhere. In a mount namespace, with a /dev/log of its own."""
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(place / "log"))
    log.settimeout(10)
    (place / "config.json").write_text("{}")
    program = build / "src/nbd-proxy/nbd-proxy"
    script = (f"mount --bind {place}/log /dev/log 2>/dev/null || {{ : >/dev/log; "
              f"mount --bind {place}/log /dev/log; }}; exec {program} --config "
              f"{place}/config.json 0 2>/dev/null")
    programs.start("unshared", ["unshare", "-m", "sh", "-c", script]).wait()
    assert b'nbd-proxy[' in (line := log.recv(1024)) and b'"configurations" must be' in line
