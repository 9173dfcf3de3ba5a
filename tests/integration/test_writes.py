# SPDX-License-Identifier: Apache-2.0
"""Writes through platterd's path to independent far ends, by independent clients.

test-relay joins source/peer, the engine and the export `unix`; behind it stands nbdkit with plugins
that can be written to. What a file holds afterwards, or what nbdkit itself says without platterd in
between, is compared with what was written.
"""
import errno
import random
import subprocess
import threading

import nbd
import pytest

SIZE = 6_000_128  # whole sectors, and no whole number of anything larger
FLAGS = {"fua": nbd.CMD_FLAG_FUA, "no_hole": nbd.CMD_FLAG_NO_HOLE}


def run(*argv, timeout=120):
    done = subprocess.run([str(word) for word in argv], timeout=timeout, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout


def noise(length, seed):
    return random.Random(seed).randbytes(length)


@pytest.fixture
def image(workdir):
    """A file of noise with a long hole."""
    path = workdir / "image"
    with path.open("wb") as out:
        out.write(noise(2_000_000, 1))
        out.seek(4_000_000)
        out.write(noise(SIZE - 4_000_000, 2))
    return path


def direct(far_socket):
    """The far end's own words, without platterd."""
    handle = nbd.NBD()
    handle.connect_unix(str(far_socket))
    return handle


def read_all(handle):
    size = handle.get_size()
    step = min(handle.get_block_size(nbd.SIZE_MAXIMUM) or 1 << 20, 1 << 20)
    return b"".join(bytes(handle.pread(min(step, size - at), at))
                    for at in range(0, size, step))


# Far ends that differ in what they can do and when they answer; {image} is the file.
FAR_ENDS = {
    "file": ["file", "{image}"],
    "memory": ["memory", str(SIZE)],
    "one request at a time": ["--filter=noparallel", "file", "{image}", "serialize=requests"],
    "no structured replies": ["--no-sr", "file", "{image}"],
    "no extents": ["--filter=noextents", "file", "{image}"],
    "no FUA": ["--filter=fua", "file", "{image}"],
    "no zeroing": ["--filter=nozero", "file", "{image}"],
    # Without extents, for this filter tells of its plugin's when it holds something else.
    "a cache of its own": ["--filter=noextents", "--filter=cache", "file", "{image}"],
    "blocks of 512": ["--filter=blocksize-policy", "file", "{image}", "blocksize-minimum=512",
                      "blocksize-preferred=4K", "blocksize-maximum=64K",
                      "blocksize-error-policy=error"],
    "blocks of 64": ["--filter=blocksize-policy", "memory", str(SIZE), "blocksize-minimum=64",
                     "blocksize-preferred=512", "blocksize-maximum=4096",
                     "blocksize-error-policy=error"],
    # Reads overtake writes, and small requests large ones.
    "answers out of order": ["--filter=delay", "file", "{image}", "delay-write=15ms",
                             "delay-trim=7ms", "delay-zero=1ms", "delay-read=3ms"],
}


class Model:
    """Random requests, and what the medium must hold once they are done, in the order asked."""

    def __init__(self, content, seed):
        self.content = bytearray(content)
        self.rng = random.Random(seed)

    def range(self):
        length = min(self.rng.choice([1, 17, 511, 512, 4096, 4097, 65536, 70_001, 300_000]),
                     len(self.content))
        # Half of them close together, so that many overlap.
        span = self.rng.choice([len(self.content), 400_000])
        offset = self.rng.randrange(max(1, min(span, len(self.content)) - length + 1))
        return offset, length

    def flags(self, *names):
        chosen = 0
        for name in names:
            if self.rng.random() < 0.2:
                chosen |= FLAGS[name]
        return chosen

    def ask(self, handle):
        """Asks one thing; the request's cookie, and for a read its buffer and what it must say."""
        offset, length = self.range()
        kind = self.rng.choice(["write", "write", "write", "read", "read", "zero", "flush"])
        if kind == "read":
            buffer = nbd.Buffer(length)
            return handle.aio_pread(buffer, offset), buffer, self.content[offset:offset + length]
        if kind == "flush":
            return handle.aio_flush(), None, None
        if kind == "zero":
            self.content[offset:offset + length] = bytes(length)
            return handle.aio_zero(length, offset, flags=self.flags("fua", "no_hole")), None, None
        data = self.rng.randbytes(length)
        self.content[offset:offset + length] = data
        written = handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), offset,
                                    flags=self.flags("fua"))
        return written, None, None

    def ask_many(self, handle, count, at_once):
        """Asks without waiting, as a machine with a deep queue does; checks all answers."""
        asked = []
        for _ in range(count):
            asked.append(self.ask(handle))
            while handle.aio_in_flight() > at_once:
                handle.poll(-1)
        while handle.aio_in_flight():
            handle.poll(-1)
        for cookie, buffer, want in asked:
            assert handle.aio_command_completed(cookie)
            if buffer:
                assert bytes(buffer.to_bytearray()) == want


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("kind", FAR_ENDS)
def test_requests_keep_their_order(kind, structured, far_end, relay, image):
    far = far_end(*[word.format(image=image) for word in FAR_ENDS[kind]])
    here = relay(far)
    handle = here.connect(structured)
    for answer in (handle.can_flush, handle.can_fua, handle.can_trim, handle.can_zero,
                   handle.can_multi_conn):
        assert answer()
    assert not handle.is_read_only()
    model = Model(read_all(handle), seed=3)
    model.ask_many(handle, 250, at_once=40)
    assert read_all(handle) == model.content
    handle.flush()
    assert read_all(direct(far)) == model.content
    handle.shutdown()
    assert here.program.stop() == 0, here.program.text()
    if "memory" not in FAR_ENDS[kind]:
        assert image.read_bytes() == model.content


