#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the BitBake recipe against what meson says, for nothing here can build it.

- Every option of meson_options.txt has one row of PACKAGECONFIG, or one value in EXTRA_OEMESON, and
  every value is one that meson takes.
- With all rows off meson looks for the libraries of DEPENDS; each row, put on after those above it,
  makes it look for those that the row names; nothing more and nothing less.
- FILES and SYSTEMD_SERVICE are what `meson install` and the recipe install with all rows on.
- The files, checksums and versions that it names are there; its user is the one of the services.

usage: check-recipe.py [CHECKOUT]
"""
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPES = "packaging/openembedded/platter_*.bb"

# What meson calls a library (pkg-config, or find_library), and the recipe that has it.
RECIPE_OF = {
    "aio": "libaio",
    "inih": "inih",
    "jansson": "jansson",
    "libcrypto": "openssl",
    "libnl-genl-3.0": "libnl",
    "libsystemd": "systemd",
    "libuv": "libuv",
    "libwebsockets": "libwebsockets",
    "threads": None,  # the C library
}

# OpenEmbedded's directories, as meson is given them here.
DIRECTORIES = {
    "bindir": "/usr/bin",
    "sbindir": "/usr/sbin",
    "sysconfdir": "/etc",
    "datadir": "/usr/share",
    "docdir": "/usr/share/doc",
    "nonarch_libdir": "/usr/lib",
    "systemd_system_unitdir": "/usr/lib/systemd/system",
}

ASSIGNMENT = re.compile(r'^([A-Z_]+(?:\[[\w-]+\]|:[\w${}:-]+)?) *(?:\+|\?\?|\?|:)?= *"(.*)"$')
ROW = re.compile(r"PACKAGECONFIG\[([\w-]+)\]")
OPTION = re.compile(r"-D([\w-]+)=(\S+)")


def expand(text):
    """The directories' names by what they are."""
    return re.sub(r"\$\{(\w+)\}", lambda name: DIRECTORIES.get(name[1], name[0]), text)


class Recipe:
    def __init__(self, path):
        self.name = path.name
        self.text = path.read_text()
        self.values = {}
        for line in self.text.replace("\\\n", " ").splitlines():
            match = ASSIGNMENT.match(line)
            if match:
                self.values.setdefault(match[1], []).append(match[2])

    def words(self, name):
        return expand(" ".join(self.values.get(name, []))).split()

    def rows(self):
        """(name, on, off, libraries), in the recipe's order."""
        for key, values in self.values.items():
            match = ROW.match(key)
            if match:
                on, off, libraries, *_ = [*values[0].split(","), "", "", ""]
                yield match[1], on, off, set(libraries.split())

    def beginning(self, prefix):
        return [word for key in self.values if key.startswith(prefix) for word in self.words(key)]


class Meson:
    """One build directory that is only ever configured, with one row more each time."""

    def __init__(self, top, directory):
        self.top, self.directory, self.began = top, directory, False

    def configure(self, options):
        """"" or what meson complains about."""
        again = ["--reconfigure"] if self.began else ["--prefix=/usr", "--sysconfdir=/etc"]
        done = subprocess.run(["meson", "setup", self.directory, self.top, *again, *options],
                              capture_output=True, text=True)
        self.began = True
        if done.returncode == 0:
            return ""
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
        return errors[-1] if errors else done.stdout + done.stderr

    def introspect(self, what):
        out = subprocess.run(["meson", "introspect", self.directory, f"--{what}"],
                             capture_output=True, check=True).stdout
        return json.loads(out)

    def libraries(self):
        """By meson's names; what find_library() looks for is in no list of meson's."""
        found = {one["name"] for one in self.introspect("dependencies")}
        for file in [self.top / "meson.build", *(self.top / "src").rglob("meson.build")]:
            found.update(re.findall(r"find_library\('(\w+)'", file.read_text()))
        return found


def check_options(recipe, options):
    """`options`: meson's own, by name."""
    given = {}
    for row, on, off, _ in recipe.rows():
        sides = [OPTION.findall(side) for side in (on, off)]
        if [len(side) for side in sides] != [1, 1] or sides[0][0][0] != sides[1][0][0]:
            yield f"PACKAGECONFIG[{row}] is not one option of meson's, on and off"
            continue
        for name, value in sides[0] + sides[1]:
            given.setdefault(name, {}).setdefault(f"PACKAGECONFIG[{row}]", []).append(value)
        if sides[0] == sides[1]:
            yield f"PACKAGECONFIG[{row}] gives the same on and off"
    for name, value in OPTION.findall(" ".join(recipe.words("EXTRA_OEMESON"))):
        given.setdefault(name, {}).setdefault("EXTRA_OEMESON", []).append(value)
    for name, places in given.items():
        if name not in options:
            yield f"{' and '.join(places)}: meson has no option {name}"
        elif len(places) > 1:
            yield f"{' and '.join(places)} both give the option {name}"
        kind = options.get(name, {})
        choices = {"boolean": ["true", "false"], "feature": ["enabled", "disabled"],
                   "combo": kind.get("choices")}.get(kind.get("type"))
        for value in sum(places.values(), []):
            if choices and value not in choices:
                yield f"{' and '.join(places)}: {name} cannot be {value}"
    for name in sorted(set(options) - set(given)):
        yield f"meson's option {name} has neither a row of PACKAGECONFIG nor a value"


