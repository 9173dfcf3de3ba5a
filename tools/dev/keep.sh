#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Keeps one program running for as long as somebody holds the other end of this script's stdin, as
# systemd would: starts it again when it dies, stops it with SIGTERM when stdin ends. The end of
# stdin, not a signal, because an ordinary user may not signal what sudo has started.
#
# usage: keep.sh NAME COMMAND [ARGUMENT...] <PIPE
set -uo pipefail

name=$1
shift
# Ctrl-C reaches every process of the terminal; whoever holds the pipe decides the order of leaving.
trap : INT
exec 3<&0 </dev/null
cat <&3 >/dev/null &
line=$!

while true; do
    started=$SECONDS
    # A session of its own, so that Ctrl-C does not reach it.
    setsid -- "$@" 3<&- &
    program=$!
    while kill -0 "$line" 2>/dev/null && kill -0 "$program" 2>/dev/null; do
        wait -n "$line" "$program"
    done
    if ! kill -0 "$line" 2>/dev/null; then
        kill -TERM "$program" 2>/dev/null
        wait "$program"
        exit 0
    fi
    wait "$program"
    code=$?
    if [ $((SECONDS - started)) -lt 2 ]; then
        echo "dev: $name ended as soon as it was started (exit code $code); it says why above" >&2
        kill "$line"
        exit 1
    fi
    echo "dev: $name ended (exit code $code) and is started again" >&2
done
