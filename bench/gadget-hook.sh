#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# gadget-hook.sh start|stop DEVICE: a USB drive of the kernel's mass storage on a block device, built
# as OpenBMC's own hook builds it. For comparison only: bench/joiner.c runs it.
set -e

gadget=/sys/kernel/config/usb_gadget/mass-storage

case $1 in
start)
    mkdir "$gadget" && cd "$gadget"
    echo 0x1d6b >idVendor
    echo 0x0104 >idProduct
    mkdir strings/0x409 configs/c.1 configs/c.1/strings/0x409 functions/mass_storage.usb0
    echo OpenBMC >strings/0x409/manufacturer
    echo "Virtual Media Device" >strings/0x409/product
    echo "config 1" >configs/c.1/strings/0x409/configuration
    cd functions/mass_storage.usb0
    echo 1 >lun.0/removable
    echo 1 >lun.0/ro
    echo 0 >lun.0/cdrom
    echo "$2" >lun.0/file
    cd "$gadget"
    ln -s functions/mass_storage.usb0 configs/c.1/
    for controller in /sys/class/udc/*; do
        [ -s "$controller/function" ] && [ -n "$(cat "$controller/function")" ] && continue
        echo "${controller##*/}" >UDC
        exit 0
    done
    echo "gadget-hook.sh: no USB device controller is free" >&2
    exit 1
    ;;
stop)
    cd "$gadget"
    echo "" >UDC
    rm configs/c.1/mass_storage.usb0
    rmdir functions/mass_storage.usb0 configs/c.1/strings/0x409 configs/c.1 strings/0x409
    cd / && rmdir "$gadget"
    ;;
esac
