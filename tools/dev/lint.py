# SPDX-License-Identifier: Apache-2.0
"""Everything that is checked without running the product: one case a check."""
import subprocess

import builds
import stage
from stage import PYTHON, TOP


def tracked(*patterns):
    """The project's own files that match: tracked, or new and not ignored."""
    out = subprocess.check_output(["git", "ls-files", "-z", "--cached", "--others",
                                   "--exclude-standard", "--", *patterns], cwd=TOP)
    return sorted({name for name in out.decode().split("\0") if name and (TOP / name).is_file()})


def shell_scripts():
    """By their names or by their first line."""
    found = set(tracked("*.sh"))
    for name in tracked():
        with open(TOP / name, "rb") as file:
            first = file.readline(80)
        if first.startswith(b"#!") and (b"/bash" in first or b"/sh" in first):
            found.add(name)
    return sorted(found)


def lint():
    """Formatting, static analysis, the rules between rooms, the documents' links."""
    built = [builds.build("clang"), builds.build("plain")]
    cases = [
        *built,
        stage.check("lint: clang-format", ["clang-format", "--dry-run", "-Werror",
                                           *tracked("*.c", "*.h")]),
        stage.check("lint: clang-tidy", [PYTHON, "tools/dev/tidy.py", "build-clang"]),
        stage.check("lint: shellcheck", ["shellcheck", "-x", *shell_scripts()]),
        stage.check("lint: flake8", ["flake8", *tracked("*.py")]),
        stage.check("lint: check-rooms", [PYTHON, "tools/check-rooms.py"]),
        stage.check("lint: check-pure", ["tools/check-pure.sh", "build"]),
        stage.check("lint: check-programs", ["tools/check-programs.sh", "build"]),
        stage.check("lint: check-docs", [PYTHON, "tools/check-docs.py"]),
        *stage.pytest("lint", "tests/tools"),
    ]
    if (TOP / "web/package.json").exists():
        cases.append(stage.check("lint: web", ["npm", "--prefix", "web", "run", "lint"]))
    return cases
