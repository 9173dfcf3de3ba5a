# SPDX-License-Identifier: Apache-2.0
"""The page's NBD server library, checked by NBD clients that others wrote: libnbd, nbdinfo, nbdcopy
and qemu-img. web/tools/serve-socket.mjs puts the very same library on a unix socket."""
import errno
import json
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import nbd
import pytest

from harness import TOP, Program, wait_until

TOOL = TOP / "web/tools/serve-socket.mjs"
MIB = 1 << 20
SIZE = 37 * MIB + 1536


@pytest.fixture(scope="module")
def directory():
    path = Path(tempfile.mkdtemp(prefix="platter-lib-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def image(directory):
    """Data, holes, and holes inside data; its last sector is short of a block."""
    path = directory / "image"
    dice = random.Random(7)
    with path.open("wb") as file:
        file.write(dice.randbytes(3 * MIB))
        file.seek(8 * MIB)
        for _ in range(400):
            file.write(dice.randbytes(dice.choice([512, 4096, 5000])))
            file.seek(dice.choice([0, 512, 4096, 65536]), os.SEEK_CUR)
        file.seek(SIZE - 700)
        file.write(dice.randbytes(700))
    assert path.stat().st_size == SIZE
    return path


@pytest.fixture
def serve(directory, tmp_path):
    """Starts the library over a file: serve(path, *options) gives (program, socket path)."""
    running = []

    def start(path, *options):
        socket = directory / f"s{len(running)}"
        socket.unlink(missing_ok=True)
        log = tmp_path / f"library-{len(running)}.log"
        argv = ["node", TOOL, "--listen", f"unix:{socket}", "--file", path, *options]
        program = Program("serve-socket.mjs", argv, log)
        running.append(program)
        program.wait_for("listening", 30)
        return program, socket

    yield start
    for program in running:
        if program.running():
            program.stop()


def uri(socket, name=""):
    return f"nbd+unix:///{name}?socket={socket}"


def run(*argv):
    words = [str(word) for word in argv]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def nbdinfo(*argv):
    # Without a guess at the content: of random bytes it may hold any byte at all.
    return json.loads(run("nbdinfo", "--no-content", "--json", *argv))


def connect(socket, structured=True):
    client = nbd.NBD()
    client.set_request_structured_replies(structured)
    client.set_strict_mode(0)
    client.connect_unix(str(socket))
    return client


def test_nbdinfo_understands_it(serve, image):
    _, socket = serve(image, "--name", "disc")
    about = nbdinfo(uri(socket))
    assert about["protocol"] == "newstyle-fixed"
    assert about["structured"] is True
    export = about["exports"][0]
    assert export["export-size"] == SIZE
    assert export["is_read_only"] is True
    assert export["can_flush"] is True
    assert export["can_df"] is True
    sizes = [export[f"block_size_{which}"] for which in ("minimum", "preferred", "maximum")]
    assert sizes == [1, 4096, MIB]
    listed = nbdinfo("--list", uri(socket))
    assert [one["export-name"] for one in listed["exports"]] == ["disc"]
    named = nbdinfo(uri(socket, "disc"))["exports"][0]
    assert named["export-size"] == SIZE
    with pytest.raises(subprocess.CalledProcessError):
        run("nbdinfo", uri(socket, "other"))


def test_nbdcopy_copies_it(serve, image, tmp_path):
    _, socket = serve(image)
    copy = tmp_path / "copy"
    run("nbdcopy", "--requests=64", uri(socket), copy)
    run("cmp", image, copy)


def test_nbdcopy_copies_it_through_small_messages(serve, image, tmp_path):
    """Messages of the length that OpenBMC's web server bears."""
    _, socket = serve(image, "--bmcweb")
    copy = tmp_path / "copy"
    run("nbdcopy", "--request-size=131072", uri(socket), copy)
    run("cmp", image, copy)


def test_qemu_img_finds_it_identical(serve, image):
    _, socket = serve(image)
    assert "identical" in run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri(socket))


@pytest.mark.parametrize("structured", [True, False])
def test_libnbd_reads_any_range(serve, image, structured):
    _, socket = serve(image)
    client = connect(socket, structured)
    assert client.get_structured_replies_negotiated() is structured
    whole = image.read_bytes()
    dice = random.Random(3)
    for _ in range(200):
        length = dice.choice([1, 511, 512, 4096, 5000, 131072, MIB])
        offset = dice.randrange(SIZE - length + 1)
        assert client.pread(length, offset) == whole[offset:offset + length]
    assert client.pread(700, SIZE - 700) == whole[-700:]
    client.flush()
    client.shutdown()


def test_libnbd_sees_chunks_that_cover_each_read_once(serve, image):
    _, socket = serve(image)
    client = connect(socket)
    holes = 0

    def chunk(data, offset, status, error):
        nonlocal holes
        assert status in (nbd.READ_DATA, nbd.READ_HOLE)
        holes += status == nbd.READ_HOLE
        covered.append((offset, len(data)))

    for offset in range(0, SIZE - MIB, MIB):
        covered = []
        client.pread_structured(MIB, offset, chunk)
        at = offset
        for start, length in sorted(covered):
            assert start == at
            at += length
        assert at == offset + MIB
    assert holes > 0
    covered = []
    client.pread_structured(MIB, 8 * MIB, chunk, nbd.CMD_FLAG_DF)
    assert len(covered) == 1
    client.shutdown()


def test_libnbd_with_many_reads_in_flight(serve, image):
    _, socket = serve(image)
    client = connect(socket)
    whole = image.read_bytes()
    reads = []
    for index in range(300):
        buffer = nbd.Buffer(65536)
        offset = index * 65536 % (SIZE - 65536)
        reads.append((offset, buffer, client.aio_pread(buffer, offset)))
    for offset, buffer, cookie in reads:
        while not client.aio_command_completed(cookie):
            client.poll(10000)
        assert buffer.to_bytearray() == whole[offset:offset + 65536]
    client.shutdown()


def test_libnbd_is_refused_what_is_wrong_and_goes_on(serve, image):
    _, socket = serve(image)
    client = connect(socket)

    def refused(number, call, *arguments):
        with pytest.raises(nbd.Error) as caught:
            call(*arguments)
        assert caught.value.errnum == number

    refused(errno.EINVAL, client.pread, 512, SIZE - 100)
    refused(errno.EINVAL, client.pread, 2 * MIB, 0)
    refused(errno.EPERM, client.pwrite, b"x" * 4096, 0)
    refused(errno.EPERM, client.trim, 4096, 0)
    refused(errno.EPERM, client.zero, 4096, 0)
    assert client.pread(512, 0) == image.read_bytes()[:512]
    client.shutdown()


def test_a_file_that_changes_is_eio(serve, directory):
    path = directory / "changing"
    path.write_bytes(b"7" * 9 * MIB)
    program, socket = serve(path)
    client = connect(socket)
    assert client.pread(512, 0) == b"7" * 512
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(nbd.Error) as caught:
        client.pread(512, 8 * MIB)
    assert caught.value.errnum == errno.EIO
    wait_until(lambda: "changed: unreadable" in program.text(), "the store tells of it")
    with pytest.raises(nbd.Error):
        client.pread(512, 0)
    client.shutdown()


def test_a_goodbye_ends_it(serve, image):
    program, socket = serve(image)
    connect(socket).shutdown()
    program.wait_for("done: The far end took its leave")
