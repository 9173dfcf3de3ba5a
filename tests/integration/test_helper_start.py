# SPDX-License-Identifier: Apache-2.0
"""What platter-helper says when it cannot start: one sentence, and nothing is left or taken."""
import os
import socket

import pytest

from harness import SANITIZER_EXIT


@pytest.fixture
def start(programs, workdir):
    """Starts the helper with these lines under [helper]; it does nothing to a machine by that."""
    binary = programs.install("src/priv/platter-helper")

    def run(**keys):
        config = workdir / "helper.conf"
        lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
        config.write_text(f"[helper]\n{lines}[slot 0]\nexport = kernel\n")
        return programs.start("helper", [binary, "--config", config])

    return run


def sentence(program):
    code = program.wait()
    assert code not in (SANITIZER_EXIT, 0)
    lines = program.text().strip().split("\n")
    assert len(lines) == 1, lines
    return lines[0]


def test_what_it_refuses(start, place, workdir):
    good = {"user": os.geteuid(), "state_dir": place, "socket": place / "helper.sock"}
    assert "there is no user nobody-at-all" in sentence(start(**{**good, "user": "nobody-at-all"}))
    assert "/nowhere/at/all" in sentence(start(**{**good, "state_dir": "/nowhere/at/all"}))
    place.chmod(0o777)
    assert f"others than root may write in {place}" in sentence(start(**good))
    place.chmod(0o700)
    shared = workdir / "shared"
    shared.mkdir()
    shared.chmod(0o770)
    said = sentence(start(**{**good, "socket": shared / "helper.sock"}))
    assert f"others than root may write in {shared}" in said
    (place / "helper.sock").write_text("precious")
    assert "a file is there" in sentence(start(**good))
    assert (place / "helper.sock").read_text() == "precious"


def test_another_helper_is_left_alone(start, place, workdir, programs):
    good = {"user": os.geteuid(), "state_dir": place, "socket": place / "helper.sock"}
    first = start(**good)
    first.wait_for("listening on")
    assert "another platter-helper runs" in sentence(start(**good))
    other = workdir / "other"
    other.mkdir(mode=0o700)
    assert "another program's socket is there" in sentence(start(**{**good, "state_dir": other}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(place / "helper.sock"))
    # One that was killed leaves a dead socket, which is in nobody's way.
    first.kill()
    again = start(**good)
    again.wait_for("listening on")
    assert again.stop() == 0
    assert not (place / "helper.sock").exists()
