# SPDX-License-Identifier: Apache-2.0
"""Chromium's page over a line that breaks, with platterd at the other end and an NBD client that
notices nothing but pauses: what it has read is compared byte for byte."""
import os
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from harness import TOP, Platterd, wait_until
from wan import Wan

sys.path.insert(0, str(TOP / "tests/e2e"))
from page import Page  # noqa: E402 (the directory is on the path only now)

MIB = 1 << 20
SIZE = 48 * MIB
RATE = 60e6  # bits a second: the whole image takes some seconds, so that there is time for mishaps


@pytest.fixture
def image(workdir):
    path = workdir / "image.img"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def line(build, platterd):
    """platterd behind a line of RATE; its page is at line.url."""
    daemon = platterd(slots=("export = unix\ngrace = 60\n",))
    with Wan(build, to=f"127.0.0.1:{daemon.port}", delay=0.005, rate=RATE) as wan:
        wan.url = f"http://127.0.0.1:{wan.port}/"
        wan.daemon = daemon
        yield wan


class Copy:
    """nbdcopy of the whole drive, running."""

    def __init__(self, daemon, to):
        self.to = to
        uri = f"nbd+unix:///?socket={daemon.socket()}"
        self.process = subprocess.Popen(["nbdcopy", "--connections=1", uri, to],
                                        stderr=subprocess.PIPE, text=True)

    def check(self, image):
        """Waits for its end; every byte is right."""
        _, errors = self.process.communicate(timeout=90)
        assert self.process.returncode == 0, errors
        assert self.to.read_bytes() == image.read_bytes()


@pytest.fixture
def copy(line, workdir):
    started = []

    def start():
        started.append(Copy(line.daemon, workdir / "copy.img"))
        return started[-1]
    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def passed(line, least):
    """Waits until so many more bytes have come from the page."""
    goal = line.passed()["up"] + least
    wait_until(lambda: line.passed()["up"] >= goal, f"{least} bytes more", 60)


def test_cuts(line, image, copy):
    """Every cut is followed by a return, at once where the line is there at once."""
    with Page(line.url, image, "disk") as page:
        page.wait_for_state("serving")
        running = copy()
        for seconds in (0, 0.3, 1.5):
            passed(line, 4 * MIB)
            line.cut(seconds)
            line.wait_over("cut")
        running.check(image)
        page.forget()
        page.wait_for_state("serving")
        page.disconnect()


def test_stall(line, image, copy):
    """A line on which nothing moves is given up after 6 s, and taken up when it moves again."""
    with Page(line.url, image, "disk") as page:
        page.wait_for_state("serving")
        running = copy()
        passed(line, 4 * MIB)
        line.stall(30)
        page.wait_for_state("suspended")
        line.stall(0)
        page.retry()
        running.check(image)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGUSR2])
def test_restart(line, programs, image, copy, how):
    """The page finds its drive again in the platterd that follows one that has gone at once."""
    with Page(line.url, image, "disk") as page:
        page.wait_for_state("serving")
        old = line.daemon
        old.program.stop(how)
        page.wait_for_state("suspended")
        line.daemon = Platterd(programs, old.port, old.config)
        page.forget()
        page.wait_for_state("serving")
        line.set_rate(0)
        copy().check(image)


def test_reload(line, image, copy, workdir):
    """After a reload the page takes the same file, and no other."""
    with Page(line.url, image, "disk") as page:
        page.wait_for_state("serving")
        running = copy()
        passed(line, 4 * MIB)
        page.reload()
        page.wait_for_state("waiting")
        other = workdir / "other.img"
        other.write_bytes(b"other")
        page.choose_again(other)
        assert "another file" in page.wait_until_wrong()["wrong"]

        # By name, size and date it is the same: only the device can tell.
        forged = workdir / "forged" / image.name
        forged.parent.mkdir()
        forged.write_bytes(os.urandom(SIZE))
        shutil.copystat(image, forged)
        page.choose_again(forged)
        refused = page.wait_until_wrong()
        assert refused["code"] == 4005 and "content" in refused["text"], refused

        page.choose_again(image)
        page.wait_for_state("serving")
        running.check(image)


def test_given_up(line, image):
    """A person who has lost the file frees the drive."""
    with Page(line.url, image, "disk") as page:
        page.wait_for_state("serving")
        page.reload()
        page.wait_for_state("waiting")
        ended = page.remove()
        assert ended["title"] == "Disconnected", ended
        wait_until(lambda: b'"state":"idle"' in
                   urllib.request.urlopen(f"{line.url}api/slots").read(), "the drive is free")