def test_trims_cost_nothing_else(far_end, relay, image):
    """A trim leaves what it names in no known state, and everything around it as it was."""
    far = far_end("file", image)
    here = relay(far)
    handle = here.connect()
    before = image.read_bytes()
    handle.pread(SIZE, 0)
    rng = random.Random(4)
    trimmed = bytearray(SIZE)
    for _ in range(30):
        length = rng.choice([1, 4096, 5000, 200_000])
        offset = rng.randrange(SIZE - length)
        handle.trim(length, offset, flags=rng.choice([0, nbd.CMD_FLAG_FUA]))
        trimmed[offset:offset + length] = b"\1" * length
    after = read_all(handle)
    assert after == read_all(direct(far)) == image.read_bytes()
    for at, (was, now) in enumerate(zip(before, after)):
        assert was == now or (trimmed[at] and now == 0), at
    handle.shutdown()
    assert here.program.stop() == 0, here.program.text()


def test_several_clients_see_each_others_writes(far_end, relay, image):
    """What CAN_MULTI_CONN promises: what one has been told is done, all others see."""
    here = relay(far_end("--filter=delay", "file", image, "delay-write=5ms"))
    handles = [here.connect() for _ in range(4)]
    rng = random.Random(5)
    for turn in range(60):
        offset, data = rng.randrange(SIZE - 9000), rng.randbytes(rng.randrange(1, 9000))
        handles[turn % 4].pwrite(data, offset)
        assert bytes(handles[(turn + 1) % 4].pread(len(data), offset)) == data
    handles[0].flush()
    want = read_all(handles[1])
    assert image.read_bytes() == want
    for handle in handles:
        handle.shutdown()
    assert here.program.stop() == 0, here.program.text()


def test_long_writes(far_end, relay, workdir):
    """Longer than the engine takes at once, up to what NBD_INFO_BLOCK_SIZE offers."""
    path = workdir / "long"
    path.write_bytes(bytes(40 << 20))
    here = relay(far_end("file", path))
    handle = here.connect()
    data = noise(32 << 20, 6)
    handle.pwrite(data, 12_345, flags=nbd.CMD_FLAG_FUA)
    want = bytes(12_345) + data + bytes((40 << 20) - len(data) - 12_345)
    assert path.read_bytes() == want
    handle.set_strict_mode(0)
    with pytest.raises(nbd.Error) as raised:
        handle.pwrite(data, (8 << 20) + 1)
    assert raised.value.errnum == errno.ENOSPC
    assert bytes(handle.pread(5, 12_345)) == data[:5]
    handle.shutdown()
    assert here.program.stop() == 0, here.program.text()


def test_qemu_io(far_end, relay, image):
    here = relay(far_end("file", image))
    commands = ["write -P 0x11 0 1M", "write -f -P 0x22 512K 128K", "write -P 0x33 1000K 3M",
                "write -z 64K 64K", "write -z -u 3M 100K", "discard 256K 64K",
                "write -P 0x44 511 2", "aio_write -P 0x55 5M 128K",
                "aio_write -P 0x66 5243392 4K", "aio_flush", "flush", "read -P 0x11 0 511",
                "read -P 0x44 511 2", "read -P 0 64K 64K", "read -P 0x22 512K 128K",
                "read -P 0x33 1000K 1M", "read -P 0 3M 100K", "read -P 0x66 5243392 4K"]
    said = run("qemu-io", "-f", "raw", *[word for line in commands for word in ("-c", line)],
               here.uri)
    assert b"failed" not in said and b"error" not in said.lower(), said.decode()
    assert here.program.stop() == 0, here.program.text()
    held = image.read_bytes()
    assert held[:511] == b"\x11" * 511 and held[511:513] == b"\x44\x44"
    assert held[513:64 << 10] == b"\x11" * ((64 << 10) - 513)
    assert not any(held[64 << 10:128 << 10]) and not any(held[3 << 20:(3 << 20) + (100 << 10)])
    assert held[512 << 10:640 << 10] == b"\x22" * (128 << 10)
    assert held[1000 << 10:3 << 20] == b"\x33" * ((3 << 20) - (1000 << 10))
    at = (5 << 20) + 512
    assert held[5 << 20:at] == b"\x55" * 512 and held[at:at + 4096] == b"\x66" * 4096
    assert held[at + 4096:(5 << 20) + (128 << 10)] == b"\x55" * ((128 << 10) - 512 - 4096)


