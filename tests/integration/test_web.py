# SPDX-License-Identifier: Apache-2.0
"""The web server as strangers meet it: files, headers, refusals, and how WebSockets end."""
import os
import signal
import socket
import subprocess
import struct
import time

import pytest

from far_end import CMD_DISC, FarEnd
from harness import SANITIZER_EXIT, free_port, wait_until, write_config
from ws_client import (BINARY, CLOSE, TEXT, Closed, Raw, WebSocket, check_headers, frame, request,
                       response, upgrade)

MEDIA = "/api/slots/0/media?kind=disk&name=x"


@pytest.fixture
def page_dir(workdir):
    """A page with a directory in it, a hidden file, and a link out of it."""
    page = workdir / "page"
    (page / "sub").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>the page")
    (page / "app.js").write_text("'use strict';\n" * 5000)
    (page / "sub/index.html").write_text("below")
    (page / ".secret").write_text("hidden")
    (workdir / "outside").write_text("outside")
    (page / "link").symlink_to(workdir / "outside")
    (page / "up").symlink_to(workdir)
    return page


# --- files and headers ---

def test_files(page_dir, platterd):
    d = platterd()
    for path, kind in (("/", "text/html"), ("/index.html", "text/html"),
                       ("/app.js", "text/javascript"), ("/sub/", "text/html"),
                       ("/?x=1&y", "text/html")):
        status, headers, body = request(d.port, path)
        assert status == 200, path
        assert headers["content-type"].startswith(kind)
        check_headers(headers)
        assert headers["cache-control"] == "no-cache"
        file = path.split("?")[0] + ("index.html" if path.split("?")[0].endswith("/") else "")
        assert body == (page_dir / file[1:]).read_bytes()
    tag = request(d.port, "/app.js")[1]["etag"]
    status, headers, body = request(d.port, "/app.js", extra=[f"If-None-Match: {tag}"])
    assert (status, body) == (304, b"")
    check_headers(headers)
    assert request(d.port, "/app.js", extra=['If-None-Match: "0"'])[0] == 200


def test_the_page(platterd, workdir):
    """The built page, where there is one."""
    status, headers, body = request(platterd().port)
    assert status == 200 and body == (workdir / "page/index.html").read_bytes()
    check_headers(headers)


def test_no_page(platterd):
    """The routes alone."""
    d = platterd(has_page=False)
    for path, expected in (("/", 404), ("/index.html", 404), ("/api/slots", 200),
                           ("/metrics", 200)):
        status, headers, _ = request(d.port, path)
        assert status == expected, path
        check_headers(headers)


@pytest.mark.parametrize("path", [
    "/nothing", "/sub", "/.secret", "/link", "/up/outside", "/up/platter.conf", "/../outside",
    "/sub/../../outside", "/%2e%2e/outside", "/..%2foutside", "/sub/%2e%2e/%2e%2e/outside",
    "/..\\outside", "//outside", "/./../outside", "/index.html/", "/index.html/x", "/index.htm",
    "/%69ndex.htmlx", "/index.html%20",
])
def test_nothing_else_is_served(path, page_dir, platterd):
    status, headers, body = request(platterd().port, path)
    assert status == 404
    assert b"outside" not in body and b"hidden" not in body
    check_headers(headers)


def test_head_and_methods(page_dir, platterd):
    d = platterd()
    with Raw(d.port) as raw:
        raw.send(f"HEAD /app.js HTTP/1.1\r\nHost: 127.0.0.1:{d.port}\r\n\r\n"
                 f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{d.port}\r\n\r\n".encode())
        head = raw.read_until(b"\r\n\r\n")
        assert b" 200 " in head and b"content-length: 70000" in head.lower()
        assert response(raw)[2] == b"<!doctype html>the page"
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        status, headers, _ = request(d.port, "/", method, extra=["Content-Length: 0"])
        assert status == 405, method
        check_headers(headers)
    status, headers, _ = request(d.port, "/", extra=["Content-Length: 5"])
    assert status == 400
    check_headers(headers)


# --- who is let in ---

@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:80", "127.0.0.1.evil.example",
                                  "localhost.evil.example", "[::1"])
def test_foreign_hosts(host, platterd):
    d = platterd()
    for path in ("/", "/api/slots", "/nothing"):
        status, headers, _ = request(d.port, path, host=host)
        assert status == 403
        check_headers(headers)


def test_known_hosts(platterd):
    d = platterd(daemon="host_names = bmc7, other.example\n")
    for host in ("localhost", "bmc7", "BMC7:81", "other.example", "10.0.0.7:8080", "[fe80::1]"):
        assert request(d.port, host=host)[0] == 200, host
    assert request(d.port, host="bmc8")[0] == 403


