# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the stages of ./dev share: words to the person, set-up, and the plain build. To be sourced.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Debian's own Python, by its full path: another one in PATH lacks Debian's libnbd and pytest.
# shellcheck disable=SC2034
python=/usr/bin/python3

say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

# The packages of the named sets that this machine lacks, one a line.
missing_packages() {
    local wanted have
    wanted=$(awk -v sets=" $* " '!/^(#|$)/ && index(sets, " " $2 " ") { print $1 }' \
        "$top/tools/packages.txt")
    if ! node_is_enough; then wanted+=$'\nnodejs\nnpm'; fi
    # dpkg-query exits with 1 when it does not know a package, which is an answer here.
    # shellcheck disable=SC2016,SC2086
    have=$(dpkg-query -W -f '${db:Status-Abbrev}|${Package}\n' $wanted 2>/dev/null |
        sed -n 's/^ii *|//p') || true
    comm -23 <(sort -u <<<"$wanted") <(sort -u <<<"$have")
}

# Any Node from 18 on will do, wherever it came from; Debian's is installed only where there is none.
node_is_enough() {
    command -v npm >/dev/null && node -e 'process.exit(+(parseInt(process.versions.node) < 18))' \
        2>/dev/null
}

install_packages() {
    local as_root=()
    if [ ! -r /etc/debian_version ]; then
        die "these are missing, and this is no Debian where ./dev could install them: $*"
    fi
    say "Installing Debian packages: $*"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "run this as root, then start again: apt-get install --no-install-recommends $*"
        say "This is the one step that needs root: sudo runs apt-get update and apt-get install."
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Dpkg::Use-Pty=0 --no-install-recommends -y install "$@"
}

# usage: dev_setup SET...
dev_setup() {
    local missing
    # shellcheck disable=SC2048,SC2086
    mapfile -t missing < <(missing_packages $*)
    if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
    if [ -f "$top/web/package-lock.json" ]; then npm_packages; fi
}

# node_modules is what package-lock.json says, or is made so.
npm_packages() {
    local stamp=$top/web/node_modules/.platter-lock
    cmp -s "$top/web/package-lock.json" "$stamp" && return
    say "Installing npm packages in web/ (npm ci)"
    npm --prefix "$top/web" ci --no-audit --no-fund
    cp "$top/web/package-lock.json" "$stamp"
}

# usage: meson_build DIRECTORY COMPILER MESON-OPTION... — configures once, then builds.
meson_build() {
    local directory=$top/$1 compiler=$2
    shift 2
    if [ ! -f "$directory/build.ninja" ]; then
        CC=$compiler meson setup "$directory" "$top" "$@"
    fi
    ninja -C "$directory"
}

dev_build() {
    say "Building the programs in build/"
    meson_build build gcc
    page_build
}

# What is measured: optimised and hardened as a package would be.
dev_build_release() {
    say "Building the programs in build-bench/"
    meson_build build-bench gcc -Dbuildtype=release
    page_build
}

page_build() {
    if [ -f "$top/web/package.json" ]; then
        say "Building the page in web/"
        npm --prefix "$top/web" run build
    fi
}

# Whether this machine could be the device itself: a driver to make the drive with, FunctionFS or
# nbd, and a USB device controller that no gadget has taken.
machine_has_gadget() {
    local function
    [ -d /sys/module/usb_f_fs ] || /sbin/modinfo usb_f_fs >/dev/null 2>&1 ||
        [ -d /sys/module/nbd ] || /sbin/modinfo nbd >/dev/null 2>&1 || return 1
    for function in /sys/class/udc/*/function; do
        if [ -e "$function" ] && [ -z "$(cat "$function")" ]; then return 0; fi
    done
    return 1
}