@pytest.mark.parametrize("tool", ["nbdcopy", "nbdcopy, zeroed first", "qemu-img"])
def test_whole_images_are_copied(tool, far_end, relay, image, workdir):
    target = workdir / "target"
    target.write_bytes(noise(SIZE, 7))
    here = relay(far_end("file", target))
    if tool == "qemu-img":
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", image, here.uri)
    elif tool == "nbdcopy":
        run("nbdcopy", "--flush", image, here.uri)
    else:
        handle = here.connect()
        handle.zero(SIZE, 0)
        handle.shutdown()
        run("nbdcopy", "--flush", "--destination-is-zero", image, here.uri)
    assert target.read_bytes() == image.read_bytes()
    assert here.program.stop() == 0, here.program.text()


def test_fio_verifies_what_it_wrote(far_end, relay, workdir):
    here = relay(far_end("--filter=delay", "memory", "16M", "delay-write=1ms"))
    run("fio", "--name=peer", "--ioengine=nbd", f"--uri={here.uri}", "--rw=randwrite",
        "--bsrange=512-96k", "--blockalign=512", "--iodepth=32", "--size=16M", "--io_size=8M",
        "--verify=crc32c", "--verify_fatal=1", "--serialize_overlap=1", "--randseed=8",
        f"--aux-path={workdir}")
    assert here.program.stop() == 0, here.program.text()


@pytest.mark.parametrize("structured", [True, False])
def test_errors_are_told_and_the_cache_believes_nothing_it_wrote(structured, far_end, relay):
    far = far_end("--filter=error", "memory", str(SIZE), "error-pwrite=ENOSPC",
                  "error-pwrite-rate=30%", "error-zero=EPERM", "error-zero-rate=30%",
                  "error-trim=EIO", "error-trim-rate=30%")
    here = relay(far)
    handle = here.connect(structured)
    rng = random.Random(9)
    seen = {"done": 0}

    def attempt(call, *arguments, **named):
        try:
            call(*arguments, **named)
            seen["done"] += 1
        except nbd.Error as error:
            seen[error.errnum] = seen.get(error.errnum, 0) + 1

    for _ in range(150):
        length = rng.choice([512, 5000, 66_000])
        offset = rng.randrange(SIZE - length)
        if rng.random() < 0.5:
            handle.pread(length, offset)
        attempt(handle.pwrite, rng.randbytes(length), offset)
        attempt(rng.choice([handle.zero, handle.trim]), length, rng.randrange(SIZE - length))
    # The engine may mend a zeroing that the far end refuses, but may not invent another's error.
    assert seen["done"] and seen.get(errno.ENOSPC), seen
    assert set(seen) <= {"done", errno.ENOSPC, errno.EPERM, errno.EIO}
    assert read_all(handle) == read_all(direct(far))
    handle.shutdown()
    assert here.program.stop() == 0, here.program.text()


def test_writes_while_others_read(far_end, relay, image):
    """A sequential reader, with read-ahead before it, sees a range either as it was or as it is."""
    here = relay(far_end("--filter=delay", "file", image, "delay-read=4ms", "delay-write=2ms"))
    writer, wrong = here.connect(), []
    before = image.read_bytes()
    patch = noise(SIZE, 10)

    def read_along():
        reader = here.connect()
        for at in range(0, SIZE, 32 << 10):
            length = min(32 << 10, SIZE - at)
            got = bytes(reader.pread(length, at))
            for page in range(0, length, 512):
                piece, where = got[page:page + 512], slice(at + page, at + page + 512)
                if piece not in (before[where], patch[where]):
                    wrong.append(at + page)
        reader.shutdown()

    thread = threading.Thread(target=read_along)
    thread.start()
    rng = random.Random(11)
    written = set()
    while thread.is_alive():
        at = rng.randrange(SIZE // 512 - 8) * 512
        writer.pwrite(patch[at:at + 4096], at)
        written.add(at)
    thread.join()
    assert not wrong, wrong[:5]
    writer.flush()
    held = image.read_bytes()
    for at in written:
        assert held[at:at + 4096] == patch[at:at + 4096]
    assert read_all(writer) == held
    writer.shutdown()
    assert here.program.stop() == 0, here.program.text()


def test_the_tools_refuse_a_read_only_far_end(far_end, relay, image):
    here = relay(far_end("-r", "file", image))
    before = image.read_bytes()
    handle = here.connect()
    assert handle.is_read_only() and not handle.can_trim() and not handle.can_fua()
    handle.shutdown()
    done = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512", here.uri],
                          capture_output=True, timeout=60)
    assert done.returncode != 0
    assert image.read_bytes() == before
    assert here.program.stop() == 0, here.program.text()
