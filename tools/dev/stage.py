# SPDX-License-Identifier: Apache-2.0
"""What every stage of the gate uses: running programs, and counting what they report.

A stage yields cases; a case has passed, failed or been skipped. Whatever goes wrong with a program
that should have reported cases (it crashed, hung, or ran nothing) is itself a failed case, so that
silence is never success.
"""
import dataclasses
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
JOBS = os.cpu_count() or 1
REPORTS = TOP / "build-reports"


@dataclasses.dataclass
class Case:
    name: str
    outcome: str  # passed, failed, skipped
    note: str = ""


def run(command, timeout=600, env=None, cwd=TOP, **more):
    """Runs a program and waits for it and all it started; its exit code, 124 when it took longer
    than `timeout` seconds and was ended."""
    print("+", " ".join(str(word) for word in command), flush=True)
    process = subprocess.Popen([str(word) for word in command], cwd=cwd, start_new_session=True,
                               stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}, **more)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        print(f"gate: {command[0]} took more than {timeout} s and is ended", flush=True)
        return 124
    finally:
        end_group(process)


def end_group(process):
    """Ends what is left of the process's group: a test that failed may have left servers behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def check(name, command, **more):
    """One program that is one case: it has passed when it exits with 0."""
    code = run(command, **more)
    return Case(name, "passed" if code == 0 else "failed", f"exit code {code}" if code else "")


def junit(name, command, report, **more):
    """A program that writes a JUnit report of its cases to the path `report`."""
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    code = run(command, **more)
    cases = []
    try:
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            cases.append(read_case(name, case))
    except (OSError, ElementTree.ParseError) as error:
        cases.append(Case(f"{name}: its report", "failed", str(error)))
    if not cases:
        cases.append(Case(f"{name}: its tests", "failed", "nothing was run"))
    if code != 0 and all(case.outcome != "failed" for case in cases):
        cases.append(Case(f"{name}: {command[0]}", "failed", f"exit code {code}"))
    return cases


def read_case(stage, case):
    title = f"{stage}: {case.get('classname') or ''} {case.get('name')}"
    for bad in ("failure", "error"):
        found = case.find(bad)
        if found is not None:
            words = (found.get("message") or found.text or "").strip().splitlines()
            return Case(title, "failed", words[0][:200] if words else "")
    found = case.find("skipped")
    if found is not None:
        return Case(title, "skipped", found.get("message") or "")
    return Case(title, "passed")


def pytest(name, directory, build=None, timeout=900, workers=0):
    """`workers`: processes that share the tests, where those wait most of the time; 0: none."""
    report = REPORTS / f"{name}.xml"
    env = {"PLATTER_BUILD": str(TOP / build)} if build else {}
    return junit(name, [PYTHON, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider",
                        "-n", str(workers), f"--junitxml={report}", directory],
                 report, env=env, timeout=timeout)


def fail(text):
    sys.exit(f"dev: {text}")
