# SPDX-License-Identifier: Apache-2.0
"""A 100 Mbit/s line between the far end and the device: is it filled, and how long does a read
take that comes out of nowhere?

nbdkit's pattern plugin is the far end: every byte of it differs from its neighbours and none is
zero, so that all of it has to travel. Between it and the relay stands bench/wan.
"""
import statistics

import reader
from reader import KIB, MIB
from result import Peers, Result, percentile
from rig import LINE_RATE, Rig, say

ROUND_TRIPS = (20, 50, 100, 200)  # ms
IMAGE = 128 * MIB
RATE = LINE_RATE / 8
JUMPS_LOADED = 200
JUMPS_COLD = 40
# What a host has open when it reads a USB drive in order: one command at a time.
HOST = {"request": 128 * KIB, "depth": 1}


def line_rig(rig, round_trip, size):
    """A fresh far end, line and relay: nothing is cached, nothing has been learned."""
    far = rig.nbdkit("-r", "pattern", str(size))
    _, socket = rig.line(far.socket, round_trip / 2000)
    return rig.relay(socket), socket


def filled_once(round_trip, **reading):
    """Bytes per second of a whole image, from the first connection on."""
    with Rig() as rig:
        relay, _ = line_rig(rig, round_trip, IMAGE)
        done, seconds = reader.sequential(relay.uri, **reading)
        relay.stop()
        return done / seconds


def straight_once(round_trip):
    """The same line without Platter, read as a host reads: a megabyte tells enough."""
    with Rig() as rig:
        far = rig.nbdkit("-r", "pattern", str(IMAGE))
        _, socket = rig.line(far.socket, round_trip / 2000)
        done, seconds = reader.sequential(f"nbd+unix:///?socket={socket}", length=2 * MIB, **HOST)
        return done / seconds


def line(runs):
    """Sequential read at the export over the rate of the line."""
    for round_trip in ROUND_TRIPS:
        many, single, peers = [], [], Peers()
        for run in range(runs):
            many.append(filled_once(round_trip) / RATE)
            single.append(filled_once(round_trip, **HOST) / RATE)
            peers.add("one at a time, without platter", straight_once(round_trip) / RATE)
            say(f"line {round_trip} ms, run {run + 1}: {many[-1]:.3f} with 16 reads at a time, "
                f"{single[-1]:.3f} with one")
        yield Result(f"line filled, {round_trip} ms", "of the line", many, at_least=0.92,
                     peers=peers.medians())
        yield Result(f"line filled by one read at a time, {round_trip} ms", "of the line", single,
                     at_least=0.92, peers=peers.medians())


def jump_once(round_trip, run):
    """The p99 of random reads beside a stream, in round trips, and the stream's share."""
    size = 4096 * MIB
    with Rig() as rig:
        relay, _ = line_rig(rig, round_trip, size)
        # Until the line is full, a jump is a cold one.
        with reader.Stream(relay.uri, length=size // 2, request=128 * KIB, depth=2) as stream:
            reader.jumps(relay.uri, 2000 // round_trip, size // 2, size // 4, seed=run)
            times = reader.jumps(relay.uri, JUMPS_LOADED, size * 3 // 4, size // 4, seed=run)
        relay.stop()
        worst = percentile(times, 0.99) * 1000 / round_trip
        return worst, statistics.median(times) * 1000 / round_trip, stream.rate / RATE


def jump(runs):
    """Random 4 KiB reads while a sequential stream fills the line: the 99th of a hundred."""
    for round_trip in ROUND_TRIPS:
        worst, peers = [], Peers()
        for run in range(runs):
            p99, median, share = jump_once(round_trip, run)
            worst.append(p99)
            peers.add("median", median)
            peers.add("line filled by the stream", share)
            say(f"jump {round_trip} ms, run {run + 1}: {p99:.2f} round trips, median {median:.2f}, "
                f"the stream has {share:.2f} of the line")
        yield Result(f"jump under load, p99, {round_trip} ms", "round trips", worst, at_most=2.5,
                     peers=peers.medians())


def cold_once(round_trip, run):
    size = 1024 * MIB
    with Rig() as rig:
        relay, socket = line_rig(rig, round_trip, size)
        times = reader.jumps(relay.uri, JUMPS_COLD, 0, size, seed=run)
        relay.stop()
        bare = reader.jumps(f"nbd+unix:///?socket={socket}", JUMPS_COLD // 2, 0, size, seed=run)
        return [statistics.median(one) * 1000 / round_trip for one in (times, bare)]


def cold(runs):
    """Random 4 KiB reads one at a time on the idle line: the median."""
    for round_trip in ROUND_TRIPS:
        medians, peers = [], Peers()
        for run in range(runs):
            ours, bare = cold_once(round_trip, run)
            medians.append(ours)
            peers.add("without platter", bare)
        say(f"cold jump {round_trip} ms: {statistics.median(medians):.3f} round trips")
        yield Result(f"cold jump, median, {round_trip} ms", "round trips", medians, at_most=1.1,
                     peers=peers.medians())


ROWS = {"line": line, "jump": jump, "cold": cold}