@pytest.mark.parametrize("changes, status", [
    ({"Origin": None}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "http://127.0.0.1"}, 403),
    ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ({"Host": None}, 403),
    ({"Sec_WebSocket_Protocol": None}, 400),
    ({"Sec_WebSocket_Protocol": "chat"}, 400),
    ({"Sec_WebSocket_Protocol": "http"}, 400),
    ({"Sec_WebSocket_Version": "8"}, 426),
    ({"Sec_WebSocket_Version": None}, 426),
    ({"Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQAAP__"}, 400),
])
def test_refused_upgrades(changes, status, platterd):
    d = platterd()
    with WebSocket(d.port, **changes) as ws:
        assert ws.status == status
        check_headers(ws.headers)
        assert ws.at_end()
    assert request(d.port)[0] == 200


def test_upgrades_elsewhere(platterd):
    d = platterd()
    for path in ("/", "/index.html", "/nothing", "/apix"):
        with WebSocket(d.port, path) as ws:
            assert ws.status == 404
    for extra in (["Upgrade: foo", "Connection: Upgrade"], ["Upgrade: websocket"]):
        with Raw(d.port) as raw:
            lines = ["GET / HTTP/1.1", f"Host: 127.0.0.1:{d.port}", *extra]
            raw.send(("\r\n".join(lines) + "\r\n\r\n").encode())
            assert raw.at_end()
    assert request(d.port)[0] == 200


def test_accepted_upgrade(platterd):
    d = platterd()
    with WebSocket(d.port, Sec_WebSocket_Protocol="chat, platter.media.1") as ws:
        assert ws.status == 101
        assert ws.headers["sec-websocket-protocol"] == "platter.media.1"
        assert "sec-websocket-extensions" not in ws.headers


@pytest.mark.parametrize("path, sentence", [
    ("/api/slots/1/media?kind=disk&name=x", "This machine has no drive of that number."),
    ("/api/slots/x/media?kind=disk&name=x", "This machine has no drive of that number."),
    ("/api/slots?kind=disk&name=x", "This machine has no drive of that number."),
    ("/api/slots/0/media", "The page did not say what kind of drive it wants."),
    ("/api/slots/0/media?kind=disk", "The page did not say the file's name."),
    ("/api/slots/0/media?kind=disk&name=", "The file's name is empty."),
    ("/api/slots/0/media?kind=tape&name=x", "The kind of drive must be disk or cd."),
    ("/api/slots/0/media?kind=cd&kind=cd&name=x", "The kind of drive is said twice."),
    ("/api/slots/0/media?kind=cd&name=%ff%fe", "The file's name is not UTF-8 text; rename the "
                                               "file."),
    ("/api/slots/0/media?kind=cd&name=%ed%a0%80", "The file's name is not UTF-8 text; rename the "
                                                  "file."),
    ("/api/slots/0/media?kind=cd&name=a%09b", "The file's name is not UTF-8 text; rename the "
                                              "file."),
])
def test_refused_media(path, sentence, platterd):
    with WebSocket(platterd().port, path) as ws:
        assert ws.status == 101
        assert ws.goodbye() == (4002, sentence)


@pytest.mark.parametrize("injected", [
    "%0aOrigin:http://{host}", "%0d%0aOrigin:http://{host}", "%0d%0aHost:evil.example",
    "%0d%0aOrigin:http://{host}%0d%0aX:", "%0a%0a", "%0d%0a%0d%0aGET / HTTP/1.1",
])
def test_lines_in_the_address(injected, platterd):
    """libwebsockets takes an encoded end of line in a URL for a real one. What follows can be no
    header that lets anybody in, for the request line's own end sticks to it."""
    d = platterd()
    injected = injected.format(host=f"127.0.0.1:{d.port}")
    with WebSocket(d.port, MEDIA + injected, Origin="http://evil.example") as ws:
        assert ws.status in (400, 403, 404)
    with WebSocket(d.port, MEDIA + injected, Origin=None) as ws:
        assert ws.status in (400, 403, 404)
    assert request(d.port)[0] == 200


def test_busy_slot(platterd):
    d = platterd()
    with FarEnd(d.port, bytes(4096)) as page:
        page.wait_state("serving")
        with WebSocket(d.port) as second:
            assert second.goodbye() == (4003, "Slot is in use")
        assert page.closed is None
    with FarEnd(d.port, bytes(4096)) as page:
        page.wait_state("serving")


