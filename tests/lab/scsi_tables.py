# SPDX-License-Identifier: Apache-2.0
"""What independent programs must say of our drives: a table for each kind.

A row is a command line ({sg} and {drive} are its device files), the status it ends with, and
patterns that its output matches, each in one of its lines; one that begins with "!" must not.
Statuses of sg3-utils: 0 good, 5 illegal request, 7 data protect, 9 operation code not known,
14 miscompare, 22 out of range.
"""

from __future__ import annotations

Row = tuple[str, int, list[str]]

SERIAL = "504C415454455200"  # of slot 0
BLOCKS = 32768  # of the disk: 16 MiB

NO_FIELD = r"Additional sense: Invalid field in cdb"
NO_OPCODE = r"Additional sense: Invalid command operation code"
OUT_OF_RANGE = r"Additional sense: Logical block address out of range"

DISK: list[Row] = [
    # --- who it is ---
    ("sg_inq {sg}", 0, [
        r"PQual=0  PDT=0  RMB=1 .* version=0x06  \[SPC-4\]",
        r"Resp_data_format=2",
        r"Vendor identification: Platter",
        r"Product identification: Virtual Disk",
        rf"Unit serial number: {SERIAL}",
    ]),
    ("sg_inq --descriptors {sg}", 0, ["SAM-5", "SPC-4", "SBC-3"]),
    ("sg_vpd --page=sv {sg}", 0, [
        "Unit serial number", "Device identification", r"Block limits \(SBC\)",
        r"Block device characteristics \(SBC\)", r"Logical block provisioning \(SBC\)",
    ]),
    ("sg_vpd --page=sn {sg}", 0, [rf"Unit serial number: {SERIAL}"]),
    ("sg_vpd --page=di {sg}", 0, [
        "designator type: NAA,  code set: Binary", "0x3[0-9a-f]{15}",
        "designator type: T10 vendor identification,  code set: ASCII",
        "vendor id: Platter", rf"vendor specific: {SERIAL}",
    ]),
    ("sg_vpd --page=bl {sg}", 0, [
        r"Optimal transfer length granularity: 8 blocks",
        r"Maximum unmap LBA count: [1-9]",
        r"Maximum unmap block descriptor count: 64",
        r"Optimal unmap granularity: 8 blocks",
        r"Maximum write same length: 0x10000 blocks",
    ]),
    ("sg_vpd --page=bdc {sg}", 0, [r"Non-rotating medium"]),
    ("sg_vpd --page=lbpv {sg}", 0, [
        r"Unmap command supported \(LBPU\): 1",
        r"Write same \(16\) with unmap bit supported \(LBPWS\): 1",
        r"Logical block provisioning read zeros \(LBPRZ\): 1",
        r"Provisioning type: 2",
    ]),
    ("sg_raw -r 252 {sg} 12 01 c0 00 fc 00", 5, [NO_FIELD, "byte 2 bit 7"]),
    ("sg_luns {sg}", 0, [r"Lun list length = 8 which imples 1 lun entry"]),

    # --- how large, and what it can do ---
    ("sg_readcap {sg}", 0, [
        rf"Last LBA={BLOCKS - 1} .* Number of logical blocks={BLOCKS}",
        "Logical block length=512 bytes",
    ]),
    ("sg_readcap --long {sg}", 0, [
        "prot_en=0", "lbpme=1, lbprz=1", rf"Last LBA={BLOCKS - 1} ",
        "Logical blocks per physical block exponent=0", "Lowest aligned LBA=0",
    ]),
    ("sg_modes --all {sg}", 0, [
        "WP=0, DpoFua=1, longlba=0", ">> Caching, page_control: current",
        ">> Control, page_control: current", ">> Informational exceptions control",
    ]),
    ("sg_modes --six --page=0x3f {sg}", 0, ["WP=0, DpoFua=1", ">> Caching"]),
    ("sg_modes --control=3 --page=8 {sg}", 5, []),
    # It asks for saved values too, of which there are none: hence the status.
    ("sdparm --get=WCE,RCD {sg}", 5, [r"^WCE +0 +\[cha: n", r"^RCD +0 +\[cha: n"]),
    ("sdparm --get=SWP,D_SENSE {sg}", 5, [r"^SWP +0 +\[cha: y", r"^D_SENSE +0 +\[cha: n"]),
    ("sdparm --inquiry --page=di {sg}", 0, [rf"vendor specific: {SERIAL}"]),
    ("sg_opcodes {sg}", 0, [
        rf"^ *{code} .*{name}" for code, name in {
            "00": "Test Unit Ready", "12": "Inquiry", "28": "Read\\(10\\)", "2a": "Write\\(10\\)",
            "2f": "Verify\\(10\\)", "35": "Synchronize cache", "42": "Unmap", "88": "Read\\(16\\)",
            "8a": "Write\\(16\\)", "93": "Write same\\(16\\)", "9e": "Read capacity\\(16\\)",
            "a0": "Report luns", "a3": "Report supported operation codes",
        }.items()
    ]),
    ("sg_opcodes --opcode=0x28 {sg}", 0, [
        "Command is supported", "Usage data: 28 1a ff ff ff ff 00 ff ff 00",
    ]),
    ("sg_opcodes --opcode=0xd1 {sg}", 0, ["Command is NOT supported"]),

    # --- what it does ---
    ("sg_turs {sg}", 0, []),
    ("sg_requests {sg}", 0, ["Sense key: No Sense"]),
    ("sg_verify --lba=0 --count=2048 {sg}", 0, []),
    (f"sg_verify --lba={BLOCKS - 1} --count=2 {{sg}}", 22, []),
    ("sg_verify --lba=0 --count=1 --16 {sg}", 0, []),
    # The first block compared with itself, and with the second.
    ("dd if={drive} of=/tmp/a bs=512 count=1 status=none; "
     "sg_verify --lba=0 --count=1 --ndo=512 --in=/tmp/a {sg}", 0, []),
    ("dd if={drive} of=/tmp/b bs=512 skip=1 count=1 status=none; "
     "sg_verify --lba=0 --count=1 --ndo=512 --in=/tmp/b {sg}", 14, []),
    ("sg_sync {sg}", 0, []),
    ("sg_sync --16 {sg}", 0, []),
    ("sg_start --start {sg}", 0, []),
    ("sg_prevent {sg} && sg_prevent --allow {sg}", 0, []),
    ("sg_unmap --force --lba=64 --num=64 {sg}", 0, []),
    ("sg_dd if={sg} of=/dev/stdout bs=512 skip=64 count=64 2>&- | tr -d '\\0' | wc -c", 0, ["^0$"]),
    ("sg_write_same --16 --unmap --lba=128 --num=64 --xferlen=512 {sg}", 0, []),
    ("sg_dd if={sg} of=/dev/stdout bs=512 skip=128 count=64 2>&- | tr -d '\\0' | wc -c", 0,
     ["^0$"]),
    (f"sg_unmap --force --lba={BLOCKS - 1} --num=2 {{sg}}", 22, []),

    # --- commands that are wrong ---
    ("sg_raw {sg} ff 00 00 00 00 00", 9, [NO_OPCODE]),
    ("sg_raw -r 512 {sg} c8 00 00 00 00 00 00 00 01 00", 9, [NO_OPCODE]),
    ("sg_raw -r 36 {sg} 12 00 80 00 24 00", 5, [NO_FIELD, "byte 2 bit 7"]),
    ("sg_raw -r 36 {sg} 12 02 00 00 24 00", 5, [NO_FIELD, "byte 1"]),
    ("sg_raw -r 36 {sg} 12 00 00 00 24 04", 5, [NO_FIELD, "byte 5"]),
    ("sg_raw -r 512 {sg} 28 20 00 00 00 00 00 00 01 00", 5, [NO_FIELD, "byte 1"]),
    ("sg_raw -r 512 {sg} 28 00 00 00 80 00 00 00 01 00", 22, [OUT_OF_RANGE]),
    ("sg_raw -r 512 {sg} 28 00 ff ff ff ff 00 ff ff 00", 22, [OUT_OF_RANGE]),
    ("sg_raw -r 512 {sg} 88 00 ff ff ff ff ff ff ff ff 00 00 00 01 00 00", 22, [OUT_OF_RANGE]),
    ("sg_raw -r 32 {sg} 9e 11 00 00 00 00 00 00 00 00 00 00 00 20 00 00", 5, [NO_FIELD]),
    ("sg_raw -r 252 {sg} 5a 00 3d 00 00 00 00 00 fc 00", 5, [NO_FIELD]),
    ("sg_raw -r 8 {sg} 43 00 00 00 00 00 00 00 08 00", 9, [NO_OPCODE]),
    ("sg_raw -s 8 -i /dev/zero {sg} 55 00 00 00 00 00 00 00 08 00", 5, []),
    # Of a command block that is too short the rest is zeroes: that is READ of no blocks.
    ("sg_raw -r 8 {sg} 25 00 00 00 00 00", 0, ["Received 8 bytes of data"]),
    ("sg_raw -r 512 {sg} 88 00 00 00 00 00 00 00 00 00", 0, ["No data received"]),
]

