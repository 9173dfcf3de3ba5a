# SPDX-License-Identifier: Apache-2.0
"""The libraries of another architecture, as Debian built them, in .cache/cross/ARCHITECTURE/.

They come through an apt of their own: its lists, its archive and its empty list of what is
installed lie in .cache/cross/ too, so this needs no root, and the machine's apt, its architectures
and its packages stay as they are. The mirror, and how it is reached, are the machine's.

What is in a sysroot is what tools/packages.txt names for a build, and what that depends on. One
that is complete is used as it is, without the network, until that list changes.
"""
import os
import shutil
import subprocess

import stage
from stage import TOP

CACHE = TOP / ".cache/cross"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def wanted_packages():
    """The development packages of the set `build`."""
    rows = [line.split() for line in (TOP / "tools/packages.txt").read_text().splitlines()]
    return sorted(row[0] for row in rows
                  if len(row) > 1 and row[1] == "build" and row[0].endswith("-dev"))


def release_name():
    lines = open("/etc/os-release").read().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"].strip('"')


def mirror(release):
    """Where the machine gets the release itself from; its updates and its security fixes are not
    there for every architecture at the same moment, and nothing that is shipped is linked here."""
    listed = subprocess.run(["apt-get", "indextargets", "--format",
                             "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
                            capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        suite, component, uri = line.split(" ", 2)
        if (suite, component) == (release, "main"):
            return uri
    raise RuntimeError(f"no source of this machine's apt has {release} main; add one")


def private_apt(architecture):
    """The arguments that make an apt-get this architecture's own."""
    root = CACHE / f"apt-{architecture}"
    for directory in ("lists/partial", "archives/partial"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "status").write_text("")
    release = release_name()
    (root / "sources.list").write_text(
        f"deb [signed-by={KEYRING}] {mirror(release)} {release} main\n")
    options = [f"Dir::State={root}", f"Dir::State::status={root}/status", f"Dir::Cache={root}",
               f"Dir::Etc::sourcelist={root}/sources.list", "Dir::Etc::sourceparts=-",
               f"APT::Architecture={architecture}", f"APT::Architectures={architecture}",
               # What it downloads is this user's, whoever that is.
               "APT::Sandbox::User=", "Acquire::Languages=none", "Acquire::Retries=3"]
    return root, ["apt-get", "-q", *(word for one in options for word in ("-o", one))]


def relative_links(root):
    """Links to /... would lead out of the sysroot."""
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            if os.path.islink(path) and os.readlink(path).startswith("/"):
                target = os.path.relpath(f"{root}{os.readlink(path)}", directory)
                os.unlink(path)
                os.symlink(target, path)


def unpack(architecture, packages, fresh):
    apt, command = private_apt(architecture)
    for step in (["update"], ["install", "--no-install-recommends", "--download-only", "-y",
                              *packages]):
        if stage.run([*command, *step]) != 0:
            raise RuntimeError(f"apt-get {step[0]} for {architecture} failed; its words are above")
    for package in sorted((apt / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, fresh], check=True)
    relative_links(fresh)
    shutil.rmtree(apt)


def provide(architecture):
    """The sysroot's path. Raises with the reason when there is none."""
    packages = wanted_packages()
    root = CACHE / architecture
    stamp = root / "platter-packages"
    key = " ".join([release_name(), *packages]) + "\n"
    if stamp.exists() and stamp.read_text() == key:
        return root
    fresh = CACHE / f"{architecture}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    fresh.mkdir(parents=True)
    unpack(architecture, packages, fresh)
    (fresh / stamp.name).write_text(key)
    fresh.rename(root)
    return root
