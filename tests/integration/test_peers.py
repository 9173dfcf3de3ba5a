# SPDX-License-Identifier: Apache-2.0
"""Independent NBD programs at both ends of platterd's path, without its web.

test-relay joins source/peer, the engine and the export `unix`. Behind it stand nbdkit and qemu-nbd,
where platterd has a browser; before it nbdinfo, nbdcopy, qemu-img, fio and libnbd.
"""
import errno
import hashlib
import json
import random
import re
import resource
import shutil
import socket
import subprocess
import time

import nbd
import pytest

from harness import wait_until
from relay import RELAY

SIZE = 9_000_007  # not a multiple of anything


@pytest.fixture
def image(workdir):
    """A file with data, a long hole in the middle, and an odd size."""
    path = workdir / "image"
    noise = random.Random(1).randbytes(2_500_000)
    with path.open("wb") as out:
        out.write(noise)
        out.seek(SIZE - len(noise))
        out.write(noise[::-1])
    assert path.stat().st_size == SIZE
    return path


def digest(data):
    return hashlib.sha256(data).hexdigest()


def run(*argv, timeout=60):
    return subprocess.run([str(word) for word in argv], check=True, timeout=timeout,
                          capture_output=True).stdout


# Far ends of every kind a client must cope with; each serves the file in {image}.
FAR_ENDS = {
    "plain": ["-r", "file", "{image}"],
    "export name only": ["-r", "--mask-handshake=0", "file", "{image}"],
    "no zeroes only": ["-r", "--mask-handshake=2", "file", "{image}"],
    "no structured replies": ["-r", "--no-sr", "file", "{image}"],
    "odd block sizes": ["-r", "--filter=blocksize-policy", "--filter=truncate", "file", "{image}",
                        "blocksize-minimum=4096", "blocksize-preferred=64K",
                        "blocksize-maximum=256K", "blocksize-error-policy=error",
                        "round-up=4096"],
    "slow": ["-r", "--filter=delay", "file", "{image}", "delay-read=5ms"],
    "no extents": ["-r", "--filter=noextents", "file", "{image}"],
    "writable": ["file", "{image}"],
}


