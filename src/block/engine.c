/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of a drive: requests in, asks to the source out, answers back.
 *
 * A request waits until nothing stands in its way and there is memory for it; then it is a read
 * (reads.c), a write (writes.c) or a flush (write-log.c), and what these want of the source is sent
 * as far as the source takes it. Requests begin in order, but one that has to wait for another does
 * not keep those behind it that touch neither.
 *
 * Who owns what: the request is its export's; what the engine made of it is the engine's, until
 * engine_release(). The source is its owner's. The log and the cache outlive any source.
 *
 * What always holds: a request is in `waiting`, or it is a read, a write or a flush, or its answer
 * is known. It is in `by_age` until its answer is known, and answered exactly once.
 *
 * Callbacks come back in here (a completed request is released, or a new one submitted, from inside
 * its own answer; a source may answer inside source_submit()). Every way in is therefore counted,
 * and only the outermost one runs the pump.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/asks.h"
#include "block/holes.h"
#include "block/prefetch.h"
#include "block/reads.h"
#include "block/write-log.h"
#include "block/writes.h"

/* How many requests that have to wait for another one may be passed by those behind them. */
#define PASSED_MAX 16

/* ---- answers and deadlines ---- */

uint64_t engine_now(const struct engine *e)
{
    return e->config.host.now(e->config.host.arg);
}

static void set_alarm(struct engine *e)
{
    uint64_t at = engine_oldest(e);

    if (e->config.request_limit == 0)
        return;
    if (at != UINT64_MAX)
        at += e->config.request_limit;
    e->config.host.set_alarm(e->config.host.arg, at);
}

void engine_answer(struct engine *e, struct request *request, int error)
{
    bool was_oldest = e->by_age.next == &request->by_age;

    list_remove(&request->by_age);
    if (was_oldest)
        set_alarm(e);
    request->error = error;
    list_append(&e->answers, &request->link);
}

static void count_answer(struct engine_counters *n, const struct request *r)
{
    n->requests_open--;
    n->requests++;
    n->errors += r->error != 0;
    if (r->op == REQUEST_READ) {
        n->reads++;
        n->bytes_read += r->error ? 0 : r->length;
    } else if (r->op != REQUEST_FLUSH) {
        n->writes++;
        n->bytes_written += r->error || r->op != REQUEST_WRITE ? 0 : r->length;
    }
}

static void tell_answers(struct engine *e)
{
    struct list *link;

    while ((link = list_take_first(&e->answers))) {
        struct request *r = list_entry(link, struct request, link);

        count_answer(&e->counters, r);
        r->complete(r, r->error);
    }
}

/* Answers a request wherever it stands; what the source has of it runs out by itself. */
static void give_up(struct engine *e, struct request *r, int error)
{
    list_remove(&r->by_age);
    if (r->read) {
        reads_note_end(e, r->read, error);
        return;
    }
    if (r->write)
        writes_abandon(e, r->write);
    else if (r->op == REQUEST_FLUSH)
        write_log_forget_flush(e, r, NULL);
    list_remove(&r->link);
    engine_answer(e, r, error);
}

static void give_up_all(struct engine *e, int error)
{
    if (list_is_empty(&e->by_age))
        return;
    while (!list_is_empty(&e->by_age))
        give_up(e, list_entry(e->by_age.next, struct request, by_age), error);
    set_alarm(e);
}

/* ---- admission ---- */

static void range_of(const struct engine *e, const struct request *r, uint64_t *from, uint64_t *to)
{
    *from = r->offset;
    *to = r->offset + r->length;
    if (r->op != REQUEST_READ)
        writes_hold(e, r, from, to);
}

/* Whether one that waits before it has to be served first. */
static bool is_behind(const struct engine *e, const struct request *r, uint64_t from, uint64_t to)
{
    for (const struct list *it = e->waiting.next; it != &r->link; it = it->next) {
        const struct request *other = list_entry(it, struct request, link);
        uint64_t other_from;
        uint64_t other_to;

        if (other->op == REQUEST_FLUSH || (other->op == REQUEST_READ && r->op == REQUEST_READ))
            continue;
        range_of(e, other, &other_from, &other_to);
        if (ranges_meet(from, to, other_from, other_to))
            return true;
    }
    return false;
}

