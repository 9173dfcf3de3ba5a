# SPDX-License-Identifier: Apache-2.0
"""The gate: runs the stages of `./dev test`, counts every case, tells the seconds of each stage.

The last line is always `N passed, N failed`, and the exit code is 0 only when nothing failed. With
CI=true in the environment a skipped case is a failed one.
"""
import os
import subprocess
import sys
import time

import builds
import cross
import fuzz
import lint
import stage
from stage import TOP, Case


def setup():
    """Packages; ./dev has installed them, this asks again whether all are there."""
    missing = subprocess.run(
        ["bash", "-c", ". tools/dev/common.sh && missing_packages build demo test"],
        cwd=TOP, capture_output=True, text=True, check=True).stdout.strip()
    return [Case("setup: packages", "failed" if missing else "passed", missing)]


def gcc():
    """Everything with gcc and -Werror, as it is shipped, in build-gcc/ and build/."""
    return [builds.build("gcc"), builds.build("plain")]


def clang():
    """Everything with clang and -Werror, in build-clang/."""
    return [builds.build("clang")]


def web():
    """The page and its library: build, unit tests, the bundle's size."""
    report = stage.REPORTS / "web.xml"
    npm = ["npm", "--prefix", "web", "run"]
    return [stage.check("web: build", [*npm, "build"]),
            *stage.junit("web", [*npm, "test", "--", "--reporter=default", "--reporter=junit",
                                 f"--outputFile.junit={report}"], report),
            stage.check("web: size", [*npm, "size"])]


def unit():
    """The C modules, one test program each, under ASan and UBSan, in build-asan/."""
    built = builds.build("asan")
    if built.outcome != "passed":
        return [built]
    build = TOP / "build-asan"
    return [built, *stage.junit("unit", ["meson", "test", "-C", build,
                                         "--print-errorlogs"],
                                build / "meson-logs" / "testlog.junit.xml")]


def sim():
    """A million steps of slots and engines in a world of faults, and faults it must notice."""
    built = builds.build("asan")
    plain = builds.build("plain")
    if built.outcome != "passed" or plain.outcome != "passed":
        return [built, plain]
    return [built, plain,
            stage.check("sim: a million steps",
                        [TOP / "build-asan/tests/sim/sim", "--seed", "1", "--lives", "26"],
                        env={"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1",
                             "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}),
            stage.check("sim: mutants", [stage.PYTHON, "tests/sim/mutants.py", TOP / "build"],
                        timeout=1200)]


def integration():
    """The programs of build-asan/ against real sockets and independent peers."""
    built = builds.build("asan")
    if built.outcome != "passed":
        return [built]
    return stage.pytest("integration", "tests/integration", "build-asan", timeout=1500,
                        workers=3)


def lab():
    """The programs of build/ in the virtual BMC, with a real kernel, gadget and browser."""
    built = builds.build("plain")
    if built.outcome != "passed":
        return [built]
    return stage.pytest("lab", "tests/lab", "build", timeout=3600)


def demo():
    """What `./dev demo` starts, once through by itself."""
    built = builds.build("plain")
    if built.outcome != "passed":
        return [built]
    return [stage.check("demo: once through", [stage.PYTHON, "tests/lab/demo.py", "--once"],
                        env={"PLATTER_BUILD": str(TOP / "build")}, timeout=300)]


STAGES = [setup, gcc, clang, lint.lint, web, unit, cross.cross, fuzz.brief, sim, integration, lab,
          demo]
NAMES = {("fuzz" if one is fuzz.brief else one.__name__): one for one in STAGES}


def run_stage(name):
    """The stage's cases and its seconds; a stage that raises is a failed case."""
    print(f"\n=== {name}: {NAMES[name].__doc__.splitlines()[0]}", flush=True)
    start = time.monotonic()
    try:
        cases = NAMES[name]()
    except Exception as error:  # whatever it is, the gate goes on and says so
        cases = [Case(f"{name}: crashed", "failed", f"{type(error).__name__}: {error}")]
    if os.environ.get("CI") == "true":
        for case in cases:
            if case.outcome == "skipped":
                case.outcome, case.note = "failed", f"skipped, which CI does not allow: {case.note}"
    return cases, time.monotonic() - start


def report(results):
    total = {"passed": 0, "failed": 0, "skipped": 0}
    print("\nstage         seconds  passed  failed  skipped")
    for name, (cases, seconds) in results.items():
        count = {key: sum(case.outcome == key for case in cases) for key in total}
        total = {key: total[key] + count[key] for key in total}
        print(f"{name:12} {seconds:8.1f} {count['passed']:7} {count['failed']:7} "
              f"{count['skipped']:8}")
    for cases, _ in results.values():
        for case in cases:
            if case.outcome != "passed":
                print(f"{case.outcome}: {case.name}: {case.note}")
    print(f"\n{total['passed']} passed, {total['failed']} failed", flush=True)
    return total["failed"] == 0


def main(wanted):
    if wanted == ["--list"]:
        for name, function in NAMES.items():
            print(f"{name:12} {function.__doc__.splitlines()[0]}")
        return 0
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        stage.fail(f"there is no stage '{unknown[0]}'; `./dev test --list` names them")
    start = time.monotonic()
    results = {}
    for name in wanted or NAMES:
        results[name] = run_stage(name)
    print(f"\nAll of it took {time.monotonic() - start:.0f} s.")
    return 0 if report(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
