# SPDX-License-Identifier: Apache-2.0
"""From Chromium's page, on one machine without a network: platterd and the export `unix` against a
bare WebSocket transfer of the same frames, from the same Chromium, into a program that drops them.

The frames are the same in size: the bare transfer sends messages as long as the replies to what the
engine asked in the same run. Both ends drop the bytes, in memory that serves again: a program that
takes new memory for each read, as nbdcopy does, costs more than platterd, of the same processors.
"""
import json
import re
import urllib.request

from chromium import Chromium
from reader import sequential
from result import NotMeasured, Peers, Result
from rig import BUILD, TOP, Rig, cpu_seconds, need, say, wait_until

SIZE = 256 << 20
GIB = 1 << 30
HEAD = 28  # of a structured reply's one chunk of data
# Replies are longer than this by whole steps, and what is much longer leaves in parts.
ASK_STEP, ASK_MAX = 64 << 10, 256 << 10


class Browser:
    """One Chromium with two tabs: Platter's page, its file picked, and the bench's own."""

    def __init__(self, chromium, url, file, sink):
        self._chromium = chromium
        self._page = chromium.open(url)
        self._bare = chromium.open(sink)
        chromium.pick(self._bare, "#file", file)
        chromium.wait(self._page, "document.querySelector('#file') !== null")
        chromium.pick(self._page, "#file", file)
        chromium.click(self._page, "input[name=kind][value=disk]")

    def connect(self):
        self._chromium.click(self._page, "button[type=submit]:enabled")
        self._until("serving")

    def disconnect(self):
        self._chromium.click(self._page, "#disconnect")
        self._until("ended")

    def _until(self, state):
        self._chromium.wait(self._page, "document.querySelector('platter-app').dataset.state"
                            f" === '{state}'")

    def send(self, count, message, from_file):
        """Sends that many bytes in messages of that length; when all have left."""
        self._chromium.evaluate(self._bare, f"send({count}, {message}, {json.dumps(from_file)})")


def counters(daemon):
    with urllib.request.urlopen(f"{daemon.url}/api/slots", timeout=20) as answer:
        return json.load(answer)["slots"][0]["counters"]


def served_once(browser, daemon):
    """Bytes per second through the drive, the mean length of what was asked for, and CPU seconds
    of platterd per GiB."""
    before = cpu_seconds(daemon.program.pid)
    browser.connect()
    count, seconds = sequential(f"nbd+unix:///?socket={daemon.socket()}")
    told = counters(daemon)
    browser.disconnect()
    cost = (cpu_seconds(daemon.program.pid) - before) * GIB / SIZE
    asks = told.get("asks") or told["requests"]
    assert count == SIZE, f"{count} bytes came of {SIZE}"
    return SIZE / seconds, told.get("bytes_fetched", SIZE) // asks, cost


def message_of(ask):
    """The length of a message that the page sends, near that of the mean ask. The mean itself is
    none: Chromium's network service takes some such lengths at half the speed."""
    steps = max(1, round(ask / ASK_STEP))
    return min(steps * ASK_STEP, ASK_MAX) + HEAD


def dropped(sink):
    """What it has said so far, a transfer each: bytes and microseconds."""
    return re.findall(r"dropped (\d+) in (\d+)\n", sink.text())


def bare_once(browser, sink, message, from_file):
    """Bytes per second into the program that drops them."""
    said = len(dropped(sink))
    browser.send(SIZE, message, from_file)
    wait_until(lambda: len(dropped(sink)) > said, "the program has dropped everything", 30)
    count, microseconds = dropped(sink)[-1]
    assert int(count) == SIZE, f"{count} bytes came of {SIZE}"
    return SIZE / int(microseconds) * 1e6


def browser(runs):
    """Through the export `unix` from Chromium's page, over a bare WebSocket from it."""
    need("chromium")
    if not (TOP / "web/dist/index.html").exists():
        raise NotMeasured("the page is not built: run ./dev build")
    ratios, costs, peers = [], [], Peers()
    with Rig() as rig:
        image = rig.noise("noise.img", SIZE)
        sink = rig.programs.start("sink", [BUILD / "bench/sink", TOP / "bench/page"])
        where = sink.wait_for(r"the page is at (http://\S+)")[1]
        daemon = rig.platterd()
        chromium = rig.enter(Chromium(rig.path("chromium")))
        driver = Browser(chromium, f"{daemon.url}/", image, where)
        for run in range(runs):
            ours, ask, cost = served_once(driver, daemon)
            message = message_of(ask)
            bare = bare_once(driver, sink, message, False)
            filed = bare_once(driver, sink, message, True)
            ratios.append(ours / bare)
            costs.append(cost)
            peers.add("platter MB/s", ours / 1e6)
            peers.add("bare WebSocket MB/s", bare / 1e6)
            peers.add("bare WebSocket, from the file MB/s", filed / 1e6)
            peers.add("of that", ours / filed)
            peers.add("KiB an ask", ask / 1024)
            peers.add("KiB a message", message / 1024)
            say(f"browser, run {run + 1}: {ours / 1e6:.0f} MB/s, bare {bare / 1e6:.0f}, bare from "
                f"the file {filed / 1e6:.0f} in messages of {message // 1024} KiB; "
                f"{cost:.2f} CPU s/GiB")
    yield Result("loopback, Chromium", "of bare WebSocket", ratios, at_least=0.80,
                 peers=peers.medians())
    yield Result("cost, Chromium", "CPU s per GiB", costs)


ROWS = {"browser": browser}
