/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The warm-up led by any medium. An input is: a byte whose lowest bit says "CD" and whose others
 * say how its bytes are cut when shown (0: not at all); the medium's size (5 bytes, little-endian);
 * and runs of bytes on a medium of zeroes, each its sector of 512 (4 bytes), the place in it (2),
 * its length (1) and its bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "block/warm.h"

#define BUDGET ((uint64_t)16 << 20)
#define SMALL  65536u
#define RUNS   256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    uint64_t offset;
    const uint8_t *bytes;
    uint32_t length;
};

struct medium {
    uint64_t size;
    uint32_t cut;
    struct run runs[RUNS];
    unsigned count;
};

static void require(bool truth)
{
    if (!truth)
        abort();
}

static uint64_t get_le(const uint8_t *at, unsigned width)
{
    uint64_t value = 0;

    while (width-- > 0)
        value = value << 8 | at[width];
    return value;
}

static bool read_medium(struct medium *m, const uint8_t *data, size_t size)
{
    if (size < 6)
        return false;
    m->cut = data[0] >> 1;
    m->size = get_le(data + 1, 5);
    m->count = 0;
    data += 6;
    size -= 6;
    while (size >= 7 && size - 7 >= data[6] && m->count < RUNS) {
        m->runs[m->count++] = (struct run){.offset = get_le(data, 4) * 512 + get_le(data + 4, 2),
                                           .bytes = data + 7,
                                           .length = data[6]};
        size -= 7u + data[6];
        data += 7u + data[6];
    }
    return m->size > 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool is_zero(const struct medium *m, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (m->runs[i].offset < to && m->runs[i].offset + m->runs[i].length > from)
            return false;
    }
    return true;
}

/* Shows what is at `from` from memory of exactly its length. */
static void show_piece(struct warm *w, const struct medium *m, uint64_t from, uint32_t length)
{
    uint8_t *bytes = calloc(1, length);

    require(bytes);
    for (unsigned i = 0; i < m->count; i++) {
        const struct run *r = &m->runs[i];

        for (uint64_t at = larger(from, r->offset);
             at < from + length && at < r->offset + r->length; at++)
            bytes[at - from] = r->bytes[at - r->offset];
    }
    warm_saw(w, from, bytes, length);
    free(bytes);
}

static void show(struct warm *w, const struct medium *m, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint32_t page = to - from < 2048 ? (uint32_t)(to - from) : 2048;
        uint32_t cut = m->cut && m->cut < page ? m->cut : page;

        if (is_zero(m, from, from + page)) {
            warm_saw(w, from, NULL, page);
            from += page;
            continue;
        }
        for (uint32_t at = 0; at < page; at += cut)
            show_piece(w, m, from + at, page - at < cut ? page - at : cut);
        from += page;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct warm w;
    static struct medium m;
    struct warm_range r;
    uint64_t total = 0;
    unsigned given = 0;

    if (!read_medium(&m, data, size))
        return 0;
    warm_init(&w, m.size, data[0] & 1, BUDGET);
    while (warm_next(&w, &r)) {
        require(r.from < r.to && r.to <= m.size && r.from % 4096 == 0);
        require(r.to % 4096 == 0 || r.to == m.size);
        total += r.to - r.from;
        require(++given <= 200 && total <= BUDGET + (uint64_t)64 * 8192);
        /* Of the long ones, the beginning, where all that leads on to others is. */
        if (r.to - r.from > SMALL)
            warm_saw(&w, r.from + SMALL, NULL, (uint32_t)(r.to - r.from - SMALL));
        show(&w, &m, r.from, r.to - r.from > SMALL ? r.from + SMALL : r.to);
    }
    return 0;
}
