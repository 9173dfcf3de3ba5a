/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequential streams, found and run ahead of.
 *
 * A read that adjoins none of the streams becomes a candidate; a second read that goes on where a
 * candidate ended makes it a stream. So reads that jump, stride or go backwards never start one,
 * and random reads only push out candidates, not streams.
 *
 * A stream's reads may come somewhat out of order, as the kernel and programs with many requests in
 * flight send them: a read shortly behind or before its end belongs to it, and what it skipped is
 * expected to come. As long as much is missing nothing more is fetched ahead; so a walk with gaps,
 * which looks the same for a moment, costs little.
 *
 * How far ahead is paid for by what the stream has read: a stream that ends early wastes no more
 * than in proportion. At first as much again as was read; after FAST bytes, three times that, up to
 * the line's window and a half. When all in all a quarter of what was read has been fetched in
 * vain, only half of what a stream has read, until that has changed.
 *
 * What always holds, of each stream: start <= seen <= fetched <= size, and read <= seen - start.
 */
#include "block/readahead.h"

#include <string.h>

#include "base/minmax.h"

#define PAGE 4096u
/* The least to fetch ahead of a new stream, and the least to fetch at once. */
#define AHEAD_MIN ((uint64_t)64 << 10)
#define PIECE_MIN ((uint64_t)32 << 10)
/* Behind this much read, a stream is believed to go on. */
#define FAST ((uint64_t)256 << 10)
/* How far from its end a read may be and still belong to a stream. */
#define GAP  ((uint64_t)512 << 10)
#define BACK ((uint64_t)2 << 20)
/* What may be missing in a stream that is still run ahead of, beside a quarter of what was read. */
#define MISSING ((uint64_t)256 << 10)
/* A stream not read during this many reads of others is not fetched for. */
#define STALE 32
/* What may be wasted before it counts; and when to begin forgetting old accounts. */
#define WASTE_FREE   ((uint64_t)1 << 20)
#define ACCOUNTS_MAX ((uint64_t)256 << 20)

void readahead_init(struct readahead *r, uint64_t medium_size)
{
    memset(r, 0, sizeof *r);
    r->size = medium_size;
}

static bool is_live(const struct readahead *r, const struct readahead_stream *s)
{
    return s->used && r->reads - s->read_at <= STALE;
}

static void account(struct readahead *r, uint64_t useful, uint64_t wasted)
{
    r->useful += useful;
    r->wasted += wasted;
    if (r->useful > ACCOUNTS_MAX) {
        r->useful /= 2;
        r->wasted /= 2;
    }
}

/* A place for a new one: free, or else the one not read for the longest time. */
static struct readahead_stream *oldest(struct readahead_stream *list, unsigned count)
{
    struct readahead_stream *found = &list[0];

    for (unsigned i = 0; i < count && found->used; i++) {
        if (!list[i].used || list[i].read_at < found->read_at)
            found = &list[i];
    }
    return found;
}

/* The stream that this read belongs to; NULL: none. */
static struct readahead_stream *find_stream(struct readahead *r, uint64_t offset)
{
    struct readahead_stream *found = NULL;

    for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
        struct readahead_stream *s = &r->streams[i];
        uint64_t low = max_u64(s->start, s->seen - min_u64(s->seen, BACK));

        if (!s->used || offset < low || offset > max_u64(s->seen + GAP, s->fetched))
            continue;
        /* Of several, the one whose end is behind it least: streams may run close together. */
        if (!found || (s->seen >= offset) > (found->seen >= offset) ||
            ((s->seen >= offset) == (found->seen >= offset) && s->seen < found->seen))
            found = s;
    }
    return found;
}

/* One that the read goes on from, or says again. */
static struct readahead_stream *find_candidate(struct readahead *r, uint64_t offset)
{
    for (unsigned i = 0; i < READAHEAD_CANDIDATES; i++) {
        struct readahead_stream *c = &r->candidates[i];

        if (c->used && offset >= c->start && offset <= c->seen)
            return c;
    }
    return NULL;
}

