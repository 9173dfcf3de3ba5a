#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# platterd and its helper on this machine, without systemd. Ctrl-C stops both.
#
# usage: run.sh [--config FILE]
set -euo pipefail
# shellcheck source=tools/dev/common.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

config=
while [ $# -gt 0 ]; do
    case $1 in
    --config)
        config=$(readlink -f "${2:?--config wants a file}")
        shift 2
        ;;
    *) die "./dev run does not know '$1'; it takes --config FILE" ;;
    esac
done

dev_setup build
dev_build

# platterd never runs as root: started by root, it runs as whoever called sudo, or as nobody.
user=$(id -un)
if [ "$user" = root ]; then user=${SUDO_USER:-nobody}; fi
as_user=()
if [ "$(id -u)" = 0 ]; then
    as_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --)
    "${as_user[@]}" test -x "$top/build/src/daemon/platterd" ||
        die "the user $user cannot reach $top; clone the project where everybody may read"
fi

run=$(mktemp -d /tmp/platter-run.XXXXXX)
chown "$user" "$run"
trap 'rm -rf "$run"' EXIT

if [ -z "$config" ]; then
    export_name=unix
    if machine_has_gadget; then
        export_name=auto
    else
        say "This machine has no free USB device controller: the drive goes out on a unix socket,"
        say "which programs such as QEMU read (./dev demo shows the whole way to a machine)."
    fi
    config=$run/platter.conf
    cat >"$config" <<TEXT
[daemon]
listen = 127.0.0.1:8080
page = $top/web/dist
runtime_dir = $run
[helper]
socket = /run/platter-dev/helper.sock
state_dir = /run/platter-dev
user = $user
[slot 0]
export = $export_name
TEXT
    chmod a+r "$config"
fi

# usage: keep NAME COMMAND... — in the background until $line, its pipe's other end, is closed.
keep() {
    local pipe=$run/$1.line
    mkfifo "$pipe"
    "${as_root[@]}" "$top/tools/dev/keep.sh" "$@" <"$pipe" &
    exec {line}>"$pipe"
}

as_root=()
helper_line=
helper_job=
# Every slot but those with export = unix is a USB drive, and so is one that says nothing.
unix_slots=$(grep -Ec '^[[:space:]]*export[[:space:]]*=[[:space:]]*unix' "$config" || true)
slots=$(grep -Ec '^[[:space:]]*\[slot [0-9]+\]' "$config" || true)
if [ "$slots" -gt "$unix_slots" ]; then
    if [ "$(id -u)" != 0 ]; then
        say "platter-helper builds the USB drive; sudo starts it as root."
        sudo -v
        as_root=(sudo)
    fi
    keep platter-helper "$top/build/src/priv/platter-helper" --config "$config"
    helper_job=$!
    helper_line=$line
    as_root=()
fi
keep platterd "${as_user[@]}" "$top/build/src/daemon/platterd" --config "$config"
daemon_job=$!
daemon_line=$line

# usage: end JOB LINE
end() {
    local line=$2
    exec {line}>&-
    while kill -0 "$1" 2>/dev/null; do wait "$1" || true; done
}

# The daemon first, so that it takes its drives away in good order.
stop() {
    trap : INT TERM
    end "$daemon_job" "$daemon_line"
    if [ -n "$helper_job" ]; then end "$helper_job" "$helper_line"; fi
}
trap 'stop; exit 0' INT TERM
# shellcheck disable=SC2086
wait -n $daemon_job $helper_job || true
stop
die "one of the programs could not be kept running; it says why above"
