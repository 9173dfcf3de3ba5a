# SPDX-License-Identifier: Apache-2.0
"""tools/check-recipe.py must fail on a planted violation and name it. meson is asked in earnest
where the violation is in the source; where it is in the recipe, what meson says stays the same."""
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
RECIPE = "packaging/openembedded/platter_0.1.0.bb"
WHAT = ("dependencies", "buildoptions", "installed", "projectinfo")

_spec = importlib.util.spec_from_file_location("check_recipe", TOP / "tools/check-recipe.py")
check_recipe = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_recipe)


@pytest.fixture
def copy(tmp_path):
    """A checkout of what is built and installed, free to be spoilt."""
    top = tmp_path / "checkout"
    for name in ("src", "packaging", "docs"):
        shutil.copytree(TOP / name, top / name)
    (top / "web").mkdir()
    for name in ("meson.build", "meson_options.txt", "LICENSE"):
        shutil.copy(TOP / name, top / name)
    return top


@pytest.fixture(scope="module")
def remembered():
    """A Meson that has been asked once, with the rows as they are, and answers so ever after."""
    answers = {}

    class Recorder(check_recipe.Meson):
        given = ()

        def configure(self, options):
            self.given += tuple(options)
            error = super().configure(options)
            if not error:
                answers[self.given] = {what: super(Recorder, self).introspect(what)
                                       for what in WHAT}
            return error

    class Player(Recorder):
        def configure(self, options):
            self.given += tuple(options)
            return ""

        def introspect(self, what):
            return answers.get(self.given, list(answers.values())[-1])[what]

    assert list(check_recipe.check(TOP, Recorder)) == []
    assert len(answers) == 1 + len(list(check_recipe.Recipe(TOP / RECIPE).rows()))
    return Player


@pytest.mark.parametrize("old, new, complaint", [
    (" libuv ", " ", "DEPENDS lacks libuv, which meson looks for"),
    (" libuv ", " libuv zlib ", "DEPENDS has zlib, which meson does not look for"),
    ("libaio ", "", "DEPENDS lacks libaio"),
    (",libnl,", ",,", "PACKAGECONFIG[helper] lacks libnl"),
    ("-Dpage=false,,", "-Dpage=false,nodejs-native,", "PACKAGECONFIG[web] has nodejs-native"),
    ("-Dpage=false", "-Dpage=disabled", "page cannot be disabled"),
    ("-Ddbus=enabled", "-Ddbus=true", "dbus cannot be true"),
    ("-Dpage=false", "-Dfuzz=false", "is not one option of meson's, on and off"),
    ("-Dpage=true,-Dpage=false", "-Dwww=true,-Dwww=false", "meson has no option www"),
    ("-Dpage=false", "-Dpage=true", "gives the same on and off"),
    ("-Dfuzz=false ", "", "meson's option fuzz has neither"),
    ("-Dfuzz=false", "-Dfuzz=false -Dpage=true", "both give the option page"),
    ("    ${sbindir}/platterd \\\n", "", "FILES has nothing for /usr/sbin/platterd"),
    ("${bindir}/nbd-proxy ", "${bindir}/nbd-proxy ${bindir}/nbd ", "FILES has /usr/bin/nbd,"),
    ("'platter-helper.service'", "'helper.service'", "differ in platter-helper.service"),
    ("/packaging/nbd-proxy.json", "/packaging/nbd.json", "names packaging/nbd.json"),
    ("md5=3b83", "md5=4b83", "LICENSE is not the file with that checksum"),
    ("--user-group platter", "--user-group nobody", "does not make the user platter"),
    ('RCONFLICTS:${PN}-nbd-proxy = "jsnbd"\n', "", "RCONFLICTS lacks jsnbd"),
    ('CONFFILES:${PN} = "${sysconfdir}/platter/', 'CONFFILES:${PN} = "${sysconfdir}/',
     "CONFFILES has /etc/platter.conf"),
])
def test_a_fault_in_the_recipe_is_named(copy, remembered, old, new, complaint):
    text = (copy / RECIPE).read_text()
    assert old in text
    (copy / RECIPE).write_text(text.replace(old, new, 1))
    assert any(complaint in fault for fault in check_recipe.check(copy, remembered))


def test_a_recipe_of_another_version_is_named(copy, remembered):
    (copy / RECIPE).rename(copy / RECIPE.replace("0.1.0", "0.0.9"))
    assert any("the version is 0.1.0" in fault for fault in check_recipe.check(copy, remembered))


def test_what_meson_has_and_the_recipe_has_not_is_named(copy):
    with open(copy / "meson_options.txt", "a") as file:
        file.write("option('planted', type: 'boolean', value: true)\n")
    with open(copy / "src/base/meson.build", "a") as file:
        file.write("dependency('zlib')\n")
    with open(copy / "packaging/meson.build", "a") as file:
        file.write("install_data('platter.conf', install_dir: share / 'planted')\n")
    done = subprocess.run(["/usr/bin/python3", TOP / "tools/check-recipe.py", copy],
                          capture_output=True, text=True)
    assert done.returncode == 1
    for complaint in ("option planted has neither", "meson looks for zlib; say in RECIPE_OF",
                      "nothing for /usr/share/planted/platter.conf", "3 faults"):
        assert complaint in done.stdout
