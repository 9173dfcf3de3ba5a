/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of engine-world.h. What the engine may never do is asserted here, for every test: pass
 * the source's words, ask for a page twice at once, let anything meet a write at the far end,
 * answer twice, or answer with the wrong bytes.
 */
#include "engine-world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static struct world *current;

/* ---- the host ---- */

static uint64_t host_now(void *arg)
{
    return ((struct world *)arg)->now;
}

static void host_set_alarm(void *arg, uint64_t at)
{
    ((struct world *)arg)->alarm = at;
}

/* ---- the far end ---- */

static bool changes(enum source_op op)
{
    return op == SOURCE_WRITE || op == SOURCE_TRIM || op == SOURCE_WRITE_ZEROES;
}

static void check_words(const struct world *w, const struct source_request *ask)
{
    const struct source_info *info = &w->info;
    uint64_t end = ask->offset + ask->length;

    assert_true(w->held_count < info->in_flight_max);
    assert_true(info->can_extents || ask->op != SOURCE_EXTENTS);
    assert_true(info->can_flush || ask->op != SOURCE_FLUSH);
    assert_true(info->can_trim || ask->op != SOURCE_TRIM);
    assert_true(info->can_write_zeroes || ask->op != SOURCE_WRITE_ZEROES);
    assert_true(info->can_fua || !ask->fua);
    assert_true(!info->read_only || !changes(ask->op));
    if (ask->op == SOURCE_FLUSH) {
        assert_true(ask->offset == 0 && ask->length == 0);
        return;
    }
    assert_true(ask->length >= 1 && end <= info->size);
    assert_int_equal(ask->offset % info->block_min, 0);
    assert_true(ask->length % info->block_min == 0 || end == info->size);
    if (ask->op == SOURCE_READ || ask->op == SOURCE_WRITE)
        assert_true(ask->length <= info->length_max);
}

static void check_company(const struct world *w, const struct source_request *ask)
{
    list_for_each (it, &w->held) {
        const struct source_request *other = list_entry(it, struct source_request, link);
        bool meet = other->offset < ask->offset + ask->length &&
                    ask->offset < other->offset + other->length && ask->op != SOURCE_EXTENTS &&
                    other->op != SOURCE_EXTENTS;

        /* Two reads of a page; a write and anything. */
        if (meet)
            fail_msg("%d of %llu + %u meets %d of %llu + %u", ask->op,
                     (unsigned long long)ask->offset, ask->length, other->op,
                     (unsigned long long)other->offset, other->length);
    }
}

static void submit(struct source *source, struct source_request *ask)
{
    struct world *w = OF(source, struct world, source);
    uint32_t length = 0;

    check_words(w, ask);
    check_company(w, ask);
    for (unsigned i = 0; ask->op == SOURCE_READ && i < ask->part_count; i++)
        length += ask->parts[i].length;
    if (ask->op == SOURCE_READ) {
        assert_int_equal(length, ask->length);
        w->fetched += length;
    }
    w->asks++;
    w->flushes += ask->op == SOURCE_FLUSH;
    w->writes += ask->op == SOURCE_WRITE;
    w->trims += ask->op == SOURCE_TRIM;
    w->zeroings += ask->op == SOURCE_WRITE_ZEROES;
    list_append(&w->held, &ask->link);
    if (++w->held_count > w->held_peak)
        w->held_peak = w->held_count;
    if (w->refuse || w->at_once)
        world_answer(w, ask, w->refuse);
}

static const struct source_ops ops = {.submit = submit};

static void read_bytes(const struct world *w, struct source_request *ask)
{
    uint64_t at = ask->offset;
    bool zero = w->holes;

    for (unsigned i = 0; i < ask->part_count; i++) {
        struct part part = ask->parts[i];

        for (uint32_t k = 0; k < part.length; k++, at++)
            part.data[k] = zero ? 0 : w->disk ? w->disk[at] : world_pattern(at);
    }
    ask->zero_bytes = zero ? ask->length : 0;
    ask->copied_bytes = zero ? 0 : ask->length;
}

/* In runs of 512 bytes that are zero or not, as many as there is room for. */
static void tell_extents(const struct world *w, struct source_request *ask)
{
    static const uint8_t zeroes[512];
    const uint8_t *disk = w->late ? w->stable : w->disk;
    uint64_t end = ask->offset + ask->length;
    unsigned count = 0;

    for (uint64_t at = ask->offset; at < end && count < ask->extent_room; at += 512) {
        uint32_t length = end - at < 512 ? (uint32_t)(end - at) : 512;
        bool zero = disk && memcmp(disk + at, zeroes, length) == 0;

        if (count > 0 && ask->extents[count - 1].zero == zero)
            ask->extents[count - 1].length += length;
        else
            ask->extents[count++] = (struct source_extent){.length = length, .zero = zero};
    }
    ask->extent_count = count;
}

