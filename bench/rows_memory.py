# SPDX-License-Identifier: Apache-2.0
"""What platterd holds beside its caches while four drives are read at once, in order and at random,
from four far ends over WebSockets."""
import re
import threading
from pathlib import Path

import reader
from far_end import FarEnd
from far_end_main import Noise
from reader import MIB
from result import Result
from rig import CACHE, Rig, say

SLOTS = 4

IMAGE = 256 * MIB
JUMPS = 400


def anonymous(pid):
    """Bytes of the process's own memory that are resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) << 10


def busy_once(run):
    with Rig() as rig:
        daemon = rig.platterd(("export = unix\n",) * SLOTS)
        idle = anonymous(daemon.program.pid)
        noise = Noise(IMAGE)
        uris = [f"nbd+unix:///?socket={daemon.socket(slot)}" for slot in range(SLOTS)]
        for slot in range(SLOTS):
            rig.enter(FarEnd(daemon.port, noise, slot)).wait_state("serving")
        work = []
        for uri in uris:
            work.append(threading.Thread(target=reader.sequential, args=(uri,)))
            work.append(threading.Thread(target=reader.jumps, args=(uri, JUMPS, 0, IMAGE, run)))
        most = 0
        for one in work:
            one.start()
        while any(one.is_alive() for one in work):
            most = max(most, anonymous(daemon.program.pid))
            work[0].join(0.02)
        return most, idle


def memory(runs):
    """platterd's own memory with four busy slots, less what their caches may hold."""
    over = []
    for run in range(runs):
        most, idle = busy_once(run)
        over.append((most - SLOTS * CACHE) / MIB)
        say(f"memory, run {run + 1}: {most / MIB:.1f} MiB with {SLOTS} busy slots, "
            f"{idle / MIB:.1f} without a session")
    yield Result("memory over the caches", "MiB", over, at_most=16,
                 peers={"all, busy": most / MIB, "all, idle": idle / MIB})


ROWS = {"memory": memory}