@pytest.mark.parametrize("kind", FAR_ENDS)
def test_every_far_end_gives_the_same_bytes(kind, far_end, relay, image):
    here = relay(far_end(*[word.format(image=image) for word in FAR_ENDS[kind]]))
    want = image.read_bytes()
    got = run("nbdcopy", here.uri, "-")
    if "round-up=4096" in FAR_ENDS[kind]:
        assert len(got) == -(-SIZE // 4096) * 4096
        assert not any(got[SIZE:])
        got = got[:SIZE]
    assert digest(got) == digest(want)
    assert here.program.stop() == 0, here.program.text()


@pytest.fixture
def qemu_nbd(programs, workdir, image):
    """qemu-nbd, serving the image; it reads holes as such, and rounds the size up to sectors."""
    path = workdir / "qemu.sock"
    programs.start("qemu-nbd", ["qemu-nbd", "-r", "-t", "-f", "raw", "-k", path, image])
    wait_until(path.is_socket, "qemu-nbd listens")
    return path


def test_qemu_nbd_as_the_far_end(qemu_nbd, relay, image):
    here = relay(qemu_nbd)
    got = run("nbdcopy", here.uri, "-")
    assert digest(got[:SIZE]) == digest(image.read_bytes())
    assert len(got) == -(-SIZE // 512) * 512 and not any(got[SIZE:])
    assert here.program.stop() == 0, here.program.text()


def test_nbdinfo(far_end, relay, image):
    here = relay(far_end("-r", "file", image))
    for arguments in ([], ["--list"]):
        told = json.loads(run("nbdinfo", "--no-content", "--json", *arguments, here.uri))
        export, = told["exports"]
        assert told["protocol"] == "newstyle-fixed" and told["structured"]
        assert export["export-name"] == "" and export["export-size"] == SIZE
        assert export["is_read_only"] and export["can_multi_conn"]
        assert export["can_df"] and export["can_flush"]
        assert export["block_size_minimum"] == 1
    assert run("nbdinfo", "--size", here.uri).strip() == str(SIZE).encode()


def test_qemu_img(far_end, relay, image):
    here = relay(far_end("-r", "file", image))
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", here.uri, image)
    told = json.loads(run("qemu-img", "info", "-f", "raw", "--output=json", here.uri))
    assert told["virtual-size"] in (SIZE, -(-SIZE // 512) * 512)


def test_fio(far_end, relay, workdir):
    here = relay(far_end("-r", "pattern", "8M"))
    run("fio", "--name=peer", "--ioengine=nbd", f"--uri={here.uri}", "--rw=randread", "--bs=4k",
        "--iodepth=32", "--size=8M", "--io_size=4M", f"--aux-path={workdir}")
    assert here.program.stop() == 0, here.program.text()


@pytest.mark.parametrize("structured", [True, False])
def test_many_reads_in_flight_of_any_alignment(structured, far_end, relay, image):
    here = relay(far_end("-r", "--filter=delay", "file", image, "delay-read=1ms"))
    handle = here.connect(structured)
    assert handle.get_structured_replies_negotiated() == structured
    want = image.read_bytes()
    rng = random.Random(2)
    asked = {}
    for _ in range(300):
        offset = rng.randrange(SIZE)
        length = min(rng.choice([1, 511, 512, 4097, 70_000, 1 << 20]), SIZE - offset)
        buffer = nbd.Buffer(length)
        asked[handle.aio_pread(buffer, offset)] = (buffer, offset, length)
        while handle.aio_in_flight() > 100:
            handle.poll(-1)
    while handle.aio_in_flight():
        handle.poll(-1)
    for cookie, (buffer, offset, length) in asked.items():
        assert handle.aio_command_completed(cookie)
        assert bytes(buffer.to_bytearray()) == want[offset:offset + length]
    handle.shutdown()
    assert here.program.stop() == 0, here.program.text()


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("length", [(2 << 20) - 1, 2 << 20, (2 << 20) + 1, SIZE])
def test_long_reads_are_served_in_pieces(structured, length, far_end, relay, image):
    here = relay(far_end("-r", "file", image))
    handle = here.connect(structured)
    assert digest(handle.pread(length, 0)) == digest(image.read_bytes()[:length])
    handle.shutdown()


def test_holes_stay_holes(qemu_nbd, relay, image):
    here = relay(qemu_nbd)
    handle = here.connect()

    def read(length, offset, **named):
        chunks = []

        def note(data, at, status, _error):
            chunks.append((at, len(data), status))
        return bytes(handle.pread_structured(length, offset, note, **named)), chunks

    want = image.read_bytes()
    for flags in (0, nbd.CMD_FLAG_DF):
        data, chunks = read(1 << 20, 4 << 20, flags=flags)
        assert not any(data) and [chunk[2] for chunk in chunks] == [nbd.READ_HOLE]
        data, chunks = read(1 << 20, 1 << 20, flags=flags)
        assert data == want[1 << 20:2 << 20]
        assert {chunk[2] for chunk in chunks} == {nbd.READ_DATA}
        assert len(chunks) == 1 or not flags
    handle.shutdown()
    plain = here.connect(structured=False)
    assert bytes(plain.pread(5 << 20, 1 << 20)) == want[1 << 20:6 << 20]


def test_holes_cost_no_payload(far_end, relay, programs, workdir):
    """What base:allocation calls zero is never asked for; nbdkit counts what was."""
    path, stats = workdir / "sparse", workdir / "stats"
    noise = random.Random(3).randbytes(1 << 20)
    with path.open("wb") as out:
        for at in (0, 40 << 20):
            out.seek(at)
            out.write(noise)
        out.truncate(96 << 20)
    # A line, on which reads take their time, so that the answer about zeroes comes before most.
    here = relay(far_end("-r", "--filter=stats", "--filter=delay", "file", path,
                         f"statsfile={stats}", "delay-read=10ms"))
    handle = here.connect()
    for at in range(0, 96 << 20, 1 << 20):
        want = noise if at in (0, 40 << 20) else bytes(1 << 20)
        assert bytes(handle.pread(1 << 20, at)) == want
    statuses = set()
    handle.pread_structured(1 << 20, 70 << 20,
                            lambda _data, _at, status, _error: statuses.add(status))
    assert statuses == {nbd.READ_HOLE}
    handle.shutdown()
    assert here.counters()["bytes_zero"] >= 80 << 20
    assert here.program.stop() == 0, here.program.text()
    next(program for program in programs.started if program.name == "nbdkit").stop()
    amount, unit = re.search(r"^read: \d+ ops, [\d.]+ s, ([\d.]+) (KiB|MiB),", stats.read_text(),
                             re.MULTILINE).groups()
    # The data, and what was read before the answers about zeroes had come.
    assert 2 << 20 <= float(amount) * {"KiB": 1 << 10, "MiB": 1 << 20}[unit] < 12 << 20


def error_of(call, *arguments, **named):
    with pytest.raises(nbd.Error) as raised:
        call(*arguments, **named)
    return raised.value.errnum


@pytest.mark.parametrize("structured", [True, False])
def test_what_cannot_be_done_is_refused_and_the_line_lives_on(structured, far_end, relay):
    here = relay(far_end("-r", "memory", "1M"))
    handle = here.connect(structured)
    handle.set_strict_mode(0)
    assert error_of(handle.pwrite, b"x" * 70_000, 0) == errno.EPERM
    assert error_of(handle.zero, 512, 0) == errno.EPERM
    assert error_of(handle.trim, 512, 0) == errno.EPERM
    assert error_of(handle.pread, 512, (1 << 20) - 511) == errno.EINVAL
    assert error_of(handle.pread, 512, (1 << 63) - 1) == errno.EINVAL
    assert error_of(handle.pread, 512, 0, flags=nbd.CMD_FLAG_FUA) == errno.EINVAL
    assert error_of(handle.cache, 512, 0) == errno.EINVAL
    if structured:
        assert error_of(handle.pread, 512, 0, flags=nbd.CMD_FLAG_FAST_ZERO) == errno.EINVAL
    else:
        assert error_of(handle.pread, 512, 0, flags=nbd.CMD_FLAG_DF) == errno.EINVAL
    handle.flush()
    assert bytes(handle.pread(512, 1 << 19)) == bytes(512)
    handle.shutdown()


@pytest.mark.parametrize("structured", [True, False])
def test_the_far_ends_errors_reach_the_reader(structured, far_end, relay, workdir):
    failing = workdir / "failing"
    here = relay(far_end("--filter=error", "pattern", "64M", "error-pread=EIO",
                         "error-pread-rate=100%", f"error-pread-file={failing}"))
    handle = here.connect(structured)
    middle = 32 << 20  # which nothing is fetched of unasked
    assert handle.pread(8, middle) == middle.to_bytes(8, "big")
    failing.touch()
    assert error_of(handle.pread, 4096, middle + (8 << 20)) == errno.EIO
    assert handle.pread(8, middle) == middle.to_bytes(8, "big")  # as it is held
    failing.unlink()
    assert handle.pread(8, middle + (8 << 20)) == (middle + (8 << 20)).to_bytes(8, "big")
    handle.shutdown()
    assert here.program.stop() == 0, here.program.text()


def test_an_unknown_export_is_refused(far_end, relay):
    here = relay(far_end("memory", "1M"))
    handle = nbd.NBD()
    handle.set_export_name("something else")
    assert error_of(handle.connect_unix, str(here.socket)) == errno.ENOENT
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.connect_unix(str(here.socket))
    names = []
    assert handle.opt_list(lambda name, description: names.append((name, description)) and 0) == 1
    assert names == [("", "")]
    handle.opt_info()
    assert handle.get_size() == 1 << 20
    handle.opt_abort()


def test_a_far_end_that_dies_ends_the_relay(far_end, relay, programs):
    here = relay(far_end("memory", "1M"))
    handle = here.connect()
    nbdkit = next(program for program in programs.started if program.name == "nbdkit")
    nbdkit.kill()
    assert here.program.wait() == 1
    assert "lost: 0 orderly: the far end closed the connection" in here.program.text()
    assert not here.socket.exists()
    with pytest.raises(nbd.Error):
        handle.pread(512, 0)


@pytest.fixture
def listener(workdir):
    """A far end that the test itself speaks for: a listening socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(workdir / "far.sock"))
        listening.listen()
        yield listening


def test_a_mute_far_end_is_given_up(listener, programs, workdir, build):
    program = programs.start("test-relay", [build / RELAY, "--connect", workdir / "far.sock",
                                            "--listen", workdir / "drive.sock"])
    begun = time.monotonic()
    mute, _ = listener.accept()
    mute.sendall(b"NBDMAGICIHAVEOPT\0\3")
    assert program.wait(timeout=25) == 1
    assert 14 < time.monotonic() - begun < 20
    assert "did not finish the NBD handshake within 15 seconds" in program.text()
    mute.close()


def test_a_lying_far_end_is_left(listener, programs, workdir, build):
    program = programs.start("test-relay", [build / RELAY, "--connect", workdir / "far.sock",
                                            "--listen", workdir / "drive.sock"])
    liar, _ = listener.accept()
    liar.sendall(b"NBDMAGICIHAVEOPT\0\3")
    assert liar.recv(20, socket.MSG_WAITALL)[-16:-8] == b"IHAVEOPT"
    liar.sendall(b"no option reply at all")
    assert program.wait() == 1
    assert "lost: 4 broken: the far end answered an option with no option reply" in program.text()
    liar.close()


def test_little_memory_is_enough(far_end, relay, image):
    here = relay(far_end("-r", "file", image), "--memory", 4 << 20)
    assert digest(run("nbdcopy", here.uri, "-")) == digest(image.read_bytes())
    handle = here.connect()
    assert digest(handle.pread(SIZE, 0)) == digest(image.read_bytes())
    handle.shutdown()
    assert here.program.stop() == 0, here.program.text()


def test_sixteen_connections_and_no_more(far_end, relay):
    here = relay(far_end("memory", "1M"))
    handles = [here.connect() for _ in range(16)]
    with pytest.raises(nbd.Error):
        here.connect()
    handles.pop().shutdown()
    handles.append(wait_until(lambda: connected(here), "a place becomes free"))
    for handle in handles:
        handle.pread(512, 0)


def connected(here):
    try:
        return here.connect()
    except nbd.Error:
        return None


def test_without_descriptors_it_rests(far_end, relay):
    """A client that cannot be accepted waits, costs no processor time, and is served soon."""
    here = relay(far_end("memory", "1M"))
    first = here.connect()
    limits = resource.prlimit(here.program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(here.program.pid, resource.RLIMIT_NOFILE,
                     (here.program.fd_count(), limits[1]))
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(here.socket))
    waiting.settimeout(0.7)
    before = here.program.cpu_seconds()
    with pytest.raises(TimeoutError):
        waiting.recv(1)
    assert here.program.cpu_seconds() - before < 0.3
    first.pread(512, 0)
    # Its descriptor is the other's.
    first.shutdown()
    waiting.settimeout(10)
    assert waiting.recv(8, socket.MSG_WAITALL) == b"NBDMAGIC"
    waiting.close()
    assert here.program.stop() == 0, here.program.text()


def test_clients_that_vanish_leave_nothing(far_end, relay):
    here = relay(far_end("--filter=delay", "memory", "64M", "delay-read=20ms"))
    fds = here.program.fd_count()
    for _ in range(10):
        handle = here.connect()
        for i in range(40):
            handle.aio_pread(nbd.Buffer(1 << 20), i << 20)
        handle.poll(0)
        del handle
    wait_until(lambda: here.program.fd_count() == fds, "all connections are closed")
    assert here.connect().pread(512, 0) == bytes(512)
    assert here.program.stop() == 0, here.program.text()


def test_socket_paths(far_end, programs, workdir, build):
    far = far_end("memory", "1M")

    def start(path):
        return programs.start("test-relay",
                              [build / RELAY, "--connect", far, "--listen", path])

    plain = workdir / "plain"
    plain.write_text("mine")
    program = start(plain)
    assert program.wait() == 1
    assert "there is a file that is not a socket" in program.text()
    assert plain.read_text() == "mine"

    program = start(workdir / ("x" * 120))
    assert program.wait() == 1 and "the path is too long for a socket" in program.text()

    program = start(workdir / "nowhere" / "s.sock")
    assert program.wait() == 1 and "see that its directory exists" in program.text()

    path = workdir / "drive.sock"
    first = start(path)
    first.wait_for("ready")
    assert path.stat().st_mode & 0o777 == 0o660
    second = start(path)
    assert second.wait() == 1 and "another program listens there" in second.text()
    first.kill()
    assert path.is_socket()
    third = start(path)
    third.wait_for("ready")
    assert third.stop() == 0 and not path.exists()


def test_any_path_makes_a_uri(far_end, programs, workdir, build):
    path = workdir / "a b&socket=c%41?#\u00e4+.sock"
    program = programs.start("test-relay", [build / RELAY, "--connect", far_end("memory", "1M"),
                                            "--listen", path])
    uri = program.wait_for(r"ready (nbd\+unix:\S+)\n")[1]
    handle = nbd.NBD()
    handle.connect_uri(uri)
    assert handle.get_size() == 1 << 20
    program.stop()


def test_the_tools_are_there():
    for tool in ("nbdkit", "qemu-nbd", "qemu-img", "nbdinfo", "nbdcopy", "fio"):
        assert shutil.which(tool), f"{tool} is missing: run ./dev setup"
