# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: what it tells of every slot, and how a session is ended at the device."""
import json
import re
import signal
import socket

from far_end import FarEnd
from harness import TOP, wait_until
from ws_client import WebSocket, check_headers, request


def counter_names():
    """What the engine counts, as its header says."""
    header = (TOP / "src/block/counters.h").read_text()
    body = re.search(r"struct engine_counters \{(.*?)\n\};", header, re.DOTALL)[1]
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
    return {name.strip() for line in body.split(";") if line.strip()
            for name in line.split(None, 1)[1].split(",")}


def test_api_slots(platterd):
    d = platterd(slots=("name = L\u00e4ngste\nexport = unix\n", "export = unix\n"))
    status, headers, body = request(d.port, "/api/slots")
    assert status == 200 and headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    check_headers(headers)
    slots = json.loads(body)["slots"]
    assert [slot["name"] for slot in slots] == ["L\u00e4ngste", "Drive 2"]
    assert slots[1] == {
        "slot": 1, "name": "Drive 2", "export": "unix", "drive": "auto", "state": "idle",
        "uri": "", "reason": "", "medium": None, "locked": False, "grace": 60, "keep": 3600,
        "waiting": None,
        "counters": {name: 0 for name in counter_names()}}
    with FarEnd(d.port, bytes(4096), name="a%22%C3%A4%2B.iso", kind="cd", slot=1) as page:
        page.wait_state("serving")
        slot = json.loads(request(d.port, "/api/slots")[2])["slots"][1]
        assert slot["state"] == "serving" and slot["uri"] == page.states[-1]["uri"]
        assert slot["medium"] == {"name": 'a"\u00e4+.iso', "kind": "cd", "size": 4096,
                                  "read_only": True}
    assert request(d.port, "/api/nothing")[0] == 404


def parse_metrics(text):
    """The Prometheus text format 0.0.4, strictly: {family: (type, {labels: value})}."""
    name, label = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
    sample = re.compile(rf"({name})(?:{{({label}(?:,{label})*)}})? (NaN|[0-9]+(?:\.[0-9]+)?)")
    families, current = {}, None
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    for number, line in enumerate(lines):
        if line.startswith("# HELP "):
            current = re.fullmatch(rf"# HELP ({name}) (\S[^\\]*)", line)[1]
            assert current not in families, f"{current} comes twice"
            kind = re.fullmatch(rf"# TYPE {current} (counter|gauge)", lines[number + 1])[1]
            families[current] = (kind, {})
        elif line.startswith("# TYPE "):
            assert lines[number - 1].startswith("# HELP "), line
        else:
            family, labels, value = sample.fullmatch(line).groups()
            assert family == current, line
            pairs = dict(re.findall(r'([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"', labels or ""))
            key = tuple(sorted(pairs.items()))
            assert key not in families[family][1], f"{line} comes twice"
            families[family][1][key] = float(value)
    for family, (kind, samples) in families.items():
        assert samples, f"{family} is empty"
        assert (kind == "counter") == family.endswith("_total"), family
    return families


def test_metrics(platterd):
    d = platterd(slots=('name = "A\\\u00e4"\nexport = unix\n', "export = unix\n"))
    status, headers, body = request(d.port, "/metrics")
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    check_headers(headers)
    families = parse_metrics(body.decode())
    assert (("export", "unix"), ("name", '\\"A\\\\\u00e4\\"'), ("slot", "0")) \
        in families["platter_slot_info"][1]
    one = [family for family, (_, samples) in families.items()
           if set(samples) == {(("slot", "0"),), (("slot", "1"),)}]
    # One family a counter, the two times that are left, and the lock.
    assert len(one) == len(counter_names()) + 3
    assert len(families) == len(one) + 3
    with FarEnd(d.port, bytes(65536), slot=1) as page:
        page.wait_state("serving")
        families = parse_metrics(request(d.port, "/metrics")[2].decode())
        states = families["platter_slot_state"][1]
        assert [dict(key)["state"] for key, value in states.items()
                if value and dict(key)["slot"] == "1"] == ["serving"]
        assert sum(states.values()) == 2
        slot = json.loads(request(d.port, "/api/slots")[2])["slots"][1]
        fetched = families["platter_slot_fetched_bytes_total"][1]
        assert fetched[("slot", "1"),] <= slot["counters"]["bytes_fetched"]
    for path, code in (("/metrics/", 404), ("/metricsx", 404)):
        assert request(d.port, path)[0] == code, path
    assert request(d.port, "/metrics", host="evil.example")[0] == 403
    assert request(d.port, "/metrics", "POST")[0] == 405
    assert request(d.port, "/metrics", "HEAD", extra=["Connection: close"])[0] == 200
    with WebSocket(d.port, "/metrics") as ws:
        assert ws.status == 404


