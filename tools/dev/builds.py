# SPDX-License-Identifier: Apache-2.0
"""The build directories: what each is for and how it is configured."""
import stage
from stage import TOP

# name: (directory, compiler, meson options)
KINDS = {
    # What ./dev build makes and the lab runs.
    "plain": ("build", "gcc", []),
    # Warnings are errors here alone: a newer compiler's new warning must not stop a newcomer.
    "gcc": ("build-gcc", "gcc", ["--werror", "-Dbuildtype=release"]),
    "clang": ("build-clang", "clang", ["--werror"]),
    "asan": ("build-asan", "gcc", ["-Db_sanitize=address,undefined", "-Db_lundef=false"]),
    "fuzz": ("build-fuzz", "clang", ["-Dfuzz=true", "-Db_sanitize=address,undefined",
                                     "-Db_lundef=false"]),
}


def build(kind):
    directory, compiler, options = KINDS[kind]
    if not (TOP / directory / "build.ninja").exists():
        done = stage.check(f"configure {directory}", ["meson", "setup", TOP / directory, TOP,
                                                      *options], env={"CC": compiler})
        if done.outcome != "passed":
            return done
    return stage.check(f"build {directory}", ["ninja", "-C", TOP / directory])


def require(kind):
    """Builds, or ends the program with one sentence."""
    done = build(kind)
    if done.outcome != "passed":
        stage.fail(f"{done.name} failed; its words are above")
    return TOP / KINDS[kind][0]


