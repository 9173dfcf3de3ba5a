# SPDX-License-Identifier: Apache-2.0
"""bench/wan, the line of a given length and width, for tests and benchmarks in Python.

    with Wan(build, to="127.0.0.1:8080", delay=0.05, rate=100e6) as line:
        connect_to(line.port)
        line.cut(5)          # every connection is reset, and new ones are refused for 5 s
        line.wait_over("cut")
"""
import subprocess
import threading
import time
from pathlib import Path


class Wan:
    """One line. `to` and `at` are addresses as bench/wan takes them; `delay` is one way, in
    seconds; `rate` in bits a second, 0 for as many as come."""

    def __init__(self, build, to, at="127.0.0.1:0", delay=0.0, rate=0.0):
        self.argv = [Path(build) / "bench/wan", "--listen", at, "--connect", to,
                     "--delay", repr(delay * 1000), "--rate", str(int(rate))]
        self._said = []
        self._over = False
        self._changed = threading.Condition()
        self._commands = threading.Lock()
        self.process = None
        self.address = None

    def __enter__(self):
        self.process = subprocess.Popen([str(word) for word in self.argv], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True).start()
        self.address = self._wait_from(0, "ready ").split(" ", 1)[1]
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        code = self.process.wait(10)
        assert code == 0, f"wan ended with {code}"

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def set_delay(self, seconds):
        self._command(f"delay {seconds * 1000!r}")

    def set_rate(self, bits):
        self._command(f"rate {int(bits)}")

    def stall(self, seconds):
        """Nothing moves for so long; 0 ends it."""
        self._command(f"stall {seconds!r}")

    def cut(self, seconds=0.0):
        """Resets every connection and refuses new ones for so long; 0 ends it."""
        self._command(f"cut {seconds!r}")

    def passed(self):
        """Bytes that have gone up and down, and how many connections there are."""
        words = self._command("status", "status ").split()
        return {"connections": int(words[2]), "up": int(words[4]), "down": int(words[6])}

    def wait_over(self, what, timeout=60.0):
        """Waits for the end of the last stall or cut."""
        with self._changed:
            begun = max(i for i, line in enumerate(self._said) if line == f"ok {what}")
        self._wait_from(begun, f"over {what}", timeout)

    def _command(self, line, answer="ok "):
        with self._commands:
            begun = len(self._said)
            self.process.stdin.write(f"{line}\n")
            return self._wait_from(begun, answer)

    def _wait_from(self, begun, start, timeout=10.0):
        """The first line since number `begun` that starts so."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self._said[begun:]:
                    if line.startswith(start):
                        return line
                    assert not line.startswith("error"), line
                left = end - time.monotonic()
                assert left > 0 and not self._over, f"wan never said '{start}', but {self._said}"
                self._changed.wait(left)

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self._said.append(line.strip())
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()
