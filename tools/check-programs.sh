#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks the programs as they were linked: hardened (PIE, full RELRO, stack protector, no executable
# stack), and the root one free of the libraries it must not load.
#
# usage: check-programs.sh BUILD-DIRECTORY
set -euo pipefail

build=${1:?usage: check-programs.sh BUILD-DIRECTORY}
bad=0
checked=0

complain() {
    echo "check-programs: $1: $2"
    bad=$((bad + 1))
}

for program in "$build"/src/daemon/platterd "$build"/src/priv/platter-helper \
    "$build"/src/nbd-proxy/nbd-proxy; do
    [ -x "$program" ] || {
        complain "$program" "is not built"
        continue
    }
    checked=$((checked + 1))
    dynamic=$(readelf -Wd "$program")
    segments=$(readelf -Wl "$program")
    symbols=$(readelf -W --dyn-syms "$program")
    grep -q 'FLAGS_1.*PIE' <<<"$dynamic" || complain "$program" "is not position-independent (-pie)"
    grep -q 'GNU_RELRO' <<<"$segments" || complain "$program" "has no RELRO (-z relro)"
    grep -q 'FLAGS_1.*NOW' <<<"$dynamic" || complain "$program" "binds lazily (-z now)"
    grep -q 'GNU_STACK.* RW ' <<<"$segments" || complain "$program" "has an executable stack"
    grep -q '__stack_chk_fail' <<<"$symbols" || complain "$program" "has no stack protector"
    grep -q '_chk@' <<<"$symbols" || complain "$program" "is not fortified (_FORTIFY_SOURCE)"
    if [ "$(basename "$program")" = platter-helper ]; then
        found=$(grep -Eo 'NEEDED.*lib(uv|websockets|systemd|ssl|crypto|jansson)\..*' <<<"$dynamic" || true)
        [ -z "$found" ] || complain "$program" "runs as root and must not load ${found#*[}"
    fi
done

echo "check-programs: $checked programs, $bad faults"
[ "$bad" = 0 ]
