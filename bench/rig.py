# SPDX-License-Identifier: Apache-2.0
"""What a row is measured with: programs of the release build and their peers, in a directory of
their own, ended with the row."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
# Before the parts of the tests below ask for it: what is measured is the release build.
os.environ.setdefault("PLATTER_BUILD", str(TOP / "build-bench"))
sys.path[:0] = [str(TOP / path) for path in ("tests/integration", "tests/lab", "tests/e2e")]

from harness import BUILD, Platterd, Programs, free_port, wait_until, write_config  # noqa: E402
from result import NotMeasured  # noqa: E402
from wan import Wan  # noqa: E402

CACHE = 32 << 20  # bytes; what a slot has unless it is configured
LINE_RATE = 100_000_000  # bits a second, of every row over a line
TICKS = os.sysconf("SC_CLK_TCK")


class Rig:
    """One row's programs. A context: leaving it ends them, and fails when one of them crashed."""

    def __init__(self):
        self.workdir = Path(tempfile.mkdtemp(prefix="platter-bench-"))
        self.programs = Programs(self.workdir)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        # So that platterd, which is nobody when we are root, reaches its directory.
        self.workdir.chmod(0o755)
        return self

    def __exit__(self, kind, *_):
        try:
            self._stack.close()
            wrong = self.programs.check()
        finally:
            shutil.rmtree(self.workdir, ignore_errors=True)
        if wrong and kind is None:
            raise RuntimeError("\n".join(wrong))

    def enter(self, context):
        """Enters a context that lasts as long as the rig."""
        return self._stack.enter_context(context)

    def path(self, name):
        return self.workdir / f"{name}-{len(self.programs.started)}"

    def noise(self, name, size):
        """A file that nothing can be saved on: no holes, not to be compressed."""
        path = self.workdir / name
        with path.open("wb") as out:
            for _ in range(size >> 20):
                out.write(os.urandom(1 << 20))
        return path

    def nbdkit(self, *argv):
        """Starts nbdkit; its socket."""
        need("nbdkit")
        socket = self.path("nbdkit")
        program = self.programs.start("nbdkit", ["nbdkit", "-f", "-U", socket, *argv])
        wait_until(socket.is_socket, "nbdkit listens")
        return Served(program, socket)

    def line(self, to, delay):
        """A line to a unix socket, `delay` seconds one way; its socket at the near end."""
        socket = self.path("line")
        wan = self.enter(Wan(BUILD, f"unix:{to}", f"unix:{socket}", delay=delay, rate=LINE_RATE))
        return wan, socket

    def relay(self, far_socket, *argv):
        """Starts source/peer, the engine and the export `unix` before an NBD server's socket."""
        socket = self.path("relay")
        program = self.programs.start(
            "relay", [BUILD / "tests/integration/test-relay", "--connect", far_socket,
                      "--listen", socket,
                      "--memory", str(CACHE), *argv])
        program.wait_for(r"ready nbd\+unix:")
        return Relay(program, socket)

    def platterd(self, slots=("export = unix\n",)):
        port = free_port()
        return Platterd(self.programs, port, write_config(self.workdir, port, slots=slots))


class Served:
    """A program with a drive on a unix socket."""

    def __init__(self, program, socket):
        self.program, self.socket = program, socket
        self.uri = f"nbd+unix:///?socket={socket}"

    def cpu(self):
        """CPU seconds that it has used so far."""
        return cpu_seconds(self.program.pid)

    def stop(self):
        self.program.stop()


class Relay(Served):
    def counters(self):
        """The engine's, now."""
        told = self.program.text().count('{"reads"')
        self.program.process.send_signal(10)  # SIGUSR1
        wait_until(lambda: self.program.text().count('{"reads"') > told
                   and self.program.text().endswith("\n"), "the relay tells its counters")
        return json.loads([line for line in self.program.text().splitlines()
                           if line.startswith('{"reads"')][-1])


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise NotMeasured(f"{program} is missing: run ./dev setup")


def cpu_seconds(pid):
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def nbdcopy(uri, *options):
    """Copies all of a drive to nowhere; the seconds it took."""
    need("nbdcopy")
    begun = time.monotonic()
    subprocess.run(["nbdcopy", *options, str(uri), "null:"], check=True, timeout=300)
    return time.monotonic() - begun


def say(text):
    """A word on how far it is, for whoever watches."""
    print(f"  {text}", file=sys.stderr, flush=True)