def end_slot(d, slot=0, method="POST", extra=(), origin="", query=""):
    origin = [f"Origin: {origin or f'http://127.0.0.1:{d.port}'}"] if origin is not None else []
    return request(d.port, f"/api/slots/{slot}/end{query}", method, extra=[*origin, *extra])


def test_session_ended_at_the_device(platterd):
    d = platterd()
    for nothing in ("Content-Length: 0", "X-Other: 1"):
        with FarEnd(d.port, bytes(4096)) as page:
            page.wait_state("serving")
            status, headers, body = end_slot(d, extra=[nothing])
            assert (status, body) == (204, b"") and "content-length" not in headers
            check_headers(headers)
            assert page.wait_closed() == (1000, "The session was ended on the device.")
        wait_until(lambda: json.loads(request(d.port, "/api/slots")[2])["slots"][0]["state"]
                   == "idle", "the slot is free again")
        status, headers, body = end_slot(d, query="?force=1")
        assert status == 409 and body == b"This drive is empty, so there is nothing to end.\n"


def test_who_may_end_a_session(platterd):
    d = platterd()
    with FarEnd(d.port, bytes(4096)) as page:
        page.wait_state("serving")
        for origin in (None, "null", "http://evil.example", "http://127.0.0.1"):
            assert end_slot(d, origin=origin)[0] == 403, origin
        assert request(d.port, "/api/slots/0/end", "POST", host="evil.example",
                       extra=["Origin: http://evil.example"])[0] == 403
        for body in ("Content-Length: 1", "Content-Length: -1", "Content-Length: 00",
                     "Content-Length: 4294967296", "Transfer-Encoding: chunked"):
            assert end_slot(d, extra=[body])[0] == 400, body
        for slot in (1, 16, 99999999999999999999, "x", "-1", "00", ""):
            assert end_slot(d, slot)[0] == 404, slot
        for query in ("?force", "?force=0", "?force=11", "?force=1&force=1", "?x&force=1",
                      "?force=1&" + "x" * 700, "?" + "&".join(["force=1"] * 20)):
            assert end_slot(d, query=query)[0] == 400, query
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            status, headers, _ = end_slot(d, method=method, extra=["Connection: close"])
            assert status == 405 and headers["allow"], method
        assert end_slot(d, method="GET")[1]["allow"] == "POST"
        assert request(d.port, "/api/slots", "POST",
                       extra=[f"Origin: http://127.0.0.1:{d.port}"])[0] == 405
        assert page.closed is None
        assert json.loads(request(d.port, "/api/slots")[2])["slots"][0]["state"] == "serving"


# --- while a page is waited for ---

def lose_page(d):
    page = FarEnd(d.port, bytes(4096))
    page.__enter__()
    page.wait_state("serving")
    page.drop()
    page.wait_closed()
    page.socket.close()
    d.wait_state("suspended")


def metric(d, name, **labels):
    families = parse_metrics(request(d.port, "/metrics")[2].decode())
    return families[name][1][tuple(sorted({"slot": "0", **labels}.items()))]


def test_what_is_told_while_a_page_is_waited_for(platterd):
    d = platterd(slots=("export = unix\ngrace = 2\nkeep = 100\n",))
    assert (d.slot()["grace"], d.slot()["keep"], d.slot()["waiting"]) == (2, 100, None)
    lose_page(d)
    slot = d.slot()
    assert slot["waiting"]["grace_left"] in (1, 2) and slot["waiting"]["keep_left"] == 0
    assert slot["medium"]["size"] == 4096 and slot["uri"]
    assert slot["reason"] == "The page was lost: its connection broke."
    assert metric(d, "platter_slot_grace_left_seconds") in (1, 2)
    assert metric(d, "platter_slot_state", state="suspended") == 1
    assert metric(d, "platter_slot_state", state="serving") == 0
    assert metric(d, "platter_slot_suspensions_total") == 1
    d.wait_state("absent")
    assert d.slot()["waiting"]["grace_left"] == 0
    assert 90 < d.slot()["waiting"]["keep_left"] <= 100
    assert 90 < metric(d, "platter_slot_keep_left_seconds") <= 100
    assert end_slot(d)[0] == 204
    d.wait_state("idle")
    assert d.slot()["waiting"] is None and not d.socket().exists()
    assert d.slot()["reason"] == "The session was ended on the device."


def test_stop_while_a_page_is_waited_for(platterd):
    d = platterd()
    lose_page(d)
    assert d.program.stop() == 0
    assert list(d.runtime_dir.iterdir()) == []


def test_a_start_that_fails_keeps_the_drive(platterd, programs):
    """The next one that starts takes it over."""
    d = platterd()
    lose_page(d)
    assert d.program.stop(signal.SIGUSR2) == 0
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", d.port))
        other.listen()
        failed = programs.start("platterd", [programs.install("src/daemon/platterd"), "--config",
                                             d.config], unprivileged=True)
        assert failed.wait() == 1
        assert "Address already in use" in failed.text()
    d = platterd(port=d.port)
    d.wait_state("suspended")
    d.end()
