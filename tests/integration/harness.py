# SPDX-License-Identifier: Apache-2.0
"""Programs under test: started, watched, stopped, and their logs read.

Nothing here sleeps for luck: wait_until() asks a condition again and again until it holds or its
time is up. Every program runs with the sanitizers writing reports into the work directory; a report
fails the test that caused it, whatever else the test thinks.
"""
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PLATTER_BUILD", TOP / "build-asan")).resolve()
PAGE = TOP / "web/dist"
NOBODY = 65534
# The code a sanitizer ends its program with; no program of ours ends with it.
SANITIZER_EXIT = 99


def wait_until(condition, what, timeout=10.0):
    """The condition's first true value; AssertionError with `what` when it took too long."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout} s still not: {what}")
        time.sleep(0.02)


# Ports below those that the system gives to clients, a share for each process of the tests: what
# one has found free is not taken by another, or by somebody's connection, before it listens there.
SHARES, SHARE = 6, 4000
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % SHARES
FIRST_PORT = 8192 + WORKER * SHARE
port_turns = itertools.count(os.getpid())  # two runs on one machine do not begin with the same


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    """A TCP port that nobody listens on now."""
    for turn in itertools.islice(port_turns, SHARE):
        port = FIRST_PORT + turn % SHARE
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError("no port is free")


class Program:
    """One running program, its output in a log file."""

    def __init__(self, name, argv, log, **popen):
        self.name, self.log = name, log
        with log.open("wb") as out:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            self.process = subprocess.Popen([str(word) for word in argv], **{**streams, **popen})
        self.pid = self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def running(self):
        return self.process.poll() is None

    def wait_for(self, pattern, timeout=10.0):
        """The match of a regular expression in what it has printed so far; fails at once when the
        program ends without it."""
        def found():
            match = re.search(pattern, self.text())
            if not match and not self.running():
                match = re.search(pattern, self.text())
                assert match, f"{self.name} ended without '{pattern}':\n{self.text()}"
            return match
        try:
            return wait_until(found, f"{self.name} prints '{pattern}'", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text()}") from None

    def wait(self, timeout=10.0):
        """Its exit code, once it has ended by itself."""
        return self.process.wait(timeout)

    def stop(self, number=signal.SIGTERM, timeout=10.0):
        """Sends the signal and waits; the exit code (negative: the signal that ended it)."""
        if self.running():
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self):
        return self.stop(signal.SIGKILL)

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        """What it has used of the processor so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


class Programs:
    """All programs of one test, and the directory they live in."""

    def __init__(self, workdir):
        self.workdir = workdir
        self.started = []

    def start(self, name, argv, env=None, unprivileged=False, **popen):
        """Starts a program of any origin; `unprivileged`: as nobody, when the tests run as root."""
        log = self.workdir / f"{name}-{len(self.started)}.log"
        report = self.workdir / "sanitizer"
        options = {
            "ASAN_OPTIONS": f"detect_leaks=1:exitcode={SANITIZER_EXIT}:log_path={report}",
            "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:exitcode={SANITIZER_EXIT}:"
                             f"log_path={report}",
        }
        user = {}
        if unprivileged and os.geteuid() == 0:
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        program = Program(name, argv, log, env={**os.environ, **options, **(env or {})},
                          cwd=self.workdir, **user, **popen)
        self.started.append(program)
        return program

    def install(self, path):
        """A copy of one of our programs that nobody can run, wherever the checkout lies."""
        copy = self.workdir / Path(path).name
        if not copy.exists():
            shutil.copy2(BUILD / path, copy)
            copy.chmod(0o755)
        return copy

    def check(self):
        """Ends what still runs; returns what was wrong: sanitizer reports and crashes."""
        wrong = []
        for program in self.started:
            expected_kill = not program.running()
            if program.running():
                try:
                    program.stop()
                except subprocess.TimeoutExpired:
                    program.kill()
                    wrong.append(f"{program.name} did not end within 10 s of SIGTERM")
            code = program.process.returncode
            if code == SANITIZER_EXIT or code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):
                wrong.append(f"{program.name} crashed with code {code}:\n{program.text()[-4000:]}")
            elif code == -signal.SIGKILL and not expected_kill:
                wrong.append(f"{program.name} had to be killed")
        for report in sorted(self.workdir.glob("sanitizer.*")):
            wrong.append(f"{report.name}:\n{report.read_text(errors='replace')[:8000]}")
        return wrong


class Platterd:
    """platterd with a configuration of its own, started and listening."""

    def __init__(self, programs, port, config, env=None):
        self.port, self.config = port, config
        self.url = f"http://127.0.0.1:{port}"
        self.runtime_dir = programs.workdir / "run"
        argv = [programs.install("src/daemon/platterd"), "--config", config]
        self.program = programs.start("platterd", argv, unprivileged=True, env=env)
        self.program.wait_for(re.escape(f"the page is at {self.url}/"))

    def socket(self, slot=0):
        """The unix export's socket of a slot."""
        return self.runtime_dir / f"slot-{slot}.sock"

    def slot(self, slot=0):
        """What the API says of a slot."""
        with urllib.request.urlopen(f"{self.url}/api/slots", timeout=10) as answer:
            return json.load(answer)["slots"][slot]

    def wait_state(self, state, slot=0, timeout=10.0):
        return wait_until(lambda: self.slot(slot)["state"] == state, f"slot {slot} is {state}",
                          timeout)

    def end(self, slot=0):
        """Ends the session at the device's side, and waits until the slot is free."""
        post = urllib.request.Request(f"{self.url}/api/slots/{slot}/end", method="POST",
                                      headers={"Origin": self.url})
        with urllib.request.urlopen(post, timeout=10) as answer:
            assert answer.status == 204
        self.wait_state("idle", slot)

    def websocket_url(self, slot=0, kind="disk", name="test.img"):
        return f"ws://127.0.0.1:{self.port}/api/slots/{slot}/media?kind={kind}&name={name}"


def write_config(workdir, port, daemon="", slots=("export = unix\n",), rest="", has_page=True):
    """A configuration file in the work directory: one unix slot unless told otherwise."""
    run, page = workdir / "run", workdir / "page"
    run.mkdir(exist_ok=True)
    if not page.exists():
        if PAGE.is_dir():
            shutil.copytree(PAGE, page)
        else:
            page.mkdir()
            (page / "index.html").write_text("<!doctype html><title>Platter</title>\n")
    text = (f"[daemon]\nlisten = 127.0.0.1:{port}\npage = {page if has_page else 'none'}\n"
            f"runtime_dir = {run}\n{daemon}")
    for number, body in enumerate(slots):
        text += f"[slot {number}]\n{body}"
    config = workdir / "platter.conf"
    config.write_text(text + rest)
    if os.geteuid() == 0:
        for path in (run, page, *page.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    return config
