# SPDX-License-Identifier: Apache-2.0
"""The long forms: `./dev soak [--seed N] [--minutes N] [NAME...]`.

Round after round of all parts, or of those named, until the time is over; a part that has begun is
brought to its end. Everything left to chance comes from the seed, which is printed first. The parts
of round R are given the seed N + R - 1, so `./dev soak --seed N+R-1 NAME` is that part again. The
exit status says whether all went well; what the time did not suffice for is named.
"""
import argparse
import collections
import os
import random
import secrets
import sys
import time

import builds
import fuzz
import stage
from stage import PYTHON, TOP, Case

SHARE = 240  # seconds of a round, for what could go on for ever


def lab(name, tests, chosen, seed, timeout):
    env = {"PLATTER_BUILD": str(TOP / "build"), "PLATTER_LAB_REQUIRED": "1", "PLATTER_LONG": "1",
           "PLATTER_SEED": str(seed)}
    report = stage.REPORTS / f"soak-{name}.xml"
    return stage.junit(f"soak {name}", [
        PYTHON, "-m", "pytest", "-q", "-s", "-ra", "-p", "no:cacheprovider",
        f"--junitxml={report}", f"tests/lab/{tests}", "-k", chosen], report, env=env,
        timeout=timeout)


def outages(name, chosen, timeout):
    return lambda seed, left: lab(name, "test_outages.py", chosen, seed, timeout)


def simulation(seed, left):
    """Life after life; its seeds count on from the first, so rounds must not begin side by side."""
    program = TOP / "build-asan/tests/sim/sim"
    seconds = int(max(10, min(SHARE, left)))
    first = random.Random(seed).randrange(1 << 31)
    return [stage.check("soak sim", [program, "--seed", str(first), "--seconds", str(seconds)],
                        timeout=seconds + 300)]


def fuzzers(seed, left):
    """All fuzz targets, from what earlier runs have found."""
    build = TOP / "build-fuzz"
    known = fuzz.targets(build)
    rounds = -(-len(known) // stage.JOBS)
    return fuzz.fuzz_all(build, known, int(max(10, min(SHARE, left) // rounds)))


def machine(seed, left):
    """The drives and their bus alone, at the hands of a malicious machine."""
    build = TOP / "build-fuzz"
    chosen = {"scsi": fuzz.targets(build)["scsi"]}
    return fuzz.fuzz_all(build, chosen, int(max(10, min(3600, left))))


# name: (what it is, the builds it needs, what runs it with a seed and the seconds that are left)
PARTS = {
    "sim": ("slots and engines in a simulated world of faults", ["asan"], simulation),
    "fuzz": ("the decoders, fuzzed", ["fuzz"], fuzzers),
    "kills": ("ten platterds killed while the machine reads", ["plain"],
              outages("kills", "killed", 1200)),
    "stalls": ("lines that stall for 20 s", ["plain"], outages("stalls", "stalls", 900)),
    "odd": ("answers out of order, late, twice, or an error", ["plain"],
            outages("odd", "order or twice or error", 1800)),
    "page": ("the page in its browser: cut, stalled, reloaded", ["plain"],
             outages("page", "page_itself", 900)),
    "cuts": ("100 cuts of up to 20 s", ["plain"], outages("cuts", "cuts", 7200)),
    "away": ("an outage of ten minutes", ["plain"], outages("away", "outlasts", 2400)),
    "takeovers": ("drives that one platterd takes over from another", ["plain"],
                  lambda seed, left: lab("takeovers", "test_takeover.py", "test", seed, 1800)),
    "usb": ("minutes of outage, killed platterds and changes of media in a USB drive of our own",
            ["plain"], lambda seed, left: lab("usb", "test_usb_life.py", "test", seed, 3600)),
    "drive": ("the main job with either export and kind, resets between boots included", ["plain"],
              lambda seed, left: lab("drive", "test_drive.py", "test", seed, 3600)),
    "boots": ("what people boot, on the export usb", ["plain"],
              lambda seed, left: lab("boots", "test_boot.py", "test", seed, 5400)),
    "conformance": ("all of libiscsi's suite, and a host that says what it likes on the bus",
                    ["plain"],
                    lambda seed, left: lab("conformance", "test_conformance.py", "test", seed,
                                           9000)),
    "sessions": ("leaving in every way with either kind, and 200 sessions in a row", ["plain"],
                 lambda seed, left: lab("sessions", "test_leaving.py", "test", seed, 5400)),
    "openbmc": ("54 sessions under bmcweb that end with reads unanswered", ["plain"],
                lambda seed, left: lab("openbmc", "test_openbmc.py", "waits", seed, 2400)),
    "machine": ("an hour of a machine that says what it likes to its drives", ["fuzz"], machine),
}


def arguments():
    parser = argparse.ArgumentParser(prog="./dev soak", description="The long forms of the tests.")
    parser.add_argument("--seed", type=int, help="what everything left to chance comes from")
    parser.add_argument("--minutes", type=float, default=90, help="the time budget; default 90")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("name", nargs="*", help="a part; default: all")
    wanted = parser.parse_args()
    unknown = [name for name in wanted.name if name not in PARTS]
    if unknown:
        stage.fail(f"the soak has no part '{unknown[0]}'; `./dev soak --list` names them")
    return wanted


def run_part(name, seed, left):
    """The part's cases; one that raises is a failed case."""
    _, _, function = PARTS[name]
    print(f"\n=== soak {name}, seed {seed}", flush=True)
    try:
        return function(seed, left)
    except Exception as error:  # whatever it is, the soak goes on and says so
        return [Case(f"soak {name}: crashed", "failed", f"{type(error).__name__}: {error}")]


def run_rounds(names, seed, deadline):
    """Counts for each part the times it was run, and the cases that did not pass."""
    runs, bad = collections.Counter(), []
    try:
        while time.monotonic() < deadline:
            for name in names:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                cases = run_part(name, seed, left)
                runs[name] += 1
                bad += [(seed, case) for case in cases if case.outcome != "passed"]
            seed += 1
    except KeyboardInterrupt:
        print("\nsoak: interrupted")
    return runs, bad


def main():
    wanted = arguments()
    if wanted.list:
        for name, (what, _, _) in PARTS.items():
            print(f"{name:10} {what}")
        return 0
    seed = secrets.randbelow(1 << 31) if wanted.seed is None else wanted.seed
    names = wanted.name or list(PARTS)
    print(f"soak: seed {seed}, {wanted.minutes:g} minutes: {', '.join(names)}", flush=True)
    for kind in sorted({kind for name in names for kind in PARTS[name][1]}):
        builds.require(kind)
    begun = time.monotonic()
    runs, bad = run_rounds(names, seed, begun + wanted.minutes * 60)
    print(f"\nThe soak of seed {seed} took {(time.monotonic() - begun) / 60:.0f} minutes.")
    for name in names:
        print(f"{name:10} {f'{runs[name]} times' if runs[name] else 'not reached'}")
    for used, case in bad:
        print(f"{case.outcome}, with seed {used}: {case.name}: {case.note}")
    print("soak: " + (f"{len(bad)} cases did not pass" if bad else "all that was run has passed"))
    return 1 if bad or not runs else 0


if __name__ == "__main__":
    os.chdir(TOP)
    sys.exit(main())
