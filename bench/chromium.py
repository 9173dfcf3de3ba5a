# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over its debugging pipe with as little as possible.

Not with Playwright, as the tests are: that has every WebSocket frame reported to it, with its
content, and the browser would spend as much on telling of the bytes as on sending them.
"""
import json
import os
import shutil
import subprocess
import tempfile

from harness import wait_until

ARGUMENTS = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage"]


class Chromium:
    """As a context; a tab is the identifier that open() returns."""

    def __init__(self, log):
        self._log = log
        self._profile = tempfile.mkdtemp(prefix="platter-chromium-")
        self._process = self._to = self._from = None
        self._last = 0

    def __enter__(self):
        command = [os.environ.get("PLATTER_CHROMIUM", "chromium"), *ARGUMENTS,
                   f"--user-data-dir={self._profile}"]
        if os.geteuid() == 0 or os.environ.get("PLATTER_NO_SANDBOX") == "1":
            command.append("--no-sandbox")
        its_in, to = os.pipe()
        from_, its_out = os.pipe()
        with self._log.open("wb") as log:
            # It reads from descriptor 3 and writes to 4.
            self._process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "bash", *command],
                pass_fds=(its_in, its_out), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        os.close(its_in)
        os.close(its_out)
        self._to, self._from = os.fdopen(to, "wb"), os.fdopen(from_, "rb")
        self._kept = b""
        return self

    def __exit__(self, *_):
        try:
            self._call("Browser.close")
            self._process.wait(15)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._to.close()
        self._from.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    @property
    def pid(self):
        return self._process.pid

    def open(self, url):
        """A new tab, its page loaded."""
        target = self._call("Target.createTarget", url=url)["targetId"]
        tab = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.wait(tab, "document.readyState === 'complete' && location.href !== 'about:blank'")
        return tab

    def evaluate(self, tab, script):
        """The value of an expression in the page, a promise's once it is kept."""
        said = self._call("Runtime.evaluate", tab, expression=script, awaitPromise=True,
                          returnByValue=True, userGesture=True)
        if "exceptionDetails" in said:
            raise RuntimeError(f"`{script}`: {said['exceptionDetails']}")
        return said["result"].get("value")

    def wait(self, tab, condition, timeout=60):
        wait_until(lambda: self.evaluate(tab, condition), f"`{condition}` in the page", timeout)

    def click(self, tab, selector):
        """Clicks what the selector finds, once it is there."""
        self.wait(tab, f"document.querySelector({json.dumps(selector)}) !== null")
        self.evaluate(tab, f"document.querySelector({json.dumps(selector)}).click()")

    def pick(self, tab, selector, file):
        """Gives a file input its file."""
        root = self._call("DOM.getDocument", tab)["root"]["nodeId"]
        node = self._call("DOM.querySelector", tab, nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", tab, nodeId=node, files=[str(file)])

    def _call(self, method, session=None, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:  # past what it tells unasked
            answer = self._receive()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"Chromium: {method}: {answer['error']}")
                return answer["result"]

    def _receive(self):
        while b"\0" not in self._kept:
            got = os.read(self._from.fileno(), 1 << 16)
            if not got:
                raise RuntimeError(f"Chromium has gone: {self._log.read_text()[-2000:]}")
            self._kept += got
        line, self._kept = self._kept.split(b"\0", 1)
        return json.loads(line)
