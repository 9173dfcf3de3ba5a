# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration tests. PLATTER_BUILD names the build directory (build-asan/)."""
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from dbus_client import Bus, Caller, listens, media_socket
from harness import BUILD, NOBODY, Platterd, Programs, free_port, wait_until, write_config
from relay import RELAY, Relay


@pytest.fixture(scope="session")
def build():
    """The build directory under test."""
    if not (BUILD / "build.ninja").exists():
        pytest.exit(f"there is no build in {BUILD}: run ./dev test integration", returncode=2)
    return BUILD


@pytest.fixture
def workdir():
    """An empty directory with a path short enough for a unix socket, nobody's when we are root."""
    path = Path(tempfile.mkdtemp(prefix="platter-"))
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def programs(build, workdir):
    """Starts programs, stops them after the test, and fails it on any sanitizer report or crash."""
    started = Programs(workdir)
    yield started
    wrong = started.check()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def platterd(programs, workdir):
    """A function that starts platterd: platterd(slots=("export = unix\\n",), daemon="...\\n").
    With the port of one that has ended it is that one's successor, in the same directories."""
    def start(env=None, port=None, **config):
        port = port or free_port()
        return Platterd(programs, port, write_config(workdir, port, **config), env)
    return start


@pytest.fixture
def far_end(programs, workdir):
    """Starts nbdkit, listening on a unix socket; a function of its arguments."""
    def start(*argv):
        path = workdir / f"far-{len(programs.started)}.sock"
        programs.start("nbdkit", ["nbdkit", "-f", "--exit-with-parent", "-U", path, *argv])
        wait_until(path.is_socket, "nbdkit listens")
        return path
    return start


@pytest.fixture
def relay(programs, workdir, build):
    """Starts the relay before a far end's socket. It ends first, for nbdkit waits for clients."""
    started = []

    def start(far_socket, *argv):
        path = workdir / f"relay-{len(programs.started)}.sock"
        program = programs.start(
            "test-relay", [build / RELAY, "--connect", far_socket, "--listen", path, *argv])
        started.append(program)
        program.wait_for(r"ready nbd\+unix:")
        return Relay(program, path)
    yield start
    for program in started:
        program.stop()


# --- D-Bus ---

@pytest.fixture
def bus(programs, workdir):
    """A bus of the test's own."""
    return Bus(programs, workdir)


@pytest.fixture
def caller(bus):
    """Somebody on it."""
    with Caller(bus.address) as caller:
        yield caller


@pytest.fixture
def device(platterd, workdir, bus):
    """platterd on it: a function of how many slots there are, and what more [dbus] says."""
    def start(slots=1, dbus=""):
        bodies = [f"export = unix\ndbus_socket = {media_socket(workdir, slot)}\n"
                  for slot in range(slots)]
        return platterd(slots=bodies, rest=f"[dbus]\nenabled = yes\nbus = {bus.address}\n{dbus}")
    return start


@pytest.fixture
def media(workdir):
    """The image of a test on D-Bus: a file of noise."""
    path = workdir / "image"
    path.write_bytes(random.Random(5).randbytes(3_000_000))
    return path


@pytest.fixture
def listen(programs, workdir):
    """nbdkit listens where a web server would, that has a browser behind it. With one thread, for
    with more it fails an assertion of its own when a client goes that has asked for much."""
    def start(image, *argv, slot=0, writable=False):
        path = media_socket(workdir, slot)
        path.unlink(missing_ok=True)
        program = programs.start(
            "nbdkit", ["nbdkit", "-f", "-t", "1", "--exit-with-parent", "-U", path,
                       *([] if writable else ["-r"]), *argv, "file", image])
        wait_until(lambda: listens(path), "nbdkit listens")
        path.chmod(0o777)
        return program
    return start


@pytest.fixture
def place(workdir):
    """A directory that is ours alone, as a helper's must be."""
    directory = workdir / "own"
    directory.mkdir(mode=0o700)
    return directory
