# SPDX-License-Identifier: Apache-2.0
"""Fuzzing: `./dev fuzz [TARGET] [SECONDS]`, and the brief run in the gate.

Seeds are committed in tests/fuzz/corpus/TARGET/; what a run finds new goes to build-fuzz/corpus/
and a crash's input to build-fuzz/crashes/, each with a line on how to see it again.
"""
import concurrent.futures
import json
import subprocess
import sys

import builds
import stage
from stage import JOBS, TOP

BRIEF_SECONDS = 12
BRIEF_TOTAL = 60
# Of the brief run some take so many times the others' share: a whole machine has more states.
BRIEF_SHARES = {"scsi": 5}


def targets(build):
    """The built fuzz targets, by name."""
    listed = json.loads(subprocess.check_output(["meson", "introspect", "--targets", build]))
    return {one["name"].removeprefix("fuzz-"): one["filename"][0] for one in listed
            if one["name"].startswith("fuzz-")}


def fuzz(build, name, program, seconds):
    found, crashes = build / "corpus" / name, build / "crashes" / name
    for directory in (found, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    seeds = TOP / "tests/fuzz/corpus" / name
    if not seeds.is_dir() or not any(seeds.iterdir()):
        return stage.Case(f"fuzz: {name}", "failed", f"it has no committed seeds in {seeds}")
    log = build / f"fuzz-{name}.log"
    with log.open("w") as out:
        case = stage.check(f"fuzz: {name}", [
            program, f"-max_total_time={seconds}", "-rss_limit_mb=1024", "-timeout=10",
            "-print_final_stats=1", f"-artifact_prefix={crashes}/", found, seeds],
            timeout=seconds + 120, stdout=out, stderr=subprocess.STDOUT)
    lines = log.read_text(errors="replace").splitlines()
    if case.outcome != "passed":
        print("\n".join(lines[-60:]))
        print(f"fuzz: {name} found something: {program} {crashes}/FILE shows it again")
    else:
        stats = dict(line.removeprefix("stat::").split(": ") for line in lines
                     if line.startswith("stat::"))
        print(f"fuzz: {name}: " + stats.get("number_of_executed_units", "no").strip() + " inputs")
    return case


def fuzz_all(build, chosen, seconds, shares=None):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        jobs = [pool.submit(fuzz, build, name, program, seconds * (shares or {}).get(name, 1))
                for name, program in chosen.items()]
        return [job.result() for job in jobs]


def brief():
    """Each fuzz target, for seconds or its shares of them, from the committed corpus."""
    built = builds.build("fuzz")
    if built.outcome != "passed":
        return [built]
    build = TOP / "build-fuzz"
    chosen = targets(build)
    rounds = -(-len(chosen) // JOBS) or 1
    seconds = min(BRIEF_SECONDS, BRIEF_TOTAL // rounds)
    return [built, *fuzz_all(build, chosen, seconds, BRIEF_SHARES)]


def main(arguments):
    build = builds.require("fuzz")
    known = targets(build)
    seconds = BRIEF_SECONDS
    if arguments and arguments[-1].isdigit():
        seconds = int(arguments.pop())
    unknown = [name for name in arguments if name not in known]
    if unknown:
        stage.fail(f"there is no fuzz target '{unknown[0]}'; there are: {', '.join(sorted(known))}")
    cases = fuzz_all(build, {name: known[name] for name in arguments or known}, seconds)
    return 0 if all(case.outcome == "passed" for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
