/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded big-endian cursors over memory somebody else owns; and the little-endian numbers of what
 * PCs and USB defined, at places whose bounds the caller knows.
 *
 * A reader or writer that would pass its end sets `bad`, touches nothing, and every later call on
 * it does nothing too (readers return 0). So a decoder may read a whole fixed layout and ask once,
 * at the end, whether all of it was there.
 */
#ifndef PLATTER_BASE_BYTES_H
#define PLATTER_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes_reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

struct bytes_writer {
    uint8_t *at;
    size_t left;
    size_t used;
    bool bad;
};

static inline struct bytes_reader bytes_reader(const void *data, size_t length)
{
    return (struct bytes_reader){.at = data, .left = length, .bad = false};
}

static inline struct bytes_writer bytes_writer(void *data, size_t room)
{
    return (struct bytes_writer){.at = data, .left = room, .used = 0, .bad = false};
}

/* The next `length` bytes, borrowed from the memory below; NULL (and `bad`) if they are not there.
 */
static inline const uint8_t *bytes_take(struct bytes_reader *r, size_t length)
{
    if (r->bad || r->left < length) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *here = r->at;
    r->at += length;
    r->left -= length;
    return here;
}

static inline uint64_t bytes_get_be(struct bytes_reader *r, size_t width)
{
    const uint8_t *p = bytes_take(r, width);
    uint64_t value = 0;

    for (size_t i = 0; p && i < width; i++)
        value = value << 8 | p[i];
    return value;
}

static inline uint8_t bytes_get_u8(struct bytes_reader *r)
{
    return (uint8_t)bytes_get_be(r, 1);
}

static inline uint16_t bytes_get_u16(struct bytes_reader *r)
{
    return (uint16_t)bytes_get_be(r, 2);
}

static inline uint32_t bytes_get_u32(struct bytes_reader *r)
{
    return (uint32_t)bytes_get_be(r, 4);
}

static inline uint64_t bytes_get_u64(struct bytes_reader *r)
{
    return bytes_get_be(r, 8);
}

static inline void bytes_put(struct bytes_writer *w, const void *data, size_t length)
{
    if (w->bad || w->left < length) {
        w->bad = true;
        return;
    }
    if (length > 0)
        memcpy(w->at, data, length);
    w->at += length;
    w->left -= length;
    w->used += length;
}

static inline void bytes_put_be(struct bytes_writer *w, uint64_t value, size_t width)
{
    uint8_t out[8];

    for (size_t i = 0; i < width; i++)
        out[i] = (uint8_t)(value >> (8 * (width - 1 - i)));
    bytes_put(w, out, width);
}

static inline void bytes_put_u8(struct bytes_writer *w, uint8_t value)
{
    bytes_put_be(w, value, 1);
}

static inline void bytes_put_u16(struct bytes_writer *w, uint16_t value)
{
    bytes_put_be(w, value, 2);
}

static inline void bytes_put_u32(struct bytes_writer *w, uint32_t value)
{
    bytes_put_be(w, value, 4);
}

static inline void bytes_put_u64(struct bytes_writer *w, uint64_t value)
{
    bytes_put_be(w, value, 8);
}

/* A number of `width` bytes, 1 to 8, all of them there. */
static inline uint64_t bytes_get_le(const uint8_t *at, unsigned width)
{
    uint64_t value = 0;

    while (width-- > 0)
        value = value << 8 | at[width];
    return value;
}

static inline void bytes_put_le32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

#endif
