# SPDX-License-Identifier: Apache-2.0
"""The virtual BMC: a Linux machine with kernel nbd, two USB device controllers (dummy_hcd) and, on
the far side of those, its own SCSI host. Its root is the outer machine's, under a tmpfs.

The checkout and every directory in `shares` are seen at their own paths, read-only. `exchange` is a
directory both sides write (`/exchange` in the guest).
"""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

from .build import CHECKOUT, boot_files
from .channel import Channel, Command, Result
from .errors import LabError
from .net import Network, UserNetwork
from .qemu import Qemu

# Lines of the kernel's log by which the machine's side shows that it noticed trouble. nbd's own
# lines are the device's business, and the two sides share one kernel here.
_COMPLAINT = re.compile(
    r"^(usb \d|scsi |sd \d|sr \d|usb-storage|dummy_hcd)|I/O error|critical \w+ error|Buffer I/O"
)
# A machine resets a drive whose answer it has not got, and asks again: programs see a pause.
_RESET = re.compile(r"^usb \S+: reset |Power-on or device reset occurred")

_LEFTOVERS = r"""
for f in /sys/block/nbd*/pid; do
    [ -e "$f" ] && f=${f%/pid} && echo "${f##*/} is connected"
done
for d in /sys/kernel/config/usb_gadget/*; do [ -d "$d" ] && echo "gadget ${d##*/} exists"; done
for d in /proc/[0-9]*; do
    read -r _ name state _ <"$d/stat" && [ "$state" = D ] && echo "task $name is in D state"
done 2>/dev/null
for d in /sys/block/s[dr]*; do [ -d "$d" ] && echo "the machine still has ${d##*/}"; done
true
"""


