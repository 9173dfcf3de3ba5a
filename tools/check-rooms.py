#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of the house that a compiler does not know.

- Who may include whom between the rooms of src/ (MAY_INCLUDE), and which system headers live where
  (LIBRARIES). docs/architecture.md explains both tables; they are the same tables.
- Every file of text has its SPDX line and fewer than 600 lines; every function fewer than 60.

usage: check-rooms.py [CHECKOUT]
"""
import ast
import re
import subprocess
import sys
from pathlib import Path

LINES_MAX = 599
FUNCTION_MAX = 59

# A room, or one file of it (the longest match counts), and what it may include beside itself.
MAY_INCLUDE = {
    "base": [],
    "config": ["base"],
    "proto": ["base"],
    "scsi": ["base"],
    "session": ["base"],
    "block": ["base"],
    "transport": ["base"],
    "source": ["base", "block", "proto"],
    "export": ["base", "block", "proto", "scsi", "priv/priv.h", "transport/unix.h"],
    "gadget/descriptors": ["base"],
    "gadget/plan": ["base"],
    "gadget": ["base"],
    "priv/packet": ["base", "proto"],
    "priv/priv": ["base", "proto", "priv/packet.h"],
    "priv": ["base", "proto", "config", "gadget"],
    "slot": ["base", "block", "export", "priv/priv.h", "session", "source"],
    "api/control.h": ["base", "block/counters.h"],
    "api": ["base", "block/counters.h", "transport"],
    "daemon": ["api", "base", "block", "config", "export", "priv/priv.h", "session", "slot",
               "transport"],
    "nbd-proxy": ["base", "export", "priv/priv.h", "slot", "transport/unix.h"],
}

# Headers of libraries, and the only places that may include them.
LIBRARIES = {
    r"libwebsockets\.h": ["transport", "api/http"],
    r"uv\.h": ["base/loop", "transport", "daemon"],
    r"systemd/sd-bus\.h": ["api/dbus"],
    r"netlink/.*": ["priv"],
    r"linux/(nbd|nbd-netlink)\.h": ["priv"],
    r"libaio\.h": ["export/usb-aio"],
    r"ini\.h": ["config"],
    r"jansson\.h": ["api", "slot", "daemon", "nbd-proxy"],
    r"openssl/.*": ["slot"],
}

# Rooms that do no I/O: bytes in, bytes out. These headers have no business there.
PURE = ["proto", "scsi", "session", "block", "gadget/descriptors", "gadget/plan"]
IMPURE_HEADERS = r"(unistd|fcntl|time|poll|pthread|signal|sys/(socket|stat|time|ioctl|mman|un))\.h"

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)

# JSON knows no comments, and the licence is itself.
WITHOUT_SPDX = {".json"}
LICENCE = "LICENSE"


def matches(path, place):
    """Whether `path` (below src/) is the place, lies in it, or has its stem, as base/loop."""
    return path == place or path.startswith((place + "/", place + ".", place + "-"))


def row_of(path, rows):
    found = [row for row in rows if matches(path, row)]
    return max(found, key=len, default=None)


def check_includes(path, text):
    room = path.split("/")[0]
    row = row_of(path, MAY_INCLUDE)
    if row is None:
        yield f"src/{path}: the room '{room}' has no row in tools/check-rooms.py: decide what it " \
              "may include"
        return
    for match in INCLUDE.finditer(text):
        ours, system = match.groups()
        where = f"src/{path}:{text.count(chr(10), 0, match.start()) + 1}"
        if ours and "/" not in ours:
            yield f'{where}: includes "{ours}": name its room, as in "{room}/{ours}"'
        elif ours:
            allowed = [row.split("/")[0] if "/" not in row else row, *MAY_INCLUDE[row]]
            own = "/" not in row and ours.split("/")[0] == room
            if not own and not any(matches(ours, place) for place in allowed):
                yield f"{where}: {row} may not include {ours}"
        else:
            yield from check_library(where, path, system)


def check_library(where, path, header):
    for pattern, places in LIBRARIES.items():
        if re.fullmatch(pattern, header) and not any(matches(path, place) for place in places):
            yield f"{where}: <{header}> is for {' and '.join(places) or 'nobody yet'} alone"
    if re.fullmatch(IMPURE_HEADERS, header) and any(matches(path, place) for place in PURE):
        yield f"{where}: <{header}> has no business in a pure room"


def c_functions(text):
    """(name, first line, lines) of each function: in this layout its braces stand in column 0."""
    lines, start = text.split("\n"), None
    for number, line in enumerate(lines, 1):
        if line == "{" and number > 1 and lines[number - 2].rstrip().endswith(")"):
            start = number
        elif line == "}" and start:
            name = re.search(r"(\w+)\(", lines[start - 2])
            yield name[1] if name else "function", start, number - start + 1
            start = None


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, (node.end_lineno or 0) - node.lineno + 1


def check_size(name, text):
    count = text.count("\n")
    if count > LINES_MAX:
        yield f"{name}: {count} lines; a file has fewer than {LINES_MAX + 1}: one concept each"
    suffix = Path(name).suffix
    functions = {".c": c_functions, ".h": c_functions, ".py": python_functions}.get(suffix)
    for function, line, length in functions(text) if functions else []:
        if length > FUNCTION_MAX:
            yield f"{name}:{line}: {function} has {length} lines; a function has fewer than " \
                  f"{FUNCTION_MAX + 1}"


def needs_spdx(name):
    return Path(name).suffix not in WITHOUT_SPDX and name != LICENCE


def source_files(top):
    listed = subprocess.run(["git", "-C", top, "ls-files", "-z", "--cached", "--others",
                             "--exclude-standard"], capture_output=True, check=True).stdout
    for name in sorted(set(listed.decode().split("\0")) - {""}):
        if (top / name).is_file():
            try:
                yield name, (top / name).read_text()
            except UnicodeDecodeError:
                continue  # an image, a corpus file: not text


def check(top):
    for name, text in source_files(top):
        if name.startswith("tests/fuzz/corpus/") or not needs_spdx(name):
            continue
        if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.split("\n")[:5]):
            yield f"{name}: its first lines lack 'SPDX-License-Identifier: Apache-2.0'"
        yield from check_size(name, text)
        if name.startswith("src/") and name.endswith((".c", ".h")):
            yield from check_includes(name.removeprefix("src/"), text)


def main():
    top = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    broken = list(check(top))
    for line in broken:
        print(f"check-rooms: {line}")
    print(f"check-rooms: {len(broken)} broken rules")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
