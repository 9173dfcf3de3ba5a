# SPDX-License-Identifier: Apache-2.0
"""A QEMU guest takes the `unix` export as its CD drive and boots from it: the ISO stays in
the browser, and the guest's firmware and boot loader read it from there."""
import json
import subprocess
import sys

import pytest

from harness import TOP, wait_until

sys.path.insert(0, str(TOP / "tests/lab"))
from platterlab.machine import VirtualMachine  # noqa: E402

ISO = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"


@pytest.fixture
def page(platterd):
    """A browser that has given the ISO to platterd; yields what platterd says of the slot."""
    daemon = platterd()
    driver = subprocess.Popen(
        ["node", TOP / "tests/e2e/page.mjs", "--url", f"{daemon.url}/", "--file", ISO,
         "--kind", "cd"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in driver.stdout:
        said = json.loads(line)
        if said.get("state") == "serving" and said.get("uri"):
            yield said["uri"]
            break
    else:
        pytest.fail(f"the page driver ended with {driver.wait()} before the drive was there")
    driver.communicate("quit\n", timeout=20)


@pytest.mark.timeout(300)
def test_guest_boots_from_its_cd_drive(page):
    with VirtualMachine() as machine:
        machine.start_with_cd(page)
        machine.wait_for_text("GNU GRUB", timeout=120)
        machine.reset()
        machine.wait_until_gone("GNU GRUB")
        wait_until(lambda: "GNU GRUB" in machine.screen(), "the menu again, after a reset", 120)
