# SPDX-License-Identifier: Apache-2.0
"""Without a network and without a browser: how fast are source, engine and export by themselves,
and what do they cost? nbdkit's memory plugin is the far end; nbdkit's own proxy, its nbd plugin,
stands in the relay's place as the peer.
"""
import statistics
import subprocess

from rig import Rig, nbdcopy, need, say
from result import Peers, Result

GIB = 1 << 30
SIZE = 512 << 20


def filled_memory(rig):
    """nbdkit's memory plugin, every block of it written with what cannot be left out."""
    need("nbdcopy")
    far = rig.nbdkit("memory", str(SIZE))
    subprocess.run(["nbdcopy", str(rig.noise("noise", SIZE)), far.uri], check=True, timeout=300)
    return far


def copied(served):
    """Bytes per second, and CPU seconds per GiB, of one copy."""
    before = served.cpu()
    seconds = nbdcopy(served.uri)
    return SIZE / seconds, (served.cpu() - before) * GIB / SIZE


def loopback(runs):
    """Through the export `unix` from nbdkit, over nbdkit's own proxy; and what that costs."""
    speeds, costs, copies, peers, cost_peers = [], [], [], Peers(), Peers()
    with Rig() as rig:
        far = filled_memory(rig)
        proxy = rig.nbdkit("-r", "nbd", f"socket={far.socket}")
        for run in range(runs):
            straight, far_cost = copied(far)
            theirs, their_cost = copied(proxy)
            relay = rig.relay(far.socket)
            ours, our_cost = copied(relay)
            told = relay.counters()
            relay.stop()
            copies.append(told["bytes_copied"] / told["bytes_read"])
            speeds.append(ours / theirs)
            costs.append(our_cost)
            for name, value in (("platter MB/s", ours), ("nbdkit's proxy MB/s", theirs),
                                ("nbdcopy straight MB/s", straight)):
                peers.add(name, value / 1e6)
            cost_peers.add("nbdkit's proxy", their_cost)
            cost_peers.add("nbdkit itself", far_cost)
            say(f"loopback, run {run + 1}: {ours / 1e6:.0f} MB/s, nbdkit's proxy "
                f"{theirs / 1e6:.0f}, straight {straight / 1e6:.0f}; "
                f"{our_cost:.2f} CPU s/GiB, nbdkit's proxy {their_cost:.2f}")
        proxy.stop()  # before the far end, which waits for its connection
    yield Result("loopback, no browser", "of nbdkit's proxy", speeds, at_least=0.70,
                 peers=peers.medians())
    yield Result("cost", "CPU s per GiB", costs,
                 peers=cost_peers.medians() | {"ours over theirs": statistics.median(costs)
                                               / cost_peers.medians()["nbdkit's proxy"]})
    yield Result("bytes copied", "of bytes read", copies, at_most=1.05)


ROWS = {"loopback": loopback}
