#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what a virtual BMC boots from: Debian's stock kernel, its modules, and an initramfs.

Everything is made as an ordinary user: the kernel's package is downloaded and unpacked, never
installed. It is kept in `.cache/lab/` of the checkout, under names that hold the kernel's version
and a digest of the rest, so a run that changes nothing builds nothing. Each directory is made under
another name and then renamed: it is there whole or not at all, also when two runs race.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if __package__:
    from .errors import LabUnavailable
else:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from platterlab.errors import LabUnavailable

CHECKOUT = Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".cache" / "lab"
GUEST = Path(__file__).resolve().parent / "guest"
BUSYBOX = Path("/usr/bin/busybox")

# What the guest loads at boot, in this order, each with its dependencies before it. max_part=0:
# a partition table inside a medium is the machine's business. num=2: a second controller, so that
# "the first is busy" can be tried too.
MODULES = {
    "virtio_pci": "",
    "virtio_console": "",
    "virtio_net": "",
    "virtio_rng": "",
    "9pnet_virtio": "",
    "9p": "",
    "overlay": "",
    "configfs": "",
    "nbd": "max_part=0",
    "dummy_hcd": "num=2",
    "libcomposite": "",
    "usb_f_mass_storage": "",
    "usb_f_fs": "",
    "usb_storage": "",
    "sd_mod": "",
    "sr_mod": "",
    "sg": "",
    "usbmon": "",
    "sch_netem": "",
    "loop": "",
    "isofs": "",
    "vfat": "",
    "nls_cp437": "",
    "nls_ascii": "",
}


@dataclass(frozen=True)
class BootFiles:
    """What QEMU is given, and where the modules lie for the guest's own modprobe."""

    kernel: Path
    initramfs: Path
    release: str
    modules: Path


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabUnavailable(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def _kernel_package() -> tuple[str, str]:
    """Name and version of the package that linux-image-amd64 stands for today."""
    depends = _run("apt-cache", "depends", "linux-image-amd64")
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if not found:
        raise LabUnavailable("apt knows no package linux-image-amd64: run `sudo apt-get update`.")
    shown = _run("apt-cache", "show", "--no-all-versions", found[1])
    version = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
    if not version:
        raise LabUnavailable(f"apt shows no version of {found[1]}: run `sudo apt-get update`.")
    return found[1], version[1]


def _load_order(modules_root: Path, release: str) -> list[tuple[Path, str]]:
    """The files to insmod, dependencies first, with their parameters."""
    paths: dict[str, Path] = {}
    needs: dict[str, list[str]] = {}

    def name_of(path: str) -> str:
        return Path(path).name.split(".ko")[0].replace("-", "_")

    base = modules_root / "lib/modules" / release
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        paths[name_of(path)] = base / path
        needs[name_of(path)] = [name_of(d) for d in dependencies.split()]
    order: list[tuple[Path, str]] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        # modules.dep names all dependencies of a module, the nearest first.
        for dependency in needs[name]:
            visit(dependency)
        order.append((paths[name], MODULES.get(name, "")))

    for wanted in MODULES:
        if wanted not in paths:
            raise LabUnavailable(f"the kernel {release} has no module {wanted}.")
        visit(wanted)
    return order


def _make_kernel(package: str, version: str, target: Path) -> None:
    print(f"lab: fetching {package} {version}", file=sys.stderr)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as made:
        work = Path(made)
        _run("apt-get", "-q", "download", f"{package}={version}", cwd=work)
        (deb,) = work.glob("*.deb")
        whole = work / "whole"
        _run("dpkg", "-x", str(deb), str(whole))
        release = package.removeprefix("linux-image-")
        _run("/sbin/depmod", "-b", str(whole), release)
        kept = work / "kept"
        # Only the modules that are used are kept: 3 MB, not 400.
        for path, _ in _load_order(whole, release):
            copy = kept / path.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(whole / "lib/modules" / release / name, kept / "lib/modules" / release)
        _run("/sbin/depmod", "-b", str(kept), release)
        shutil.copy(whole / "boot" / f"vmlinuz-{release}", kept / "vmlinuz")
        _rename(kept, target)


def _make_initramfs(kernel: Path, release: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as made:
        root = Path(made) / "root"
        for directory in ("bin", "modules", "dev", "proc", "sys", "lower", "upper", "root"):
            (root / directory).mkdir(parents=True)
        shutil.copy(BUSYBOX, root / "bin/busybox")
        for name in ("init", "pid1", "agent.py"):
            shutil.copy(GUEST / name, root / name)
            (root / name).chmod(0o755)
        lines = []
        for path, parameters in _load_order(kernel, release):
            shutil.copy(path, root / "modules")
            lines.append(f"{path.name} {parameters}".strip())
        (root / "modules.load").write_text("\n".join(lines) + "\n")
        kept = Path(made) / "kept"
        kept.mkdir()
        names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
        packed = subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
            cwd=root,
            input=names.encode(),
            capture_output=True,
            check=True,
        )
        (kept / "initramfs").write_bytes(packed.stdout)
        _rename(kept, target)


def _rename(made: Path, target: Path) -> None:
    made.chmod(0o755)
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():  # else another run was faster, and its result is as good
            raise


def _digest() -> str:
    digest = hashlib.sha256(repr(MODULES).encode())
    for path in (BUSYBOX, GUEST / "init", GUEST / "pid1", GUEST / "agent.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _check_tools() -> None:
    wanted = {
        "qemu-system-x86_64": "qemu-system-x86",
        "cpio": "cpio",
        "/sbin/depmod": "kmod",
        str(BUSYBOX): "busybox-static",
        "setpriv": "util-linux",
    }
    missing = [package for tool, package in wanted.items() if not shutil.which(tool)]
    if missing:
        raise LabUnavailable(
            f"the lab needs {', '.join(missing)}: run `./dev setup`, "
            f"or `sudo apt-get install {' '.join(missing)}`."
        )


def boot_files() -> BootFiles:
    """Makes what is not there yet. Raises LabUnavailable with the reason when it cannot."""
    _check_tools()
    package, version = _kernel_package()
    release = package.removeprefix("linux-image-")
    # The list of modules decides which are kept, so it is part of the name.
    modules = hashlib.sha256(repr(MODULES).encode()).hexdigest()[:6]
    kernel = CACHE / f"kernel-{release}-{version}-{modules}"
    initramfs = CACHE / f"initramfs-{release}-{version}-{_digest()}"
    try:
        if not kernel.is_dir():
            _make_kernel(package, version, kernel)
        if not initramfs.is_dir():
            _make_initramfs(kernel, release, initramfs)
    except PermissionError as error:
        raise LabUnavailable(
            f"{error.filename or CACHE} is not yours to write: the lab keeps its kernel there. "
            f"Give it to yourself with `sudo chown -R {os.getuid()} {CHECKOUT / '.cache'}`."
        ) from error
    return BootFiles(
        kernel / "vmlinuz", initramfs / "initramfs", release, kernel / "lib/modules" / release
    )


if __name__ == "__main__":
    try:
        print(boot_files())
    except LabUnavailable as reason:
        sys.exit(f"lab: {reason}")