# Of a disk that may not be written to.
READ_ONLY: list[Row] = [
    ("sg_modes --page=8 {sg}", 0, ["WP=1"]),
    ("cat /sys/block/$(basename {drive})/ro", 0, ["^1$"]),
    ("sg_readcap --long {sg}", 0, ["lbpme=0"]),
    ("sg_raw -s 512 -i /dev/zero {sg} 2a 00 00 00 00 00 00 00 01 00", 7,
     ["Data Protect", "Write protected"]),
    ("sg_unmap --force --lba=0 --num=8 {sg}", 7, []),
]

CD: list[Row] = [
    # --- who it is ---
    ("sg_inq {sg}", 0, [
        r"PQual=0  PDT=5  RMB=1 .* version=0x06  \[SPC-4\]",
        r"Vendor identification: Platter",
        r"Product identification: Virtual CD",
    ]),
    ("sg_vpd --page=sv {sg}", 0, ["Unit serial number", "Device identification"]),
    ("sg_luns {sg}", 0, [r"Lun list length = 8 which imples 1 lun entry"]),
    ("sg_readcap {sg}", 0, [
        "Number of logical blocks={blocks}", "Logical block length=2048 bytes",
    ]),
    ("cat /proc/sys/dev/cdrom/info", 0, [
        r"Can close tray:\t+1", r"Can open tray:\t+1", r"Can lock tray:\t+1",
        r"Reports media changed:\t+1", r"Can read DVD:\t+1",
        r"Can write CD-R:\t+0", r"Can write DVD-R:\t+0", r"Can write RAM:\t+0",
    ]),
    # --- its profiles and pages ---
    ("sg_get_config {sg}", 0, [
        "Current profile: CD-ROM", "profile: BD-ROM , currentP=0",
        "profile: DVD-ROM , currentP=0", "profile: CD-ROM , currentP=1",
        "Physical interface standard: USB", "OCEvent=1", "Load=1, Eject=1, .* Lock=1",
        "Logical block size=0x800, blocking=0x1,", "CD read feature", "DVD read feature",
        "BD read feature", rf"Drive serial number: {SERIAL}", "![Ww]rit(e|able) feature",
    ]),
    ("sg_modes --all {sg}", 0, ["MM capabilities and mechanical status"]),
    ("sg_turs {sg}", 0, []),
    ("cd-drive {drive}", 0, [
        "Can eject +: Yes", "Can close tray +: Yes", "Can disable manual eject +: Yes",
        "Can read CD-R +: Yes", "Can read DVD-ROM +: Yes", "Can write CD-RW +: No",
    ]),
    ("wodim dev={drive} -prcap", 0, [
        "Device type +: Removable CD-ROM", "Vendor_info +: 'Platter '",
        "Does read CD-R media", "Does read DVD-ROM media", "Does not write CD-R media",
        "Does allow media to be locked", "Loading mechanism type: tray",
        "Maximum write speed: +0 kB/s",
    ]),
    # --- the disc ---
    ("cd-info --no-cddb --no-device-info {drive}", 0, [
        r"Disc mode is listed as: CD-DATA", r"CD-ROM Track List \(1 - 1\)",
        r"1: 00:02:00  000000 data", r"170: {lead_out}  0*{blocks} leadout",
        "CD-ROM with ISO 9660 filesystem",
    ]),
    ("wodim dev={drive} -toc", 0, [
        "first: 1 last 1", r"track: +1 lba: +0 .* 00:02:00 adr: 1 control: 4 ",
        r"track:lout lba: +{blocks} ",
    ]),
    ("xorriso -outdev {drive} -toc 2>&1", 0, [
        "Media current: CD-ROM", "Media status : is written , is closed",
        r"ISO session +: +1 , +0 , +\d+s", r"Media blocks : {blocks} readable",
    ]),
    ("cdrdao disk-info --driver generic-mmc --device {drive}", 0, [
        "CD-RW +: no", "CD-R empty +: no", "Toc Type +: CD-DA or CD-ROM", "Sessions +: 1",
        "Last Track +: 1",
    ]),
    # --- commands that are wrong ---
    ("sg_raw {sg} ff 00 00 00 00 00", 9, [NO_OPCODE]),
    ("sg_raw -s 2048 -i /dev/zero {sg} 2a 00 00 00 00 00 00 00 01 00", 9, [NO_OPCODE]),
    ("sg_raw -r 2048 {sg} 28 00 7f ff ff ff 00 00 01 00", 22, [OUT_OF_RANGE]),
    ("sg_raw -r 32 {sg} 43 00 0f 00 00 00 00 00 20 00", 5, [NO_FIELD]),
    ("sg_raw -r 2352 {sg} be 04 00 00 00 00 00 00 01 10 00 00", 5, []),
    ("sg_raw -r 2048 {sg} ad 00 00 00 00 00 00 00 08 00 00 00", 5, []),
]