static void do_it(const struct world *w, struct source_request *ask)
{
    uint8_t *disk = w->disk;

    if (ask->op == SOURCE_READ)
        read_bytes(w, ask);
    else if (ask->op == SOURCE_EXTENTS)
        tell_extents(w, ask);
    else if (ask->op == SOURCE_WRITE)
        memcpy(disk + ask->offset, ask->data, ask->length);
    else if (ask->op == SOURCE_FLUSH && disk)
        memcpy(w->stable, disk, (size_t)w->info.size);
    else if (ask->op != SOURCE_FLUSH)
        memset(disk + ask->offset, 0, ask->length);
    if (ask->fua)
        memcpy(w->stable + ask->offset, disk + ask->offset, ask->length);
}

struct source_request *world_held(struct world *w, unsigned i)
{
    struct list *it = w->held.next;

    while (i-- > 0)
        it = it->next;
    assert_true(it != &w->held);
    return list_entry(it, struct source_request, link);
}

void world_answer(struct world *w, struct source_request *ask, int error)
{
    list_remove(&ask->link);
    w->held_count--;
    if (!error)
        do_it(w, ask);
    ask->complete(ask, error);
}

void world_answer_all(struct world *w, int error)
{
    while (!list_is_empty(&w->held))
        world_answer(w, world_held(w, 0), error);
}

void world_connect(struct world *w)
{
    engine_set_source(w->engine, &w->source, &w->info);
    if (world_counters(w).requests_open > 0)
        return;
    world_answer_all(w, 0);
    w->asks = 0;
    w->fetched = 0;
}

void world_lose(struct world *w, uint32_t done)
{
    engine_suspend(w->engine);
    for (unsigned i = 0; !list_is_empty(&w->held); i++) {
        struct source_request *ask = world_held(w, 0);

        if (done & 1u << i % 32)
            do_it(w, ask);
        world_answer(w, ask, SOURCE_LOST);
    }
}

void world_crash(struct world *w, uint32_t done)
{
    world_lose(w, done);
    memcpy(w->disk, w->stable, (size_t)w->info.size);
}

/* ---- the machine ---- */

static void check_bytes(const struct world *w, const struct machine_ask *ask)
{
    const struct request *r = &ask->request;
    uint32_t length = 0;

    assert_true(r->segment_count <= REQUEST_SEGMENTS_MAX);
    for (unsigned s = 0; s < r->segment_count; s++) {
        const struct request_segment *segment = &r->segments[s];

        for (uint32_t i = 0; i < segment->length; i++, length++) {
            uint8_t got = segment->data ? segment->data[i] : 0;
            uint8_t right = ask->data  ? ask->data[length]
                            : w->holes ? 0
                                       : world_pattern(r->offset + length);

            if (got != right && !(ask->unknown && ask->unknown[length]))
                fail_msg("byte %u of a read at %llu is %02x, not %02x", length,
                         (unsigned long long)r->offset, got, right);
        }
    }
    assert_int_equal(length, r->length);
}

/* A write that failed may have been done or not: its bytes may be anything. */
static void forget(struct world *w, const struct request *failed)
{
    uint64_t end = failed->offset + failed->length;

    memset(w->unknown + failed->offset, true, failed->length);
    for (unsigned i = 0; i < ASK_MAX; i++) {
        struct machine_ask *ask = &w->asked[i];

        for (uint32_t k = 0; ask->unknown && k < ask->request.length; k++) {
            uint64_t at = ask->request.offset + k;

            if (at >= failed->offset && at < end)
                ask->unknown[k] = true;
        }
    }
}

static void complete(struct request *request, int error)
{
    struct machine_ask *ask = OF(request, struct machine_ask, request);
    struct world *w = current;

    assert_int_equal(ask->answered, 0);
    ask->answered++;
    ask->beside = w->held_count;
    ask->error = error;
    ask->order = w->answers++;
    if (!error && request->op == REQUEST_READ)
        check_bytes(w, ask);
    if (error && w->model && request->op != REQUEST_READ && request->op != REQUEST_FLUSH)
        forget(w, request);
    ask->held = true;
    if (!w->keeps)
        world_release(w, (unsigned)(ask - w->asked));
}

