# SPDX-License-Identifier: Apache-2.0
"""From Chromium's page, on one machine without a network: platterd and the export `unix` against a
bare WebSocket transfer of the same frames, from the same Chromium, into a program that drops them.

The frames are the same in size: the bare transfer sends messages as long as the replies to what the
engine asked in the same run.
"""
import json
import re
import subprocess
import urllib.request

from harness import BUILD
from result import NotMeasured, Peers, Result
from rig import TOP, Rig, cpu_seconds, nbdcopy, need, say

SIZE = 256 << 20
GIB = 1 << 30
HEAD = 28  # of a structured reply's one chunk of data


class Browser:
    """bench/browser.mjs, as a context."""

    def __init__(self, url, file, sink, log):
        self._argv = ["node", TOP / "bench/browser.mjs", "--url", url, "--file", file,
                      "--sink", sink]
        self._log = log
        self._process = None

    def __enter__(self):
        with self._log.open("wb") as errors:
            self._process = subprocess.Popen([str(word) for word in self._argv], text=True,
                                             bufsize=1, stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, stderr=errors)
        self._answer()
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the browser has gone: {self._log.read_text()[-2000:]}")
        return json.loads(line)

    def do(self, *words):
        self._process.stdin.write(" ".join(str(word) for word in words) + "\n")
        return self._answer()


def counters(daemon):
    with urllib.request.urlopen(f"{daemon.url}/api/slots", timeout=20) as answer:
        return json.load(answer)["slots"][0]["counters"]


def served_once(browser, daemon):
    """Bytes per second through the drive, the mean length of what was asked for, and CPU seconds
    of platterd per GiB."""
    before = cpu_seconds(daemon.program.pid)
    browser.do("connect")
    seconds = nbdcopy(f"nbd+unix:///?socket={daemon.socket()}")
    told = counters(daemon)
    browser.do("disconnect")
    cost = (cpu_seconds(daemon.program.pid) - before) * GIB / SIZE
    asks = told.get("asks") or told["requests"]
    return SIZE / seconds, told.get("bytes_fetched", SIZE) // asks, cost


def bare_once(browser, sink, message):
    said = len(re.findall(r"dropped ", sink.text()))
    browser.do("send", SIZE, message)
    sink.wait_for(rf"(?s)(?:dropped .*){{{said + 1}}}")
    count, microseconds = re.findall(r"dropped (\d+) in (\d+)", sink.text())[-1]
    assert int(count) == SIZE, f"{count} bytes came of {SIZE}"
    return SIZE / int(microseconds) * 1e6


def browser(runs):
    """Through the export `unix` from Chromium's page, over a bare WebSocket from it."""
    need("node", "chromium", "nbdcopy")
    if not (TOP / "web/dist/index.html").exists():
        raise NotMeasured("the page is not built: run ./dev build")
    ratios, costs, peers = [], [], Peers()
    with Rig() as rig:
        image = rig.noise("noise.img", SIZE)
        sink = rig.programs.start("sink", [BUILD / "bench/sink", TOP / "bench/page"])
        where = sink.wait_for(r"the page is at (http://\S+)")[1]
        daemon = rig.platterd()
        driver = rig.enter(Browser(f"{daemon.url}/", image, where, rig.path("browser")))
        for run in range(runs):
            ours, message, cost = served_once(driver, daemon)
            bare = bare_once(driver, sink, message + HEAD)
            ratios.append(ours / bare)
            costs.append(cost)
            peers.add("platter MB/s", ours / 1e6)
            peers.add("bare WebSocket MB/s", bare / 1e6)
            peers.add("KiB a message", message / 1024)
            say(f"browser, run {run + 1}: {ours / 1e6:.0f} MB/s, bare {bare / 1e6:.0f} in messages "
                f"of {message // 1024} KiB; {cost:.2f} CPU s/GiB")
    yield Result("loopback, Chromium", "of bare WebSocket", ratios, at_least=0.80,
                 peers=peers.medians())
    yield Result("cost, Chromium", "CPU s per GiB", costs)


ROWS = {"browser": browser}
