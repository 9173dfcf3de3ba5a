# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over every C file of a build's compile_commands.json, in parallel.

usage: tidy.py BUILD-DIRECTORY

A file that was found clean is not looked at again until its preprocessed text (comments kept, for
NOLINT lives in them), its flags or .clang-tidy change.
"""
import concurrent.futures
import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

from stage import JOBS, TOP


def flags_of(entry):
    """The compiler's arguments without those about output and dependency files."""
    words, keep, skip = shlex.split(entry["command"]), [], False
    for word in words[1:]:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MQ", "-MT"):
            skip = True
        elif word not in ("-c", "-MD"):
            keep.append(word)
    return keep


def key_of(entry):
    text = subprocess.run(["clang", *flags_of(entry), "-E", "-C"], cwd=entry["directory"],
                          capture_output=True, check=True).stdout
    config = (TOP / ".clang-tidy").read_bytes() + (TOP / "tests/.clang-tidy").read_bytes()
    return hashlib.sha256(b"\0".join([config, entry["command"].encode(), text])).hexdigest()


def tidy(build, entry):
    """Whether the file is clean."""
    stamp = build / "tidy-clean" / key_of(entry)
    if stamp.exists():
        return True
    done = subprocess.run(["clang-tidy", "--quiet", "--warnings-as-errors=*", "-p", build,
                           entry["file"]], cwd=entry["directory"], capture_output=True, text=True)
    if done.returncode == 0:
        stamp.touch()
        return True
    # The path relative to the checkout reads better than ninja's.
    print(done.stdout.replace(f"{TOP}/", ""), flush=True)
    if "error:" not in done.stdout:
        print(done.stderr, flush=True)
    return False


def main(build):
    (build / "tidy-clean").mkdir(exist_ok=True)
    entries = json.loads((build / "compile_commands.json").read_text())
    entries = list({one["file"]: one for one in entries if one["file"].endswith(".c")}.values())
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        clean = list(pool.map(lambda entry: tidy(build, entry), entries))
    print(f"clang-tidy: {len(clean)} files, {clean.count(False)} with findings")
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
