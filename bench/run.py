#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`./dev bench`: every figure that Platter promises, measured beside its peers on this machine.

usage: run.py [--json FILE] [--runs N] [--list] [NAME...]

Prints a table, and ends with 0 only when every bound held. PLATTER_BUILD names the release build.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import rig
import rows_browser
import rows_fetch
import rows_kernel
import rows_line
import rows_loopback
import rows_memory
import rows_openbmc
import rows_usb
from result import NotMeasured, Result

MODULES = (rows_line, rows_browser, rows_loopback, rows_kernel, rows_usb, rows_openbmc, rows_fetch,
           rows_memory)
GROUPS = {name: function for module in MODULES for name, function in module.ROWS.items()}


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures Platter beside its "
                                     "peers, and says whether every bound held.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--runs", type=int, default=5, metavar="N",
                        help="measure everything that often and take medians (5)")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these groups of rows")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in GROUPS]
    if unknown:
        parser.error(f"there is no '{unknown[0]}'; there are: {', '.join(GROUPS)}")
    if given.runs < 1:
        parser.error("--runs wants a number from 1 on")
    return given


def measure(name, runs):
    """The group's results, as far as they could be had."""
    title = GROUPS[name].__doc__.splitlines()[0]
    print(f"\n{name}: {title}", file=sys.stderr, flush=True)
    begun = time.monotonic()
    results = []
    try:
        for result in GROUPS[name](runs):
            results.append(result)
    except NotMeasured as why:
        results.append(Result(name, "", [], missing=str(why)))
    except Exception as error:  # whatever it is, the other groups go on
        results.append(Result(name, "", [], missing=f"{type(error).__name__}: {error}"))
    rig.say(f"{time.monotonic() - begun:.0f} s")
    return results


def number(value):
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(results):
    width = max(len(result.name) for result in results)
    for result in results:
        peers = ", ".join(f"{name} {number(value)}" for name, value in result.peers.items())
        if result.missing:
            print(f"{result.name:{width}}  not measured: {result.missing}")
            continue
        verdict = "held" if result.held else "MISSED"
        verdict = "" if result.bound == "reported" else verdict
        print(f"{result.name:{width}}  {number(result.value):>6} {result.unit:17} "
              f"{result.bound:8}  {verdict:6}  {peers}".rstrip())


def main():
    given = arguments()
    if given.list:
        for name, function in GROUPS.items():
            print(f"{name:10} {function.__doc__.splitlines()[0]}")
        return 0
    results = []
    for name in given.names or GROUPS:
        results += measure(name, given.runs)
    print()
    table(results)
    if given.json:
        given.json.write_text(json.dumps({"results": [one.as_json() for one in results]}, indent=2)
                              + "\n")
    missed = sum(not result.held for result in results)
    print(f"\n{len(results) - missed} held or reported, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
