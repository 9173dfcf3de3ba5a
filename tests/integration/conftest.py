# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration tests. PLATTER_BUILD names the build directory (build-asan/)."""
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import BUILD, NOBODY, Platterd, Programs, free_port, write_config


@pytest.fixture(scope="session")
def build():
    """The build directory under test."""
    if not (BUILD / "build.ninja").exists():
        pytest.exit(f"there is no build in {BUILD}: run ./dev test integration", returncode=2)
    return BUILD


@pytest.fixture
def workdir():
    """An empty directory with a path short enough for a unix socket, nobody's when we are root."""
    path = Path(tempfile.mkdtemp(prefix="platter-"))
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def programs(build, workdir):
    """Starts programs, stops them after the test, and fails it on any sanitizer report or crash."""
    started = Programs(workdir)
    yield started
    wrong = started.check()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def platterd(programs, workdir):
    """A function that starts platterd: platterd(slots=("export = unix\\n",), daemon="...\\n").
    With the port of one that has ended it is that one's successor, in the same directories."""
    def start(env=None, port=None, **config):
        port = port or free_port()
        return Platterd(programs, port, write_config(workdir, port, **config), env)
    return start
