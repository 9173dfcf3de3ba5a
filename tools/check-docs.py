#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the documents point at things that exist.

Relative links and their #anchors in every tracked Markdown file, and every file of the tree that is
named in `code` in docs/ and the README (src/..., tools/..., tests/..., web/..., docs/...).

usage: check-docs.py [CHECKOUT]
"""
import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")
NAMED = re.compile(r"`((?:src|tools|tests|web|docs|packaging|\.ci)/[\w./-]*)`")
# What a build makes is there or not.
BUILT = ("web/dist",)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text):
    """The anchors that GitHub and most others make of the headings."""
    for heading in re.findall(r"^#+\s+(.+)$", FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        yield plain.replace(" ", "-")


def check_link(top, name, target):
    if re.match(r"[a-z][a-z+.-]*:", target):
        return None
    path, _, anchor = target.partition("#")
    file = (top / name).parent / path if path else top / name
    if not file.exists():
        return f"{name}: links to {target}, which does not exist"
    if anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
        return f"{name}: links to {target}, but there is no such heading"
    return None


def check(top):
    listed = subprocess.run(["git", "-C", top, "ls-files", "-z", "--cached", "--others",
                             "--exclude-standard", "--", "*.md"], capture_output=True, check=True)
    for name in sorted(set(listed.stdout.decode().split("\0")) - {""}):
        if not (top / name).exists():
            continue
        text = (top / name).read_text()
        prose = FENCE.sub("", text)
        for match in LINK.finditer(prose):
            yield check_link(top, name, match[1] or match[2])
        for path in NAMED.findall(prose):
            if path.startswith(BUILT):
                continue
            if not (top / path).exists() and not list(top.glob(path.rstrip("/") + ".[ch]")):
                yield f"{name}: names `{path}`, which does not exist"


def main():
    top = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    broken = [line for line in check(top) if line]
    for line in broken:
        print(f"check-docs: {line}")
    print(f"check-docs: {len(broken)} broken references")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
