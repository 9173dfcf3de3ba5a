# SPDX-License-Identifier: Apache-2.0
"""Builds for other machines: the 32-bit ARM that most BMCs are, and a big-endian one.

With Debian's cross compilers, against the libraries in tools/dev/sysroot.py's care. The tests run
in qemu-user, which plays the processor and hands the system calls to this machine's kernel; those
that this cannot carry are in the suite `native`. Sanitizers are not there: `unit` has them.
"""
import dataclasses
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import stage
import sysroot
from stage import TOP, Case


@dataclasses.dataclass(frozen=True)
class Target:
    architecture: str  # as Debian calls it
    triple: str
    family: str  # as meson calls it
    emulator: str
    endian: str
    builds_all: bool  # or only what its tests need


TARGETS = {one.architecture: one for one in (
    Target("armhf", "arm-linux-gnueabihf", "arm", "qemu-arm", "little", True),
    Target("s390x", "s390x-linux-gnu", "s390x", "qemu-s390x", "big", False),
)}

# What a firmware image has of the programs and nothing besides; auto_features covers D-Bus.
LEAN = ["-Dpage=false", "-Dtests=false", "-Dauto_features=disabled"]
LEAN_BUILDS = {"x86-64": "build-lean", "armhf": "build-lean-armhf"}


def cross_file(target, root):
    """Written beside the sysroot, for it is as good as that."""
    lib = f"{root}/usr/lib/{target.triple}/pkgconfig"
    compiler = ["ccache"] if shutil.which("ccache") else []
    flags = [f"--sysroot={root}"]
    sections = {
        "binaries": {"c": [*compiler, f"{target.triple}-gcc"], "ar": f"{target.triple}-ar",
                     "strip": f"{target.triple}-strip", "pkgconfig": "pkg-config",
                     "exe_wrapper": [target.emulator, "-L", str(root)]},
        "built-in options": {"c_args": flags, "c_link_args": flags},
        "properties": {"sys_root": str(root),
                       "pkg_config_libdir": [lib, f"{root}/usr/share/pkgconfig"]},
        "host_machine": {"system": "linux", "cpu_family": target.family, "cpu": target.family,
                         "endian": target.endian},
    }
    # Strings and lists of them are written the same in meson's cross files.
    text = "".join(f"[{section}]\n" + "".join(f"{key} = {value!r}\n" for key, value in rows.items())
                   for section, rows in sections.items())
    path = root.parent / f"{target.architecture}.ini"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def configure(directory, *arguments):
    if (TOP / directory / "build.ninja").exists():
        return Case(f"configure {directory}", "passed")
    return stage.check(f"configure {directory}", ["meson", "setup", TOP / directory, TOP,
                                                  "--werror", *arguments])


def build(directory, *arguments):
    """Configured and built; ends with the first step that failed."""
    done = configure(directory, *arguments)
    if done.outcome == "passed":
        done = stage.check(f"build {directory}", ["ninja", "-C", TOP / directory])
    return done


def target_cases(target):
    root = sysroot.provide(target.architecture)
    directory = f"build-{target.architecture}"
    arguments = ["--cross-file", cross_file(target, root), "-Dbuildtype=release"]
    built = (build if target.builds_all else configure)(directory, *arguments)
    if built.outcome != "passed":
        return [built]
    report = TOP / directory / "meson-logs" / "testlog.junit.xml"
    return [built, *stage.junit(target.architecture,
                                ["meson", "test", "-C", TOP / directory, "--no-suite", "native",
                                 "--print-errorlogs"], report, timeout=1200)]


def lean_cases():
    """The programs with everything optional left out, optimised for size."""
    cross = cross_file(TARGETS["armhf"], sysroot.provide("armhf"))
    small = [*LEAN, "-Dbuildtype=minsize"]
    return [build(LEAN_BUILDS["x86-64"], *small),
            build(LEAN_BUILDS["armhf"], "--cross-file", cross, *small)]


def programs(directory):
    """What is installed of a build that runs, by name."""
    listed = json.loads((TOP / directory / "meson-info/intro-targets.json").read_text())
    return {one["name"]: one["filename"][0] for one in listed
            if one["type"] == "executable" and one["installed"]}


def stripped_size(strip, program):
    """In bytes, as a file; the debugging information and the symbols are what is left out."""
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run([strip, "-o", stripped.name, program], check=True)
        return Path(stripped.name).stat().st_size


def sizes():
    """One row a program, one column a machine, in bytes."""
    columns = {"x86-64": "strip", "armhf": f"{TARGETS['armhf'].triple}-strip"}
    found = {machine: {name: stripped_size(strip, path)
                       for name, path in programs(LEAN_BUILDS[machine]).items()}
             for machine, strip in columns.items()}
    print("\nstripped, -Os, without page, D-Bus and tests; bytes")
    print(f"{'program':18}" + "".join(f"{machine:>10}" for machine in columns))
    for name in sorted(found["x86-64"]):
        print(f"{name:18}" + "".join(f"{found[machine][name]:10}" for machine in columns))


def cross():
    """For 32-bit ARM (built whole) and big-endian s390x, unit tests under qemu; and the sizes."""
    cases = [case for target in TARGETS.values() for case in target_cases(target)]
    lean = lean_cases()
    if all(case.outcome == "passed" for case in lean):
        sizes()
    return cases + lean


def main():
    bad = [case.name for case in lean_cases() if case.outcome != "passed"]
    if bad:
        stage.fail(f"this failed, and its words are above: {', '.join(bad)}")
    sizes()


if __name__ == "__main__":
    main()
