# SPDX-License-Identifier: Apache-2.0
"""The checks themselves are checked: each must fail on a planted violation and name it."""
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


@pytest.fixture
def copy(tmp_path):
    """A checkout of the tracked sources, free to be spoilt."""
    top = tmp_path / "checkout with a space"
    for room in ("src", "tools"):
        shutil.copytree(TOP / room, top / room, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q", top], check=True)
    return top


def check_rooms(top):
    done = subprocess.run([PYTHON, top / "tools/check-rooms.py", top], capture_output=True,
                          text=True)
    return done.returncode, done.stdout


def test_rooms_pass_as_they_are(copy):
    code, said = check_rooms(copy)
    assert code == 0, said


@pytest.mark.parametrize("path, text, complaint", [
    ("proto/planted.c", '#include "block/source.h"\n', "proto may not include block/source.h"),
    ("block/planted.c", '#include "transport/web.h"\n', "block may not include transport/web.h"),
    ("base/planted.h", '#include "proto/nbd.h"\n', "base may not include proto/nbd.h"),
    ("export/planted.c", '#include "priv/helper.h"\n', "export may not include priv/helper.h"),
    ("export/planted.c", '#include "source/peer.h"\n', "export may not include source/peer.h"),
    ("transport/planted.c", '#include "slot/slot.h"\n', "transport may not include slot/slot.h"),
    ("slot/planted.c", "#include <libwebsockets.h>\n", "is for transport and api/http alone"),
    ("base/planted.c", "#include <uv.h>\n", "is for base/loop and transport and daemon alone"),
    ("block/planted.c", "#include <unistd.h>\n", "has no business in a pure room"),
    ("session/planted.c", "# include <time.h>\n", "has no business in a pure room"),
    ("base/planted.c", '#include "log.h"\n', "name its room"),
    ("attic/planted.c", "", "has no row"),
])
def test_rooms_catch_an_include(copy, path, text, complaint):
    file = copy / "src" / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(SPDX + text)
    code, said = check_rooms(copy)
    assert code == 1
    assert f"src/{path}" in said and complaint in said


@pytest.mark.parametrize("path, text, complaint", [
    ("src/base/planted.c", "int planted;\n", "lack 'SPDX-License-Identifier"),
    ("tools/planted", "#!/bin/sh\n", "lack 'SPDX-License-Identifier"),
    ("tools/planted.log", "left behind\n", "lack 'SPDX-License-Identifier"),
    ("src/base/planted.c", SPDX + "int x;\n" * 600, "601 lines"),
    ("src/base/planted.c", SPDX + "int f(void)\n{\n" + "    g();\n" * 58 + "}\n",
     "f has 60 lines"),
    ("tools/planted.py", "# SPDX-License-Identifier: Apache-2.0\ndef f():\n" + "    f()\n" * 59,
     "f has 60 lines"),
])
def test_rooms_catch_size_and_licence(copy, path, text, complaint):
    (copy / path).write_text(text)
    code, said = check_rooms(copy)
    assert code == 1
    assert path in said and complaint in said


def compile_into(build, place, text):
    """An object where meson would put that of src/PLACE."""
    room = place.split("/")[0]
    target = build / "src" / room / f"lib{room}.a.p" / (place.split("/")[-1] + ".c.o")
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-O2", "-x", "c", "-c", "-", "-o", target], input=text, text=True,
                   check=True)


def check_pure(build):
    done = subprocess.run([TOP / "tools/check-pure.sh", build], capture_output=True, text=True)
    return done.returncode, done.stdout


PURE = "#include <string.h>\nint a(const char *s) { return (int)strlen(s); }\n"


@pytest.mark.parametrize("place, text, complaint", [
    ("proto/planted", "#include <time.h>\nlong f(void) { return time(0); }\n", "calls time"),
    ("session/planted", "#include <stdio.h>\nvoid f(void) { puts(\"x\"); }\n", "calls puts"),
    ("proto/planted", "#include <stdlib.h>\nvoid *f(void) { return malloc(9); }\n",
     "calls malloc"),
    ("block/planted", "void log_info(const char *, ...);\nvoid f(void) { log_info(\"x\"); }\n",
     "calls log_info"),
    ("gadget/plan", "#include <unistd.h>\nint f(void) { return unlink(\"x\"); }\n", "calls unlink"),
])
def test_pure_catches_a_call(tmp_path, place, text, complaint):
    build = tmp_path / "a build"
    compile_into(build, "proto/clean", PURE)
    assert check_pure(build)[0] == 0
    compile_into(build, place, text)
    code, said = check_pure(build)
    assert code == 1
    assert complaint in said


def test_pure_lets_block_allocate_and_gadget_act(tmp_path):
    compile_into(tmp_path, "block/cache",
                 "#include <stdlib.h>\nvoid *f(void) { return malloc(9); }")
    compile_into(tmp_path, "gadget/gadget", "#include <unistd.h>\nint f(void) { return getpid(); }")
    code, said = check_pure(tmp_path)
    assert code == 0, said


def test_pure_is_not_content_with_nothing(tmp_path):
    code, said = check_pure(tmp_path)
    assert code == 1
    assert "no objects" in said


def test_programs_catch_an_unhardened_one(tmp_path):
    for path in ("daemon/platterd", "priv/platter-helper"):
        target = tmp_path / "src" / path
        target.parent.mkdir(parents=True)
        subprocess.run(["gcc", "-no-pie", "-fno-stack-protector", "-Wl,-z,lazy", "-Wl,-z,norelro",
                        "-Wl,--no-as-needed", "-luv", "-x", "c", "-", "-o", target],
                       input="int main(void) { return 0; }", text=True, check=True)
    done = subprocess.run([TOP / "tools/check-programs.sh", tmp_path], capture_output=True,
                          text=True)
    assert done.returncode == 1
    for word in ("position-independent", "RELRO", "lazily", "stack protector", "fortified",
                 "must not load libuv"):
        assert word in done.stdout


@pytest.mark.parametrize("text, complaint", [
    ("[there](nowhere.md)\n", "nowhere.md, which does not exist"),
    ("# Here\n[below](#there)\n", "no such heading"),
    ("in `src/base/nowhere.c`\n", "names `src/base/nowhere.c`"),
])
def test_docs_catch_a_dead_reference(copy, text, complaint):
    (copy / "planted.md").write_text(text)
    done = subprocess.run([PYTHON, copy / "tools/check-docs.py", copy], capture_output=True,
                          text=True)
    assert done.returncode == 1
    assert "planted.md" in done.stdout and complaint in done.stdout
