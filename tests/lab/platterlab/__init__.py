# SPDX-License-Identifier: Apache-2.0
"""The lab: machines with a real kernel nbd, real USB gadgets and a real SCSI host, in QEMU.

`bmc.VirtualBmc` is the device Platter runs on, `machine.VirtualMachine` the machine it serves.
tests/lab/README.md says how to use them.
"""