/* Whether something under way has to end first. */
static bool has_to_wait(const struct engine *e, const struct request *r)
{
    uint64_t from;
    uint64_t to;

    if (r->op == REQUEST_FLUSH)
        return false;
    range_of(e, r, &from, &to);
    if (writes_touch(e, from, to) || is_behind(e, r, from, to))
        return true;
    return r->op != REQUEST_READ &&
           (reads_touch(e, from, to) || cache_is_asked(e->cache, from, to));
}

static int begin_read(struct engine *e, struct request *r)
{
    int result = reads_begin(e, r->offset, r->offset + r->length, r, NULL, &r->read);

    if (result < 0)
        return result;
    if (r->read->missing == 0)
        e->counters.hits++;
    else
        e->counters.misses++;
    e->looking_at = r->offset;
    prefetch_read(e, r);
    return 0;
}

static int begin_flush(struct engine *e, struct request *r)
{
    if (e->info.can_flush)
        return write_log_flush(e, r, NULL);
    engine_answer(e, r, write_log_take_broken(e));
    return 0;
}

/* False when it has to wait for memory, and all behind it do, so that it is not starved. */
static bool admit(struct engine *e, struct request *r)
{
    struct list *before = r->link.prev;
    int result;

    list_remove(&r->link);
    if (r->op == REQUEST_READ)
        result = begin_read(e, r);
    else if (r->op == REQUEST_FLUSH)
        result = begin_flush(e, r);
    else
        result = writes_begin(e, r);
    if (result == -EAGAIN) {
        list_append(before->next, &r->link);
        return false;
    }
    if (result < 0)
        engine_answer(e, r, result);
    return true;
}

static void admit_waiting(struct engine *e)
{
    unsigned passed = 0;

    if (!e->has_info)
        return;
    list_for_each_safe (it, &e->waiting) {
        struct request *r = list_entry(it, struct request, link);

        if (has_to_wait(e, r))
            passed++;
        else if (!admit(e, r))
            break;
        if (passed == PASSED_MAX)
            break;
    }
}

/* ---- the pump ---- */

static void pump(struct engine *e)
{
    e->busy = 1;
    do {
        e->again = false;
        if (e->failed)
            give_up_all(e, e->failed);
        reads_finish(e);
        /* The line is not to idle while the machine is told what has come over it. */
        asks_send(e);
        tell_answers(e);
        admit_waiting(e);
        asks_send(e);
        writes_send(e);
        prefetch_send(e);
        holes_look(e, e->looking_at);
    } while (e->again || !list_is_empty(&e->through) || !list_is_empty(&e->answers));
    e->busy = 0;
}

void engine_enter(struct engine *e)
{
    e->busy++;
}

void engine_leave(struct engine *e)
{
    if (--e->busy > 0)
        e->again = true;
    else
        pump(e);
}

/* ---- the public face ---- */

int engine_new(const struct engine_config *config, struct engine **out)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e)
        return -ENOMEM;
    e->config = *config;
    e->unit = CACHE_PAGE;
    e->early_since = UINT64_MAX;
    if (config->waited > 0) {
        uint64_t now = engine_now(e);

        e->early_since = now > config->waited ? now - config->waited : 0;
    }
    list_init(&e->waiting);
    list_init(&e->by_age);
    list_init(&e->answers);
    list_init(&e->reads);
    list_init(&e->through);
    list_init(&e->writes);
    asks_init(&e->asks);
    if (cache_new(config->cache_max, &e->cache) < 0) {
        free(e);
        return -ENOMEM;
    }
    if (write_log_init(e) < 0) {
        cache_free(e->cache);
        free(e);
        return -ENOMEM;
    }
    *out = e;
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    write_log_done(e);
    cache_free(e->cache);
    free(e);
}

static uint32_t unit_of(const struct source_info *info)
{
    return info->block_min > CACHE_PAGE ? info->block_min : CACHE_PAGE;
}

/* Pieces of a write are at most a block of the cache long. */
static bool takes_writes(const struct source_info *before, const struct source_info *info)
{
    return !info->read_only && info->block_min == before->block_min &&
           (info->length_max >= before->length_max || info->length_max >= CACHE_BLOCK) &&
           info->can_flush >= before->can_flush && info->can_fua >= before->can_fua &&
           info->can_trim >= before->can_trim && info->can_write_zeroes >= before->can_write_zeroes;
}

bool engine_takes(const struct engine *e, const struct source_info *info)
{
    if (!e->has_info)
        return true;
    return info->size == e->info.size && unit_of(info) <= e->unit &&
           (e->info.read_only || takes_writes(&e->info, info));
}

