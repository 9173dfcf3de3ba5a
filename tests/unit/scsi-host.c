/* SPDX-License-Identifier: Apache-2.0 */
#include "scsi-host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

size_t host_bytes(const char *hex, uint8_t *out, size_t room)
{
    size_t count = 0;
    unsigned value;

    for (; *hex; hex += *hex == ' ' ? 1 : 2) {
        if (*hex == ' ')
            continue;
        assert_int_equal(sscanf(hex, "%2x", &value), 1);
        assert_true(count < room);
        out[count++] = (uint8_t)value;
    }
    return count;
}

void host_drive(struct scsi_drive *d, enum medium_kind kind)
{
    static const struct scsi_identity identity = {"Platter", "Virtual CD", "0100", "PLATTER01"};

    scsi_drive_init(d, kind, &identity, false);
    assert_refused(d, "00 00 00 00 00 00", 0x062900);
}

void host_drive_with(struct scsi_drive *d, enum medium_kind kind, uint64_t size)
{
    host_drive(d, kind);
    scsi_drive_insert(d, size, false);
    assert_refused(d, "00 00 00 00 00 00", 0x062800);
}

struct scsi_deed host_execute(struct scsi_drive *d, const char *cdb)
{
    uint8_t bytes[SCSI_CDB_MAX];

    return scsi_drive_execute(d, bytes, host_bytes(cdb, bytes, sizeof bytes));
}

size_t host_ask(struct scsi_drive *d, const char *cdb)
{
    struct scsi_deed deed = host_execute(d, cdb);
    size_t length = (size_t)deed.length;

    assert_int_equal(deed.kind, SCSI_REPLY);
    assert_ptr_equal(deed.data, d->bytes);
    deed = scsi_drive_done(d, SCSI_FINE, length);
    assert_int_equal(deed.kind, SCSI_DONE);
    assert_int_equal(deed.status, SCSI_GOOD);
    return length;
}

unsigned host_sense(struct scsi_drive *d)
{
    assert_int_equal(host_ask(d, "03 00 00 00 12 00"), SCSI_SENSE_SIZE);
    assert_int_equal(d->bytes[0] & 0x7F, 0x70);
    return (d->bytes[2] & 0x0Fu) << 16 | (unsigned)d->bytes[12] << 8 | d->bytes[13];
}

void assert_answer(struct scsi_drive *d, const char *cdb, const char *bytes)
{
    uint8_t wanted[SCSI_REPLY_MAX];
    size_t length = host_bytes(bytes, wanted, sizeof wanted);

    assert_int_equal(host_ask(d, cdb), length);
    assert_memory_equal(d->bytes, wanted, length);
}

void assert_good(struct scsi_drive *d, const char *cdb)
{
    struct scsi_deed deed = host_execute(d, cdb);

    assert_int_equal(deed.kind, SCSI_DONE);
    assert_int_equal(deed.status, SCSI_GOOD);
}

void assert_read(struct scsi_drive *d, const char *cdb, uint64_t offset, uint64_t length)
{
    struct scsi_deed deed = host_execute(d, cdb);

    assert_int_equal(deed.kind, SCSI_READ);
    assert_int_equal(deed.offset, offset);
    assert_int_equal(deed.length, length);
    assert_int_equal(scsi_drive_done(d, SCSI_FINE, length).status, SCSI_GOOD);
}

void assert_refused(struct scsi_drive *d, const char *cdb, unsigned sense)
{
    struct scsi_deed deed = host_execute(d, cdb);

    assert_int_equal(deed.kind, SCSI_DONE);
    assert_int_equal(deed.status, SCSI_CHECK_CONDITION);
    assert_int_equal(host_sense(d), sense);
}