def test_ipv6_and_several_addresses(programs, workdir):
    ports = [free_port(), free_port(socket.AF_INET6, "::1")]
    config = write_config(workdir, 0)
    config.write_text(config.read_text().replace(
        "127.0.0.1:0", f"127.0.0.1:{ports[0]}, [::1]:{ports[1]}"))
    program = programs.start("platterd", [programs.install("src/daemon/platterd"), "--config",
                                          config], unprivileged=True)
    program.wait_for(rf"the page is at http://127.0.0.1:{ports[0]}/\n")
    program.wait_for(rf"the page is at http://\[::1\]:{ports[1]}/\n")
    assert request(ports[0])[0] == 200
    assert request(ports[1], address="::1")[0] == 200
    with FarEnd(ports[1], bytes(512), address="::1") as page:
        page.wait_state("serving")


# --- what strangers send ---

def test_broken_requests(platterd):
    d = platterd()
    fds = d.program.fd_count()
    for data in (b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2000,
                 b"GET /" + b"a" * 70000, b"\x16\x03\x01\x02\x00\x01" + b"\0" * 500,
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 100, b"GET /%zz HTTP/1.1\r\n\r\n",
                 b"GET /%00 HTTP/1.1\r\n\r\n", b"GET * HTTP/1.1\r\n\r\n",
                 b"CONNECT evil.example:80 HTTP/1.1\r\n\r\n",
                 b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"):
        with Raw(d.port) as raw:
            try:
                raw.send(data)
                raw.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            assert raw.at_end()
    assert request(d.port)[0] == 200
    wait_until(lambda: d.program.fd_count() <= fds, "its descriptors are closed")


def test_slow_headers_and_idle_connections(platterd):
    """A header that comes in drops and a connection that says nothing both end by themselves."""
    d = platterd()
    with Raw(d.port, timeout=40) as silent, Raw(d.port, timeout=40) as slow:
        slow.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        end = time.monotonic() + 40
        slow.socket.settimeout(0.5)
        ended = False
        while not ended and time.monotonic() < end:
            try:
                slow.send(b"a")
                ended = slow.socket.recv(100) == b""
            except TimeoutError:
                pass
            except OSError:
                ended = True
        assert ended, "a header without end was waited for"
        assert silent.at_end()
    assert request(d.port)[0] == 200


def test_many_connections(platterd):
    """More connections than there may be: the others wait, and everything still works after."""
    d = platterd()
    crowd = [Raw(d.port, timeout=40) for _ in range(80)]
    wait_until(lambda: d.program.fd_count() > 64, "it has accepted its limit")
    assert d.program.fd_count() < 64 + 30
    for raw in crowd:
        raw.close()
    assert request(d.port)[0] == 200
    wait_until(lambda: d.program.fd_count() < 40, "it has let go of them")


@pytest.mark.parametrize("data, code", [
    (frame(TEXT, b"x" * 4097), 1002),
    (frame(TEXT, b"x" * 4000, final=False) + frame(0, b"x" * 97), 1002),
    (frame(3, b"x"), 1002),
    (frame(0, b"x"), 1002),
    (frame(9, b"x", final=False), 1002),
])
def test_websocket_protocol_errors(data, code, platterd):
    d = platterd()
    with WebSocket(d.port) as ws:
        ws.send(data)
        got, _ = ws.goodbye()
        assert got == code
    with FarEnd(d.port, bytes(512)) as page:
        page.wait_state("serving")


def test_small_text_messages_are_passed_over(platterd):
    d = platterd()
    with FarEnd(d.port, bytes(512)) as page:
        page.send_frame(frame(TEXT, b"x" * 4096) + frame(TEXT, b""))
        page.send_frame(frame(BINARY, b"") + frame(9, b"ping"))
        page.wait_state("serving")


@pytest.mark.parametrize("leave", ["normal", "going-away", "no-code", "reset", "end", "half"])
def test_page_leaves(leave, platterd):
    d = platterd()
    page = FarEnd(d.port, bytes(4096))
    with page:
        page.wait_state("serving")
        if leave in ("normal", "going-away"):
            page.disconnect(1000 if leave == "normal" else 1001)
        elif leave == "no-code":
            page.send_frame(frame(CLOSE))
        elif leave == "reset":
            page.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                          struct.pack("ii", 1, 0))
            page.drop()
        elif leave == "half":
            page.send_frame(frame(BINARY, b"x" * 100)[:50])
            page.drop()
        else:
            page.drop()

        # Who says goodbye is gone; anybody else is waited for.
        d.wait_state("idle" if leave == "normal" else "suspended")
        reason = d.slot()["reason"]
        assert reason.startswith("The page ended" if leave == "normal" else "The page was lost")
        assert reason.endswith(".")
        page.closed = page.closed or (1006, "")
    if leave != "normal":
        with FarEnd(d.port, bytes(4096)) as page:
            assert page.wait_closed()[0] == 4003
        d.end()
    with FarEnd(d.port, bytes(4096)) as page:
        page.wait_state("serving")


