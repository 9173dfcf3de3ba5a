# SPDX-License-Identifier: Apache-2.0
"""Lines that drop and platterds that die: whoever reads the drive sees a pause, or an error once
the grace is over, and never another image's bytes."""
import hashlib
import os
import random
import signal
import subprocess
import threading
import time

import nbd
import pytest

from far_end import CMD_READ, FarEnd
from harness import wait_until

IMAGE = os.urandom(16 << 20)


class Page(FarEnd):
    says_alive = True


class SlowPage(Page):
    """A line of some MiB a second, so that a reader is under way while things happen to it."""

    def reply_read(self, cookie, offset, length):
        time.sleep(length / (12 << 20))
        return super().reply_read(cookie, offset, length)


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Reader:
    """nbdcopy, reading the whole drive from now on."""

    def __init__(self, uri):
        self.process = subprocess.Popen(["nbdcopy", "--connections=1", uri, "-"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.result = []
        self.thread = threading.Thread(
            target=lambda: self.result.append(self.process.communicate()))
        self.thread.start()

    def finish(self, timeout=60):
        self.thread.join(timeout)
        if self.thread.is_alive():
            self.process.kill()
            self.thread.join()
        output, errors = self.result[0]
        assert self.process.returncode == 0, errors.decode()
        return output


def read_at(uri, offset, length=4096):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return bytes(handle.pread(length, offset))


def begin(d, kind=Page, image=IMAGE, **query):
    page = kind(d.port, image, **query)
    page.__enter__()
    return page, page.wait_state("serving")["uri"], page.token()


def cut(page):
    """The line is gone, without a word."""
    page.drop()
    page.wait_closed()
    page.socket.close()


def test_cuts_are_not_seen(platterd):
    d = platterd()
    chance = random.Random(4)
    page, uri, token = begin(d, SlowPage)
    reader = Reader(uri)
    for _ in range(4):
        enough = len(page.requests) + 1 + chance.randrange(3)
        wait_until(lambda: len(page.requests) >= enough or not reader.thread.is_alive(), "a read")
        cut(page)
        d.wait_state("suspended")
        assert d.slot()["waiting"]["grace_left"] > 50
        page = SlowPage(d.port, IMAGE, resume=token)
        page.__enter__()
        page.wait_state("serving")
        assert page.token() == token
    assert digest(reader.finish()) == digest(IMAGE)
    assert d.slot()["counters"]["suspensions"] == 4
    assert d.slot()["counters"]["errors"] == 0
    page.__exit__(None)
    d.wait_state("idle")


def test_the_page_notices_first(platterd):
    """A line that is dead to the page alone is taken over, and its end told so."""
    d = platterd()
    old, uri, token = begin(d)
    with Page(d.port, IMAGE, resume=token) as page:
        page.wait_state("serving")
        assert old.wait_closed() == (1000, "The page has come back another way.")
        assert read_at(uri, 4096) == IMAGE[4096:8192]
    d.wait_state("idle")


class Stalls(Page):
    """Says nothing any more once it is told to, its line open."""

    stalled = False

    def send_frame(self, data):
        if not self.stalled:
            super().send_frame(data)


def test_a_silent_line_is_noticed(platterd):
    d = platterd()
    page, uri, token = begin(d, Stalls)
    page.stalled = True
    d.wait_state("suspended", timeout=20)
    with Page(d.port, IMAGE, resume=token) as back:
        back.wait_state("serving")
        assert read_at(uri, 0) == IMAGE[:4096]
        assert page.wait_closed()[0] == 4004


@pytest.mark.parametrize("other", ["byte", "size", "name", "modified", "kind"])
def test_another_image_is_sent_away(other, platterd):
    d = platterd()
    page, uri, token = begin(d, modified=1700000000000)
    cut(page)
    d.wait_state("suspended")
    image, query = IMAGE, {"modified": 1700000000000}
    if other == "byte":
        image = IMAGE[:-1] + bytes([IMAGE[-1] ^ 1])
    elif other == "size":
        image = IMAGE[:-512]
    elif other == "name":
        query["name"] = "other.img"
    elif other == "modified":
        query["modified"] = 1700000000001
    else:
        query["kind"] = "cd"
    with Page(d.port, image, resume=token, **query) as stranger:
        code, reason = stranger.wait_closed()
        assert code == 4005
        whole = stranger.states[-1]["reason"]
        assert whole.startswith(reason.rstrip(".")) and "session" in whole
        assert not [command for command, _, _ in stranger.requests if command == CMD_READ]
    assert d.slot()["state"] == "suspended"
    with Page(d.port, IMAGE, resume=token, modified=1700000000000) as page:
        page.wait_state("serving")
        assert read_at(uri, 8192) == IMAGE[8192:12288]


def test_tokens(platterd):
    d = platterd()
    with Page(d.port, IMAGE, resume="0" * 32) as page:
        assert page.wait_closed() == (4006, "That session is over: give the drive anew.")
    page, _, token = begin(d)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    with Page(d.port, IMAGE, resume=wrong) as stranger:
        assert stranger.wait_closed()[0] == 4006
    assert page.closed is None and d.slot()["state"] == "serving"
    page.__exit__(None)
    d.wait_state("idle")
    with Page(d.port, IMAGE, resume=token) as late:
        assert late.wait_closed()[0] == 4006
    assert token not in d.program.text()


def test_the_grace_runs_out(platterd):
    """Reads fail at once from then on, and are answered again when the page returns."""
    d = platterd(slots=("export = unix\ngrace = 1\nkeep = 60\n",))
    page, uri, token = begin(d)
    handle = nbd.NBD()
    handle.connect_uri(uri)
    cut(page)
    # Far from what a machine may have read of it already.
    with pytest.raises(nbd.Error):
        handle.pread(4096, 9 << 20)
    d.wait_state("absent")
    assert d.slot()["waiting"]["grace_left"] == 0 and d.slot()["waiting"]["keep_left"] > 50
    with pytest.raises(nbd.Error):
        handle.pread(4096, 9 << 20)
    with Page(d.port, IMAGE, resume=token) as page:
        page.wait_state("serving")
        assert bytes(handle.pread(4096, 9 << 20)) == IMAGE[9 << 20:(9 << 20) + 4096]


def test_nobody_returns(platterd):
    d = platterd(slots=("export = unix\ngrace = 1\nkeep = 1\n",))
    page, _, _ = begin(d)
    cut(page)
    d.wait_state("idle")
    assert d.slot()["reason"].startswith("The page was lost and did not come back in time: ")
    assert not d.socket().exists()
    page, _, _ = begin(d)
    page.__exit__(None)


# --- platterd itself ---

def restart(platterd, d, number):
    """Ends it with a signal and starts it anew on the same port and in the same directories."""
    d.program.stop(number)
    return platterd(port=d.port)


def connect_again(uri):
    def attempt():
        handle = nbd.NBD()
        try:
            handle.connect_uri(uri)
        except nbd.Error:
            return None
        return handle
    return wait_until(attempt, "the drive is there again")


@pytest.mark.parametrize("way", ["killed", "upgraded"])
def test_platterd_is_started_anew(way, platterd):
    d = platterd()
    page, uri, token = begin(d, modified=5)
    record = d.runtime_dir / "slot-0.session"
    assert record.stat().st_mode & 0o777 == 0o600
    d = restart(platterd, d, signal.SIGKILL if way == "killed" else signal.SIGUSR2)
    page.wait_closed()
    page.socket.close()
    assert d.slot()["state"] == "suspended"
    assert d.slot()["medium"] == {"name": "test.img", "kind": "disk", "size": len(IMAGE),
                                  "read_only": True}
    handle = connect_again(uri)
    asked = []
    reader = threading.Thread(target=lambda: asked.append(bytes(handle.pread(65536, 1 << 20))))
    reader.start()
    with Page(d.port, IMAGE, slot=0, resume=token) as stranger:
        assert stranger.wait_closed()[0] == 4005
    with Page(d.port, IMAGE, resume=token, modified=5) as page:
        page.wait_state("serving")
        reader.join(10)
        assert asked == [IMAGE[1 << 20:(1 << 20) + 65536]]
        assert record.exists()
    d.wait_state("idle")
    assert not record.exists() and not d.socket().exists()
    assert list(d.runtime_dir.iterdir()) == []
    assert token not in d.program.text()


def test_one_grace_for_a_lost_line_and_a_restart(platterd):
    """What the machine waits for has waited since the line was lost, whoever died meanwhile."""
    d = platterd()
    page, _, _ = begin(d)
    cut(page)
    wait_until(lambda: d.slot()["waiting"]["grace_left"] <= 56, "a few seconds have gone by")
    d = restart(platterd, d, signal.SIGKILL)
    assert d.slot()["waiting"]["grace_left"] <= 57
    d.end()


def test_a_session_that_has_ended_is_not_taken_up_again(platterd):
    d = platterd()
    page, _, token = begin(d)
    page.__exit__(None)
    d.wait_state("idle")
    d = restart(platterd, d, signal.SIGKILL)
    assert d.slot()["state"] == "idle"
    with Page(d.port, IMAGE, resume=token) as page:
        assert page.wait_closed()[0] == 4006


def test_a_record_of_no_use_does_no_harm(platterd, workdir):
    d = platterd()
    page, _, _ = begin(d)
    d.program.kill()
    page.wait_closed()
    page.socket.close()
    record = d.runtime_dir / "slot-0.session"
    record.write_text(record.read_text().replace("disk", "tape"))
    d = platterd(port=d.port)
    assert d.slot()["state"] == "idle" and not record.exists()
    assert "is of no use (it is damaged): removed" in d.program.text()
    page, _, _ = begin(d)
    page.__exit__(None)
