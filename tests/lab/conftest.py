# SPDX-License-Identifier: Apache-2.0
"""The lab's fixtures. One boot serves a whole module of tests.

A machine that lacks something the lab needs skips these tests and says what to do about it. Where
the lab must run, that is a failure: in CI (the variable CI is set) or with PLATTER_LAB_REQUIRED=1.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import pytest

from platterlab import platter as platter_parts
from platterlab.bmc import VirtualBmc
from platterlab.chance import LONG, SEED
from platterlab.errors import LabUnavailable
from platterlab.machine import VirtualMachine
from platterlab.net import TapNetwork
from platterlab.openbmc import Bmcweb
from platterlab.platter import Platter

sys.path.insert(0, str(platter_parts.CHECKOUT / "tests/e2e"))


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: only where PLATTER_LONG=1, as in ./dev soak")


def pytest_collection_modifyitems(config, items):
    """What is marked so is no part of the short run at all."""
    long = [item for item in items if item.get_closest_marker("soak") and not LONG]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@contextlib.contextmanager
def lab() -> Iterator[None]:
    """Turns "cannot run here" into a skip, or into a failure where the lab must run."""
    try:
        yield
    except LabUnavailable as reason:
        if os.environ.get("CI") or os.environ.get("PLATTER_LAB_REQUIRED") == "1":
            pytest.fail(f"the lab must run here, but: {reason}", pytrace=False)
        pytest.skip(f"the lab cannot run: {reason}")


@pytest.fixture(scope="module")
def bmc() -> Iterator[VirtualBmc]:
    """A virtual BMC on QEMU's user networking."""
    with lab(), VirtualBmc(shares=platter_parts.outside_shares()) as booted:
        yield booted


@pytest.fixture(scope="module", params=platter_parts.EXPORTS)
def export(request: pytest.FixtureRequest) -> str:
    """Every way in which the machine can have its USB drive, one after the other."""
    return request.param


@pytest.fixture(scope="module")
def platter(bmc: VirtualBmc, export: str) -> Iterator[Platter]:
    """platterd and platter-helper, running in the virtual BMC with one slot."""
    with lab(), platter_parts.running(bmc, platter_parts.config_with(export)) as programs:
        yield programs


@pytest.fixture(scope="module")
def tap_bmc() -> Iterator[VirtualBmc]:
    """A virtual BMC on a tap device, for what measures; needs root."""
    with lab(), VirtualBmc(network=TapNetwork()) as booted:
        yield booted


@pytest.fixture
def machine() -> Iterator[VirtualMachine]:
    """A virtual machine that boots from whatever its one USB port offers; not yet started."""
    with lab(), VirtualMachine() as made:
        yield made


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what its machines said."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, (VirtualBmc, VirtualMachine, Platter, Bmcweb)):
                report.sections.append((f"lab: {name}", value.diagnosis()))


def pytest_terminal_summary(terminalreporter):
    """Also with -q, and above all when something failed."""
    terminalreporter.write_line(f"the lab's chance: PLATTER_SEED={SEED}")
