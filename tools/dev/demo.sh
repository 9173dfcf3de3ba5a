#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demonstration: on this machine's own USB device controller if it has one and you say yes, else
# in a virtual BMC with a virtual machine beside it. Arguments go to tests/lab/demo.py.
set -euo pipefail
# shellcheck source=tools/dev/common.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

if machine_has_gadget && [ -t 0 ] && [ $# = 0 ]; then
    echo "This machine has a free USB device controller of its own."
    read -r -p "Use it, as a drive for the machine at its USB port (needs root)? [y/N] " answer
    case $answer in
    y* | Y*) exec "$top/tools/dev/run.sh" ;;
    esac
fi
dev_setup build demo
dev_build
cd "$top"
PLATTER_BUILD=$top/build exec "$python" tests/lab/demo.py "$@"
