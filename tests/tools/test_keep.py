# SPDX-License-Identifier: Apache-2.0
"""tools/dev/keep.sh, which `./dev run` keeps platterd and platter-helper running with: what dies is
started again, what cannot start is said, and nothing is left when its pipe ends."""
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

KEEP = Path(__file__).resolve().parents[2] / "tools/dev/keep.sh"


def wait_until(condition, what, timeout=20.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"after {timeout} s still not: {what}"
        time.sleep(0.05)


@pytest.fixture
def keep(tmp_path):
    """A function that keeps `script` running, with $PIDS to write to; it ends with the test."""
    running = []

    def start(script):
        process = subprocess.Popen(
            [KEEP, "thing", "sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PIDS": str(tmp_path / "pids")})
        running.append(process)
        return process

    start.pids = lambda: [int(pid) for pid in (tmp_path / "pids").read_text().split()] \
        if (tmp_path / "pids").exists() else []
    yield start
    for process in running:
        process.stdin.close()
        process.wait(20)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_dies_is_started_again_and_ends_with_the_pipe(keep):
    began = time.monotonic()
    process = keep("echo $$ >>$PIDS; exec sleep 600")
    wait_until(lambda: len(keep.pids()) == 1, "the first start")
    # A program that lived for less than two seconds counts as one that cannot start.
    wait_until(lambda: time.monotonic() - began > 3, "three seconds of life")
    os.kill(keep.pids()[0], signal.SIGKILL)
    wait_until(lambda: len(keep.pids()) == 2, "the second start")
    second = keep.pids()[1]
    assert is_alive(second)
    process.stdin.close()
    assert process.wait(20) == 0
    assert not is_alive(second)


def test_what_cannot_start_is_said_once(keep):
    process = keep("echo $$ >>$PIDS; exit 3")
    assert process.wait(20) == 1
    assert "thing ended as soon as it was started (exit code 3)" in process.stderr.read()
    assert len(keep.pids()) == 1
