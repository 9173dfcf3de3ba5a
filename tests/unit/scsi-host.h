/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's side of one drive, for unit tests: commands and answers as hex, blanks wherever they
 * help. What is asserted is the whole: the answer's bytes, its length and the status; sense is
 * fetched as a host fetches it, with REQUEST SENSE.
 */
#ifndef TESTS_SCSI_HOST_H
#define TESTS_SCSI_HOST_H

#include "scsi/drive.h"

/* The bytes of a hex string; returns how many. Fails the test when there are more than `room`. */
size_t host_bytes(const char *hex, uint8_t *out, size_t room);

/* A drive with its first unit attention taken. */
void host_drive(struct scsi_drive *d, enum medium_kind kind);
/* And a medium in it, the attention for which is taken as well. */
void host_drive_with(struct scsi_drive *d, enum medium_kind kind, uint64_t size);

/* The key, code and qualifier of the current sense, as 0xKKAAQQ. */
unsigned host_sense(struct scsi_drive *d);

/* The deed the CDB asks for. */
struct scsi_deed host_execute(struct scsi_drive *d, const char *cdb);
/* It answers, with status GOOD: the answer's length, its bytes in d->bytes. */
size_t host_ask(struct scsi_drive *d, const char *cdb);

void assert_answer(struct scsi_drive *d, const char *cdb, const char *bytes);
void assert_good(struct scsi_drive *d, const char *cdb);
void assert_read(struct scsi_drive *d, const char *cdb, uint64_t offset, uint64_t length);
void assert_refused(struct scsi_drive *d, const char *cdb, unsigned sense);

#endif