void engine_set_source(struct engine *e, struct source *source, const struct source_info *info)
{
    engine_enter(e);
    e->source = source;
    e->info = *info;
    e->unit = unit_of(info);
    e->failed = 0;
    line_init(&e->asks.line, info->in_flight_max);
    if (!e->has_info)
        prefetch_init(e);
    e->has_info = true;
    holes_init(e);
    asks_replan(e);
    write_log_resume(e);
    engine_leave(e);
}

void engine_suspend(struct engine *e)
{
    engine_enter(e);
    e->counters.suspensions++;
    e->source = NULL;
    prefetch_stop(e);
    engine_leave(e);
}

void engine_fail(struct engine *e, int error)
{
    engine_enter(e);
    e->failed = error;
    e->source = NULL;
    prefetch_stop(e);
    engine_leave(e);
}

void engine_submit(struct engine *e, struct request *request)
{
    engine_enter(e);
    request->read = NULL;
    request->write = NULL;
    request->segment_count = 0;
    request->since = engine_now(e);
    if (!e->has_info && request->since > e->early_since)
        request->since = e->early_since;
    e->counters.requests_open++;
    list_append(&e->waiting, &request->link);
    list_append(&e->by_age, &request->by_age);
    if (e->by_age.next == &request->by_age)
        set_alarm(e);
    engine_leave(e);
}

void engine_release(struct engine *e, struct request *request)
{
    engine_enter(e);
    if (request->read)
        reads_free(e, request->read);
    request->read = NULL;
    engine_leave(e);
}

uint64_t engine_oldest(const struct engine *e)
{
    return list_is_empty(&e->by_age) ? UINT64_MAX
                                     : list_entry(e->by_age.next, struct request, by_age)->since;
}

void engine_tick(struct engine *e)
{
    uint64_t limit = e->config.request_limit;
    uint64_t now = engine_now(e);

    engine_enter(e);
    while (limit > 0 && !list_is_empty(&e->by_age)) {
        struct request *r = list_entry(e->by_age.next, struct request, by_age);

        if (r->since + limit > now)
            break;
        give_up(e, r, -EIO);
    }
    set_alarm(e);
    engine_leave(e);
}

bool engine_peek(const struct engine *e, uint64_t offset, uint32_t length, const uint8_t **data)
{
    const struct cache_block *b = cache_look(e->cache, offset / CACHE_BLOCK);
    uint32_t from = (uint32_t)(offset % CACHE_BLOCK);

    if (!b || length == 0 || length > CACHE_BLOCK - from)
        return false;
    if (cache_pages(from, from + length) & ~b->present)
        return false;
    *data = b->memory ? b->memory + from : NULL;
    return true;
}

/* The offset of the page of a block that comes after `skip` other present ones; false: none. */
static bool present_page(const struct engine *e, const struct cache_block *b, unsigned skip,
                         uint64_t *offset)
{
    for (unsigned i = 0; i < CACHE_BLOCK_PAGES; i++) {
        *offset = b->index * CACHE_BLOCK + (uint64_t)i * CACHE_PAGE;
        if (b->present & 1u << i && *offset + CACHE_PAGE <= e->info.size && skip-- == 0)
            return true;
    }
    return false;
}

unsigned engine_sample(const struct engine *e, uint64_t *offsets, unsigned room)
{
    unsigned blocks = 0;
    unsigned got = 0;
    unsigned every;

    for (unsigned i = 0; i < cache_frames(e->cache); i++)
        blocks += cache_nth(e->cache, i) != NULL;
    every = room > 0 && blocks > room ? blocks / room : 1;
    for (unsigned skip = 0; skip < CACHE_BLOCK_PAGES && got < room; skip++) {
        unsigned nth = 0;

        for (unsigned i = 0; i < cache_frames(e->cache) && got < room; i++) {
            const struct cache_block *b = cache_nth(e->cache, i);

            if (b && nth++ % every == 0 && present_page(e, b, skip, &offsets[got]))
                got++;
        }
    }
    return got;
}

void engine_get_counters(const struct engine *e, struct engine_counters *out)
{
    *out = e->counters;
    out->bytes_wasted = cache_wasted_pages(e->cache) * CACHE_PAGE;
    out->memory = cache_memory(e->cache);
    out->bytes_in_flight = e->asks.bytes;
    out->round_trip = line_round_trip(&e->asks.line);
    out->line_rate = line_rate(&e->asks.line);
    out->window = line_window(&e->asks.line);
}
