#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Proves that the pure rooms are pure: their objects may call nothing but each other, string and
# memory functions, and (block/ alone) the allocator. No I/O, no clock, no log, no hidden state.
#
# usage: check-pure.sh BUILD-DIRECTORY
set -euo pipefail

build=${1:?usage: check-pure.sh BUILD-DIRECTORY}

# What any of them may call. snprintf writes to memory only; the last line is the compiler's own.
pure='mem(cpy|move|set|cmp|chr|rchr)|str(n?len|n?cmp|n?casecmp|r?chr|n?dup|spn|cspn|str)|v?snprintf'
pure="$pure|__(mem(cpy|move|set)|v?snprintf|str[a-z]+)_chk"
pure="$pure|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__assert_fail|__(asan|ubsan|sanitizer)_.*"
allocator='malloc|calloc|realloc|reallocarray|free'

# usage: objects ROOM-OR-FILE — its object files, one a line.
objects() {
    local room=${1%%/*} file=''
    [ "$1" = "$room" ] || file=${1#*/}
    if [ -d "$build/src/$room" ]; then
        find "$build/src/$room" -path "*.p/$file*.o" | sort
    fi
}

places=(proto scsi session block gadget/plan)
bad=0
checked=0

# A room may use the other pure rooms, so what any of them defines is known.
defined=$(for place in "${places[@]}"; do objects "$place"; done |
    tr '\n' '\0' | xargs -0 -r nm --defined-only -f posix 2>/dev/null | awk 'NF > 1 { print $1 }' | sort -u)

for place in "${places[@]}"; do
    allowed=$pure
    if [ "$place" = block ]; then allowed="$pure|$allocator"; fi
    while IFS= read -r object; do
        checked=$((checked + 1))
        # `|| true`: an object that calls nothing at all leaves grep without a line.
        calls=$(nm -u -f posix "$object" | awk '{ print $1 }' | sort -u |
            comm -23 - <(printf '%s\n' "$defined") | grep -Evx "$allowed" || true)
        for call in $calls; do
            echo "check-pure: ${object#"$build"/} calls $call, which is not pure"
            bad=$((bad + 1))
        done
    done < <(objects "$place")
done

if [ "$checked" = 0 ]; then
    echo "check-pure: no objects of the pure rooms in $build: build it first (./dev build)"
    exit 1
fi
echo "check-pure: $checked objects, $bad impure calls"
[ "$bad" = 0 ]
