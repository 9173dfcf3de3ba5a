# SPDX-License-Identifier: Apache-2.0
"""Leaving in every way there is. After each: no nbd connected, no gadget, no drive at the machine,
no stuck task, within seconds; and the next session works. Who leaves without a word may come back:
their drive waits, here for two seconds and then one more, or two for a platterd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page import Page

from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.chance import LONG
from platterlab.platter import EXPORTS, Platter

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
SESSIONS = 200 if LONG else 6


@pytest.fixture(scope="module")
def platter(bmc: VirtualBmc, export: str) -> Iterator[Platter]:
    """Both programs, without much patience for a page that is lost."""
    config = platter_parts.config_with(export, restart_grace=2) + "grace = 2\nkeep = 1\n"
    with platter_parts.running(bmc, config) as programs:
        yield programs


class Session:
    """A session that is under way, and all that takes part in it."""

    def __init__(self, bmc: VirtualBmc, platter: Platter, kind: str) -> None:
        self.bmc = bmc
        self.platter = platter
        self.page = Page(platter.url, ISO, kind)
        self.kind = kind
        self.drive = ""

    def __enter__(self) -> Session:
        self.page.__enter__()
        self.wait_until_plugged_in()
        return self

    def __exit__(self, *_: object) -> None:
        self.page.__exit__()

    def wait_until_plugged_in(self) -> None:
        self.page.wait_for_state("serving")
        self.drive = self.bmc.wait_for_disk(self.kind)

    def check_read(self) -> None:
        at = 32768
        assert self.bmc.read_at(self.drive, at, 4096) == ISO.read_bytes()[at : at + 4096]


def disconnect(session: Session) -> None:
    session.page.disconnect()


def close_the_tab(session: Session) -> None:
    session.page.close_tab()


def kill_the_browser(session: Session) -> None:
    session.page.kill_browser()


def eject_at_the_machine(session: Session) -> None:
    session.bmc.run(["eject", session.drive])
    ended = session.page.wait_until_ended()
    assert ended["code"] == 4001 and "eject" in ended["title"].lower(), ended


def stop_platterd(session: Session) -> None:
    assert session.platter.daemon and session.platter.daemon.stop().status == 0
    ended = session.page.wait_until_ended()
    assert ended["code"] == 1001 and ended["reason"], ended
    session.bmc.wait_clean()
    session.platter.start_daemon()


def kill_platterd(session: Session) -> None:
    assert session.platter.daemon
    session.platter.kill_daemon()
    session.bmc.run(f"test -e {session.drive}")
    session.bmc.wait_clean()
    session.platter.start_daemon()
    # The page has tried to come back all the while, to a session that is no more.
    ended = session.page.wait_until_ended()
    assert ended["code"] == 4006, ended


def kill_the_helper(session: Session) -> None:
    """The page says what happened; what the helper leaves is taken away by the next one."""
    assert session.platter.helper
    session.bmc.run(["kill", "-9", str(session.platter.helper.pid)])
    session.platter.helper.wait()
    session.platter.start_helper()
    ended = session.page.wait_until_ended()
    assert ended["code"] == 4004 and "helper" in ended["reason"], ended


WAYS = [
    disconnect,
    close_the_tab,
    kill_the_browser,
    eject_at_the_machine,
    stop_platterd,
    kill_platterd,
    kill_the_helper,
]
PAIRS = [(export, kind) for export in EXPORTS for kind in ("disk", "cd")]
# Each way with one of them in the short form, in turn: neither export nor kind has a say in it.
CASES = [
    pytest.param(way, export, kind, id=f"{way.__name__}-{export}-{kind}")
    for number, way in enumerate(WAYS)
    for export, kind in (PAIRS if LONG else [PAIRS[number % len(PAIRS)]])
]


@pytest.mark.parametrize(("leave", "export", "kind"), CASES, indirect=["export"], scope="module")
def test_nothing_is_left(
    bmc: VirtualBmc, platter: Platter, leave: Callable[[Session], None], kind: str
) -> None:
    with Session(bmc, platter, kind) as session:
        session.check_read()
        leave(session)
        bmc.wait_clean()
        assert platter.status()["state"] == "idle"
    with Session(bmc, platter, "disk") as session:
        session.check_read()
        session.page.disconnect()
        bmc.wait_clean()


def test_leaving_in_the_middle_of_a_read(bmc: VirtualBmc, platter: Platter) -> None:
    with Session(bmc, platter, "disk") as session:
        reading = bmc.start(
            f"while dd if={session.drive} of=/dev/null bs=64k iflag=direct status=none; do :; done"
        )
        session.page.kill_browser()
        reading.wait()
        bmc.wait_clean()


def test_soak_many_sessions_leave_nothing(bmc: VirtualBmc, platter: Platter) -> None:
    def sessions(count: int) -> dict[str, tuple[int, int]]:
        """That many in one page, one after the other; the programs' footprint without any page."""
        with Session(bmc, platter, "cd") as session:
            for number in range(count):
                if number > 0:
                    session.page.connect()
                    session.wait_until_plugged_in()
                session.check_read()
                session.page.disconnect()
                bmc.wait_clean()
        return platter.footprint()

    before = sessions(3)  # what is allocated once and kept is allocated by now
    after = sessions(SESSIONS)
    assert after.keys() == before.keys()
    for program, (descriptors, resident) in before.items():
        # The page's last connections may be closing still, before and after.
        assert after[program][0] <= descriptors + 2, f"descriptors of {program}"
        assert after[program][1] <= resident + 1024, f"resident KiB of {program}"