class VirtualBmc:
    """Boot it by entering the context; everything ends when it is left."""

    def __init__(
        self,
        shares: tuple[Path, ...] = (),
        network: Network | None = None,
        memory: int = 1024,
    ) -> None:
        self._shares = [CHECKOUT, *shares]
        self._memory = memory
        self.network = network or UserNetwork()
        self._qemu = Qemu("bmc", self.network.prefix)
        self._channel: Channel | None = None
        self.exchange = self._qemu.directory / "exchange"

    def __enter__(self) -> VirtualBmc:
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._channel:
            self._channel.close()
        self._qemu.close()
        self.network.close()

    def _boot(self) -> None:
        files = boot_files()
        self.exchange.mkdir()
        agent = self._qemu.directory / "agent"
        self.network.open()
        append = (
            # In emulation all processors have one counter; without this word the kernel goes by the
            # HPET, and every look at the time is an exit to QEMU.
            "tsc=reliable console=ttyS0 quiet panic=-1 loglevel=4 "
            f"lab.address={self.network.guest_address} lab.gateway={self.network.gateway}"
        )
        arguments = ["-M", "q35", "-smp", "2", "-m", str(self._memory), "-display", "none"]
        arguments += ["-no-reboot", "-kernel", str(files.kernel)]
        arguments += ["-initrd", str(files.initramfs), "-append", append]
        arguments += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        arguments += ["-chardev", f"socket,id=agent,path={agent},server=on,wait=off"]
        arguments += ["-device", "virtserialport,chardev=agent,name=platter.lab"]
        arguments += [*self.network.arguments, "-device", "virtio-net-pci,netdev=net"]
        arguments += _share(Path("/"), "root", "readonly=on,")
        arguments += _share(self.exchange, "exchange", "")
        for number, path in enumerate(self._shares):
            arguments += _share(path, f"share{number}", "readonly=on,")
        self._qemu.start(arguments)
        try:
            self._channel = Channel(self._qemu.connect(agent))
            self._channel.wait_until_ready(120)
        except LabError as error:
            raise LabError(f"{error}\n--- console\n{self._qemu.console_tail()}") from error
        self._mount(files.release, files.modules)

    def _mount(self, release: str, modules: Path) -> None:
        script = ["set -e", "share() {", '    mkdir -p "$2"']
        script += ['    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"']
        script += ["}", "share exchange /exchange cache=none"]
        for number, path in enumerate(self._shares):
            script.append(f"share share{number} {shlex.quote(str(path))} ro,cache=loose")
        # So that modprobe works as on any machine, for what is loaded already at least.
        script += [f"mkdir -p /usr/lib/modules/{release}"]
        script += [f"mount --bind {shlex.quote(str(modules))} /usr/lib/modules/{release}"]
        self.run("\n".join(script))

    def start(
        self, command: str | list[str], env: dict[str, str] | None = None, stdin: bytes = b""
    ) -> Command:
        """Starts a command (a string is for the shell) as root in the guest."""
        assert self._channel
        words = ["sh", "-c", command] if isinstance(command, str) else command
        started = self._channel.start(words, env or {}, stdin)
        started.wait_until_started()
        return started

    def run(
        self,
        command: str | list[str],
        timeout: float = 60,
        check: bool = True,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Result:
        """Runs a command to its end. `check`: a status other than 0 is an error."""
        started = self.start(command, env, stdin)
        result = started.wait(timeout)
        if check and result.status != 0:
            raise LabError(f"in the virtual BMC, {started.tell()}")
        return result

    def write_file(self, path: str, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self.run(["sh", "-c", 'cat >"$1"', "sh", path], stdin=data)

    def address(self, port: int) -> tuple[str, int]:
        """Where the outer side reaches this TCP port of the guest."""
        return self.network.reach(self._qemu, port)

    def wait_for_disk(self, kind: str = "disk", timeout: float = 60) -> str:
        """The machine's newest drive once it has a medium: "/dev/sda", or "/dev/sr0" for "cd"."""
        pattern = "sr" if kind == "cd" else "sd"
        # An optical drive without a medium has a size as well: the kernel's guess.
        script = f"""
            while :; do
                for d in /sys/block/{pattern}*; do
                    d=/dev/${{d##*/}}
                    [ "$(cat "/sys/block/${{d#/dev/}}/size" 2>&1)" -gt 0 ] &&
                        head -c 2048 "$d" >/dev/null && echo "$d" && exit
                done 2>/dev/null
                sleep 0.1
            done"""
        return self.run(script, timeout).out.strip()

    def sha256(self, device: str, timeout: float = 180) -> str:
        """The digest of all of a drive, as the machine reads it, past its page cache."""
        script = f"""set -o pipefail
            dd if={shlex.quote(device)} bs=1M iflag=direct status=none | sha256sum"""
        return self.run(["bash", "-c", script], timeout).out.split()[0]

    def read_at(self, device: str, offset: int, length: int) -> bytes:
        """Bytes of a drive as the machine reads them, with O_DIRECT: multiples of 4096."""
        assert offset % 4096 == 0 and length % 4096 == 0
        command = ["dd", f"if={device}", "bs=4096", f"skip={offset // 4096}"]
        command += [f"count={length // 4096}", "iflag=direct", "status=none"]
        quoted = " ".join(shlex.quote(word) for word in command)
        return bytes.fromhex(self.run(f"{quoted} | od -An -v -tx1").out)

    def leftovers(self) -> list[str]:
        """What a session has left behind; empty when the device and the machine are clean."""
        return self.run(_LEFTOVERS).out.splitlines()

    def wait_clean(self, timeout: float = 10) -> None:
        deadline = time.monotonic() + timeout
        while left := self.leftovers():
            if time.monotonic() > deadline:
                raise LabError(f"after {timeout} s: {'; '.join(left)}")
            time.sleep(0.2)

    def kernel_log(self) -> list[str]:
        return self.run(["dmesg", "--notime"]).out.splitlines()

    def mark_kernel_log(self, text: str) -> None:
        """Puts a line into the kernel's log, for machine_complaints() to start from."""
        self.write_file("/dev/kmsg", f"lab: {text}\n")

    def machine_complaints(self, since: str, may_reset: bool = False) -> list[str]:
        """The lines in which the machine's side noticed something, after the mark `since`.
        `may_reset`: that it has reset its drive is none."""
        lines = self.kernel_log()
        mark = max(n for n, line in enumerate(lines) if line == f"lab: {since}")
        rows = [line for line in lines[mark + 1 :] if _COMPLAINT.search(line) and "nbd" not in line]
        return [row for row in rows if not (may_reset and _RESET.search(row))]

    def diagnosis(self) -> str:
        """What one wants to see when a test has failed."""
        parts = [f"--- console\n{self._qemu.console_tail()}"]
        try:
            log = "\n".join(self.kernel_log()[-40:])
            parts += [f"--- kernel log\n{log}", f"--- left over\n{self.leftovers()}"]
        except LabError as error:
            parts.append(str(error))
        return "\n".join(parts)


def _share(path: Path, tag: str, options: str) -> list[str]:
    escaped = str(path).replace(",", ",,")
    return [
        "-fsdev",
        f"local,id={tag},path={escaped},{options}security_model=none,multidevs=remap",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]
