/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the drive: the facts about one image that every room needs. */
#ifndef PLATTER_BASE_MEDIUM_H
#define PLATTER_BASE_MEDIUM_H

#include <stdbool.h>
#include <stdint.h>

#define MEDIUM_NAME_MAX 128

enum medium_kind {
    MEDIUM_DISK, /* a USB stick: sectors of 512 bytes */
    MEDIUM_CD,   /* an optical disc: sectors of 2048 bytes, read-only */
};

struct medium {
    enum medium_kind kind;
    uint64_t size; /* bytes */
    bool read_only;
    char name[MEDIUM_NAME_MAX]; /* the file's name as its person knows it: UTF-8 cut to fit,
                                   untrusted */
};

/* The sector size the machine is shown, in bytes. */
static inline uint32_t medium_sector(enum medium_kind kind)
{
    return kind == MEDIUM_CD ? 2048 : 512;
}

/* Without the part of a sector that an image may end with: a drive has no parts of sectors. Bytes.
 */
static inline uint64_t medium_whole(enum medium_kind kind, uint64_t size)
{
    return size - size % medium_sector(kind);
}

#endif