def compare(where, has, looks_for):
    unknown = sorted(one for one in looks_for if one not in RECIPE_OF)
    for one in unknown:
        yield f"{where}: meson looks for {one}; say in RECIPE_OF which recipe has it"
    wanted = {RECIPE_OF[one] for one in looks_for if RECIPE_OF.get(one)}
    for one in sorted(wanted - has):
        yield f"{where} lacks {one}, which meson looks for"
    for one in sorted(has - wanted):
        yield f"{where} has {one}, which meson does not look for"


def check_libraries(recipe, meson):
    off = " ".join(row[2] for row in recipe.rows()).split()
    error = meson.configure([*recipe.words("EXTRA_OEMESON"), *off])
    known = set() if error else meson.libraries()
    if error:
        yield f"with all rows off: {error}"
    yield from compare("DEPENDS", set(recipe.words("DEPENDS")), known)
    for row, on, _, libraries in recipe.rows():
        error = meson.configure(on.split())
        if error:
            yield f"with PACKAGECONFIG[{row}] after those above it: {error}"
            continue
        now = meson.libraries()
        yield from compare(f"PACKAGECONFIG[{row}]", libraries, now - known)
        known |= now


def installed(recipe, meson):
    """Paths on the device, with everything on."""
    yield from meson.introspect("installed").values()
    yield from expand(" ".join(re.findall(r"^ +install -m \d+ \S+ \$\{D\}(\S+)$", recipe.text,
                                          re.MULTILINE))).split()


def check_files(recipe, meson):
    """Both ways, and the services."""
    patterns, paths = recipe.beginning("FILES:"), sorted(set(installed(recipe, meson)))
    for path in paths:
        if not any(path == one or path.startswith(one + "/") for one in patterns):
            yield f"FILES has nothing for {path}, which is installed"
    for one in patterns:
        if not any(path == one or path.startswith(one + "/") for path in paths):
            yield f"FILES has {one}, where nothing is installed"
    named = set(re.findall(r"[\w-]+\.service\b", " ".join(recipe.beginning("SYSTEMD_SERVICE"))))
    units = DIRECTORIES["systemd_system_unitdir"]
    there = {Path(path).name for path in paths if re.fullmatch(rf"{units}/[\w-]+\.service", path)}
    for one in sorted(named ^ there):
        yield f"SYSTEMD_SERVICE and what is installed differ in {one}"
    for one in recipe.beginning("CONFFILES:"):
        if one not in paths:
            yield f"CONFFILES has {one}, which is not installed"


def check_names(recipe, top, project):
    """What the recipe says of the source: files, the licence, the version, the user."""
    for name in sorted(set(re.findall(r"\$\{S\}/([\w./-]+)", recipe.text))):
        if not name.startswith("web/dist") and not (top / name).exists():
            yield f"{recipe.name}: names {name}, which does not exist"
    for name, checksum in re.findall(r"file://([\w./-]+);md5=(\w+)", recipe.text):
        file = top / name
        if not file.exists() or hashlib.md5(file.read_bytes()).hexdigest() != checksum:
            yield f"LIC_FILES_CHKSUM: {name} is not the file with that checksum"
    if recipe.name != f"{project['descriptive_name']}_{project['version']}.bb":
        yield f"{recipe.name}: the version is {project['version']}"
    user = re.search(r"^u (\w+)", (top / "packaging/platter.sysusers").read_text(), re.MULTILINE)
    if user[1] not in recipe.beginning("USERADD_PARAM"):
        yield f"USERADD_PARAM does not make the user {user[1]}"
    for name in ("PROVIDES", "RPROVIDES:", "RREPLACES:", "RCONFLICTS:"):
        if "jsnbd" not in recipe.beginning(name):
            yield f"{name.rstrip(':')} lacks jsnbd, whose place this takes"


def check(top, configured=Meson):
    recipes = sorted(top.glob(RECIPES))
    if len(recipes) != 1:
        yield f"there is not one recipe but {len(recipes)} ({RECIPES})"
        return
    recipe = Recipe(recipes[0])
    with tempfile.TemporaryDirectory() as directory:
        meson = configured(top, directory)
        yield from check_libraries(recipe, meson)
        options = {one["name"]: one for one in meson.introspect("buildoptions")
                   if one["section"] == "user"}
        yield from check_options(recipe, options)
        yield from check_files(recipe, meson)
        yield from check_names(recipe, top, meson.introspect("projectinfo"))


def main():
    top = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    faults = list(check(top))
    for fault in faults:
        print(f"check-recipe: {fault}")
    print(f"check-recipe: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
