#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that the simulation can fail: puts each fault of mutants/ into the code, one at a time,
and runs the simulation until it notices. A fault that it never notices fails this test, and so does
a patch that no longer applies, for then nothing would have been proven. So does the code without
any fault if it does not pass the same lives.

Only the one object that a patch changes is compiled anew; it stands before the archives when the
simulation is linked again, so that theirs is not taken.

usage: mutants.py BUILD-DIRECTORY [NAME...]
"""
import json
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
LIVES = 48
PATIENCE = 300  # seconds; what takes longer has not been noticed, for it may only be slow


def compile_command(build, source, out):
    """How `build` compiles the file `source` of the checkout, but from `out`'s directory."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if (build / entry["file"]).resolve() == TOP / source:
            words = shlex.split(entry["command"])
            words[words.index("-c") + 1] = str(out / source)
            words[words.index("-o") + 1] = str(out / "mutant.o")
            for flag in ("-MF", "-MQ"):
                words[words.index(flag) + 1] = str(out / "mutant.d")
            # Headers beside a source are found from its own place first.
            return [*words, f"-I{out / 'src'}", "-Wno-error", "-w"]
    raise SystemExit(f"mutants: {source} is not compiled in {build}")


def link_command(build, out):
    """How `build` links the simulation, with the mutant before all archives."""
    lines = subprocess.run(["ninja", "-C", build, "-t", "commands", "-s", "tests/sim/sim"],
                           check=True, capture_output=True, text=True).stdout.splitlines()
    words = shlex.split([line for line in lines if "-o tests/sim/sim" in line][-1])
    words[words.index("-o") + 1] = str(out / "sim")
    words.insert(words.index("-o"), str(out / "mutant.o"))
    return words


def make_mutant(build, patch, out):
    source = next(line[6:].strip() for line in patch.read_text().splitlines()
                  if line.startswith("+++ b/"))
    place = out / source
    place.parent.mkdir(parents=True)
    place.write_bytes((TOP / source).read_bytes())
    done = subprocess.run(["patch", "-p1", "-s", "-F0", "-d", out, "-i", patch],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return f"does not apply any more: {done.stdout.strip()}"
    for command in (compile_command(build, source, out), link_command(build, out)):
        done = subprocess.run(command, cwd=build, capture_output=True, text=True)
        if done.returncode != 0:
            return f"does not build: {done.stderr.strip()[-400:]}"
    return None


def run_lives(sim):
    """How the simulation ends its lives: its exit status and its words; None when it takes
    too long."""
    try:
        done = subprocess.run([sim, "--seed", "1", "--lives", str(LIVES)],
                              capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stderr


def try_faultless(build):
    status, words = run_lives(build / "tests/sim/sim")
    return None if status == 0 else f"does not pass {LIVES} lives: {words.strip() or 'too slow'}"


def try_mutant(build, patch):
    """None when the fault was noticed, else what is wrong; and how it was noticed."""
    with tempfile.TemporaryDirectory(prefix="platter-mutant-") as name:
        out = Path(name)
        wrong = make_mutant(build, patch, out)
        if wrong:
            return wrong, ""
        status, words = run_lives(out / "sim")
        if status is None:
            return f"was not noticed in {PATIENCE} s", ""
        if status == 0:
            return f"was not noticed in {LIVES} lives", ""
        lines = [line for line in words.splitlines() if line.strip()]
        return None, next((line for line in lines if "ERROR" in line or "sim:" in line
                           or "Assertion" in line), lines[0] if lines else "it died")


def main(build, names):
    patches = [p for p in sorted((HERE / "mutants").glob("*.patch"))
               if not names or p.stem in names]
    if not patches:
        raise SystemExit("mutants: there is none of that name")
    build = Path(build).resolve()
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        faultless = pool.submit(try_faultless, build)
        tries = [(p, pool.submit(try_mutant, build, p)) for p in patches]
        for patch, result in tries:
            wrong, how = result.result()
            failed += wrong is not None
            print(f"{patch.stem}: {wrong or 'noticed: ' + how}", flush=True)
    print(f"mutants: {len(patches) - failed} of {len(patches)} noticed")
    if faultless.result():
        print(f"mutants: the code without a fault {faultless.result()}")
    return 1 if failed or faultless.result() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