void world_release(struct world *w, unsigned index)
{
    struct machine_ask *ask = &w->asked[index];

    assert_true(ask->held);
    ask->held = false;
    if (!ask->error && ask->request.op == REQUEST_READ)
        check_bytes(w, ask); /* still */
    free(ask->data);
    free(ask->unknown);
    ask->data = NULL;
    ask->unknown = NULL;
    engine_release(w->engine, &ask->request);
}

static void model_ask(struct world *w, struct machine_ask *ask, unsigned index)
{
    const struct request *r = &ask->request;

    if (r->op == REQUEST_FLUSH || !w->model)
        return;
    if (r->op == REQUEST_READ) {
        ask->data = malloc(r->length);
        ask->unknown = malloc(r->length * sizeof *ask->unknown);
        memcpy(ask->data, w->model + r->offset, r->length);
        memcpy(ask->unknown, w->unknown + r->offset, r->length * sizeof *ask->unknown);
        return;
    }
    if (r->op == REQUEST_WRITE) {
        ask->data = malloc(r->length);
        for (uint32_t i = 0; i < r->length; i++)
            ask->data[i] = (uint8_t)(index * 37 + w->answers * 101 + i * 7 + i / 251);
        memcpy(w->model + r->offset, ask->data, r->length);
    } else {
        memset(w->model + r->offset, 0, r->length);
    }
    memset(w->unknown + r->offset, r->op == REQUEST_TRIM, r->length);
}

static void ask_machine(struct world *w, unsigned index, const struct request *r)
{
    struct machine_ask *ask = &w->asked[index];

    assert_true(index < ASK_MAX && !ask->held && !ask->data);
    *ask = (struct machine_ask){.request = *r};
    ask->request.complete = complete;
    model_ask(w, ask, index);
    ask->request.data = ask->data;
    engine_submit(w->engine, &ask->request);
}

void world_ask(struct world *w, unsigned index, enum request_op op, uint64_t offset,
               uint32_t length)
{
    ask_machine(w, index, &(struct request){.op = op, .offset = offset, .length = length});
}

void world_ask_fua(struct world *w, unsigned index, enum request_op op, uint64_t offset,
                   uint32_t length)
{
    ask_machine(w, index,
                &(struct request){.op = op, .offset = offset, .length = length, .fua = true});
}

struct engine_counters world_counters(const struct world *w)
{
    struct engine_counters n;

    engine_get_counters(w->engine, &n);
    return n;
}

/* ---- making and ending ---- */

struct world *world_new(uint64_t size, size_t cache_max)
{
    struct world *w = calloc(1, sizeof *w);
    struct engine_config config = {
        .cache_max = cache_max,
        .request_limit = LIMIT,
        .host = {.now = host_now, .set_alarm = host_set_alarm, .arg = w},
    };

    assert_non_null(w);
    w->now = 1000;
    w->alarm = UINT64_MAX;
    w->source.ops = &ops;
    w->info = (struct source_info){.size = size,
                                   .block_min = 1,
                                   .length_max = MIB,
                                   .in_flight_max = 64,
                                   .read_only = true,
                                   .can_flush = true};
    list_init(&w->held);
    assert_int_equal(engine_new(&config, &w->engine), 0);
    current = w;
    return w;
}

void world_make_disk(struct world *w)
{
    size_t size = (size_t)w->info.size;

    w->disk = malloc(size);
    w->stable = malloc(size);
    w->model = malloc(size);
    w->unknown = calloc(size, sizeof *w->unknown);
    for (size_t i = 0; i < size; i++)
        w->disk[i] = world_pattern(i);
    memcpy(w->stable, w->disk, size);
    memcpy(w->model, w->disk, size);
    w->info.read_only = false;
    w->info.can_fua = true;
    w->info.can_trim = true;
    w->info.can_write_zeroes = true;
}

void world_free(struct world *w)
{
    struct engine_counters n;

    world_answer_all(w, 0); /* read-ahead that nobody waits for */
    n = world_counters(w);
    assert_int_equal(n.requests_open, 0);
    assert_int_equal(n.asks_in_flight, 0);
    assert_int_equal(n.bytes_in_flight, 0);
    assert_true(w->alarm == UINT64_MAX);
    engine_free(w->engine);
    free(w->disk);
    free(w->stable);
    free(w->model);
    free(w->unknown);
    free(w);
}