static void read_on(struct readahead *r, struct readahead_stream *s, uint64_t offset, uint64_t end)
{
    if (offset > s->seen + GAP) { /* a jump within what is fetched: a new beginning there */
        account(r, 0, offset - s->seen);
        s->start = offset;
        s->seen = offset;
        s->read = 0;
    }
    s->seen = max_u64(s->seen, end);
    s->read = min_u64(s->read + (end - offset), s->seen - s->start);
    s->fetched = max_u64(s->fetched, s->seen);
    s->read_at = r->reads;
    s->held = false;
    account(r, end - offset, 0);
}

/* Where it has reached what came before its turn, the two are one. */
static void absorb(struct readahead_stream *s, struct readahead_stream *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct readahead_stream *other = &list[i];

        if (other == s || !other->used || s->seen < other->start || s->seen > other->seen)
            continue;
        /* This was another reading of the same, which is over. */
        if (other->start <= s->start || other->seen - s->seen > BACK)
            continue;
        s->seen = other->seen;
        s->read = min_u64(s->read + other->read, s->seen - s->start);
        s->fetched = max_u64(s->fetched, max_u64(other->fetched, s->seen));
        other->used = false;
    }
}

static void set_ahead(struct readahead *r, struct readahead_stream *s, uint64_t window,
                      uint64_t room)
{
    uint64_t most = window + window / 2 + 4 * AHEAD_MIN;
    unsigned live = 0;

    for (unsigned i = 0; i < READAHEAD_STREAMS; i++)
        live += is_live(r, &r->streams[i]);
    if (r->wasted > r->useful / 4 + WASTE_FREE)
        s->ahead = s->read / 2;
    else if (s->read < FAST)
        s->ahead = max_u64(s->read, AHEAD_MIN);
    else
        s->ahead = s->read * 3;
    s->ahead = min_u64(s->ahead, min_u64(most, room / (live ? live : 1)));
}

bool readahead_read(struct readahead *r, uint64_t offset, uint32_t length, uint64_t window,
                    uint64_t room)
{
    uint64_t end = offset + length;
    struct readahead_stream *s = find_stream(r, offset);
    struct readahead_stream *c;

    r->reads++;
    if (!s) {
        c = find_candidate(r, offset);
        if (!c || end <= c->seen || offset == c->start) {
            c = c ? c : oldest(r->candidates, READAHEAD_CANDIDATES);
            *c = (struct readahead_stream){.used = true, .start = offset, .seen = end};
            c->read = length;
            c->fetched = end;
            c->read_at = r->reads;
            return false;
        }
        s = oldest(r->streams, READAHEAD_STREAMS);
        if (s->used)
            account(r, 0, s->fetched - s->seen);
        *s = *c;
        c->used = false;
        account(r, s->read, 0);
    }
    read_on(r, s, offset, end);
    absorb(s, r->candidates, READAHEAD_CANDIDATES);
    absorb(s, r->streams, READAHEAD_STREAMS);
    set_ahead(r, s, window, room);
    return true;
}

/* Behind the last byte to fetch for it now; at most `fetched` when there is nothing. */
static uint64_t target(const struct readahead *r, const struct readahead_stream *s)
{
    uint64_t missing = s->seen - s->start - s->read;
    uint64_t to;

    if (!is_live(r, s) || s->held || missing > MISSING + s->read / 4 || s->fetched >= r->size)
        return 0;
    to = s->seen + s->ahead;
    if (to >= r->size)
        return r->size;
    return to - to % PAGE;
}

bool readahead_next(struct readahead *r, uint32_t length_max, struct readahead_want *out)
{
    struct readahead_stream *found = NULL;
    uint64_t to = 0;

    for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
        struct readahead_stream *s = &r->streams[i];
        uint64_t end = target(r, s);
        uint64_t least = min_u64(length_max, max_u64(s->ahead / 2, PIECE_MIN));

        /* Little by little would cost more asks than it is worth. */
        if (end <= s->fetched || (end < r->size && end - s->fetched < least))
            continue;
        if (!found || s->fetched - s->seen < found->fetched - found->seen) {
            found = s;
            to = end;
        }
    }
    if (!found || length_max == 0)
        return false;
    out->from = found->fetched;
    out->to = min_u64(to, out->from + length_max);
    found->fetched = out->to;
    return true;
}

void readahead_drop(struct readahead *r, uint64_t from)
{
    for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
        struct readahead_stream *s = &r->streams[i];

        if (!s->used || from < s->start || from >= s->fetched)
            continue;
        s->fetched = max_u64(from, s->seen);
        s->held = true;
    }
}