# --- starting and stopping ---

def start_badly(programs, config, *options):
    program = programs.start("platterd", [programs.install("src/daemon/platterd"), "--config",
                                          config, *options], unprivileged=True)
    code = program.wait()
    assert code not in (SANITIZER_EXIT, 0)
    lines = program.text().strip().split("\n")
    assert len(lines) == 1, lines
    return code, lines[0]


def test_start_fails_in_one_sentence(programs, workdir):
    port = free_port()
    good = write_config(workdir, port).read_text()
    config = workdir / "platter.conf"

    def fails(text):
        config.write_text(text)
        return start_badly(programs, config)

    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        code, line = fails(good)
        assert code == 1
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in line
    code, line = fails(good.replace(f"page = {workdir}/page", "page = /nowhere"))
    assert code == 1 and "the page's files in /nowhere cannot be read: No such file" in line
    (workdir / "empty").mkdir()
    code, line = fails(good.replace(f"page = {workdir}/page", f"page = {workdir}/empty"))
    assert code == 1 and f"there is no index.html in {workdir}/empty" in line
    code, line = fails(good.replace(f"runtime_dir = {workdir}/run", "runtime_dir = /nowhere"))
    assert code == 1 and "/nowhere cannot be written to: No such file" in line
    code, line = fails(good.replace(f"runtime_dir = {workdir}/run", "runtime_dir = /proc"))
    assert code == 1 and "/proc cannot be written to" in line
    code, line = fails(good + "bogus = 1\n")
    assert code == 1 and f"{config}:" in line and 'unknown key "bogus"' in line
    code, line = fails(good.replace("127.0.0.1", "0.0.0.0"))
    assert code == 1 and "insecure_no_login = yes" in line
    code, line = start_badly(programs, workdir / "nothing.conf")
    assert code == 1 and "nothing.conf cannot be read: No such file" in line
    assert list((workdir / "run").iterdir()) == []


def test_options(programs, workdir):
    config = write_config(workdir, free_port())
    binary = programs.install("src/daemon/platterd")
    for options, code, text in ((["--version"], 0, "platterd 0."), (["--help"], 0, "--config FILE"),
                                (["--bogus"], 2, "Try platterd --help."),
                                (["bogus"], 2, '"bogus" is not an option'),
                                (["--config", config, "--check"], 0, "slot 0")):
        program = programs.start("platterd", [binary, *options], unprivileged=True)
        assert program.wait() == code, options
        assert text in program.text()


def test_root_is_refused(programs, workdir):
    become_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    if become_root and subprocess.run([*become_root, "true"], check=False).returncode != 0:
        pytest.skip("neither root nor allowed to make a user namespace")
    program = programs.start("platterd", [*become_root, programs.install("src/daemon/platterd"),
                                          "--config", write_config(workdir, free_port())])
    assert program.wait() == 1
    assert "platterd does not run as root" in program.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_during_a_session(number, platterd):
    d = platterd()
    with FarEnd(d.port, bytes(4096)) as page:
        page.wait_state("serving")
        assert d.program.stop(number) == 0
        assert page.wait_closed() == (1001, "Platter was stopped on the machine.")
        assert page.requests == [(CMD_DISC, 0, 0)]
    assert not d.socket().exists()


def test_leaving_at_once(platterd):
    """SIGUSR2 takes nothing down and says no goodbye: the next platterd goes on."""
    d = platterd()
    with FarEnd(d.port, bytes(4096)) as page:
        page.wait_state("serving")
        assert d.program.stop(signal.SIGUSR2) == 0
        assert page.wait_closed()[0] == 1006
        assert page.requests == []
    assert d.socket().exists()


def test_stop_with_a_page_that_does_not_read(platterd):
    d = platterd()
    with WebSocket(d.port) as ws:
        ws.send(frame(BINARY, FarEnd.greeting))
        ws.binary(4)
        start = time.monotonic()
        assert d.program.stop() == 0
        assert time.monotonic() - start < 8
        with pytest.raises((Closed, ConnectionError)):
            while True:
                ws.message()


def test_upgrade_and_first_bytes_in_one_packet(platterd):
    """A page must not speak before it has the answer to its request; it harms nobody else."""
    d = platterd()
    with WebSocket(d.port, tail=frame(BINARY, FarEnd.greeting)) as ws:
        assert ws.status == 101
    with Raw(d.port) as raw:
        raw.send(upgrade(f"127.0.0.1:{d.port}", MEDIA) + frame(CLOSE, struct.pack(">H", 1000)))
        assert raw.at_end()
    assert request(d.port)[0] == 200
