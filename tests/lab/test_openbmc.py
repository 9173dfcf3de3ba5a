# SPDX-License-Identifier: Apache-2.0
"""nbd-proxy where it is at home: started by (a stand-in for) bmcweb, with (a stand-in for) the page
of OpenBMC at the other end, or with Platter's own library there. And how long it keeps bmcweb
waiting, which stands still until nbd-proxy is gone."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platterlab.bmc import VirtualBmc
from platterlab.build import CHECKOUT
from platterlab.chance import LONG, chance
from platterlab.openbmc import Bmcweb, bmcweb

sys.path.insert(0, str(CHECKOUT / "tests/openbmc"))

from page_library import PageLibrary  # noqa: E402
from standin import MESSAGE_MAX, UNREAD_MAX  # noqa: E402
from webui_vue import WebuiVue  # noqa: E402

ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
# Of a medium that is not in nbd-proxy's cache when the machine begins to read it.
LARGE = 64 << 20
# In which a session can end: with three ways and two exports, 54 in the long form.
ROUNDS = 9 if LONG else 1


@pytest.fixture(scope="module", params=["usb", "kernel"])
def web(bmc: VirtualBmc, request: pytest.FixtureRequest) -> Iterator[Bmcweb]:
    """bmcweb, with an nbd-proxy that has this export."""
    with bmcweb(bmc, export=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openbmc") / "large.img"
    path.write_bytes(random.Random(9).randbytes(LARGE))
    return path


def check_over(web: Bmcweb, number: int) -> dict:
    """The session is over in time, and nothing is left of it."""
    end = web.wait_over(number)
    assert end["exit_seconds"] < 1, end
    assert end["unread_most"] <= UNREAD_MAX
    assert end["signal"] == 0, f"SIGTERM was not caught: {end}"
    web.wait_clean()
    return end


def read_all(bmc: VirtualBmc) -> None:
    drive = bmc.wait_for_disk()
    bmc.mark_kernel_log("reading")
    assert bmc.sha256(drive) == hashlib.sha256(ISO.read_bytes()).hexdigest()
    assert bmc.machine_complaints("reading") == []


def test_the_whole_iso_from_openbmcs_page(bmc: VirtualBmc, web: Bmcweb) -> None:
    number = len(web.sessions()) + 1
    with WebuiVue(web.port, ISO, web.host) as page:
        page.wait_negotiated()
        read_all(bmc)
        assert page.reads > 0
        assert set(page.refused) <= {3, 6, 7, 8}, "options alone, not one command"
    assert page.closed == (1000, "it said goodbye")
    end = check_over(web, number)
    assert end["end"] == "the page said goodbye"
    assert end["received"] >= ISO.stat().st_size


def test_the_whole_iso_from_platters_own_page(
    bmc: VirtualBmc, web: Bmcweb, tmp_path: Path
) -> None:
    number = len(web.sessions()) + 1
    with PageLibrary(web.port, ISO, tmp_path, web.host) as page:
        read_all(bmc)
        assert page.closed is None
    assert 65536 < page.longest <= MESSAGE_MAX
    assert check_over(web, number)["end"] == "the page was lost"


def falls_mute(page: WebuiVue) -> None:
    """Not a byte is read or sent by it, and then its connection is gone."""
    page.mute()
    page.vanish()


def dies(page: WebuiVue) -> None:
    """In the middle of a reply."""
    page.die()
    assert page.wait_closed() == (1006, "it died")


def says_goodbye(page: WebuiVue) -> None:
    """With reads unanswered: SIGTERM finds them so."""
    page.close()


@pytest.mark.parametrize("leave", [falls_mute, dies, says_goodbye], ids=lambda way: way.__name__)
def test_bmcweb_waits_less_than_a_second(
    bmc: VirtualBmc, web: Bmcweb, large: Path, leave: Callable[[WebuiVue], None]
) -> None:
    dice = chance(leave.__name__)
    for _ in range(ROUNDS):
        number = len(web.sessions()) + 1
        with WebuiVue(web.port, large, web.host) as page:
            page.wait_negotiated()
            drive = bmc.wait_for_disk()
            reading = bmc.start(
                f"dd if={drive} of=/dev/null bs=1M iflag=direct skip={dice.randrange(4, 32)}")
            page.hold()
            page.wait_pending()
            leave(page)
            check_over(web, number)
            assert reading.wait().status != 0, "it cannot have read it all"


def test_a_page_that_answers_no_ping_is_dropped(bmc: VirtualBmc, large: Path) -> None:
    with bmcweb(bmc, port=8071, idle=2) as web, WebuiVue(web.port, large, web.host) as page:
        page.wait_negotiated()
        drive = bmc.wait_for_disk()
        page.mute()
        reading = bmc.start(f"dd if={drive} of=/dev/null bs=1M iflag=direct skip=16")
        assert check_over(web, 1)["end"] == "the page was lost"
        assert reading.wait().status != 0
        page.vanish()
