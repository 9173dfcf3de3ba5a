/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The write log: pieces from their making until they are safe.
 *
 * A piece goes queue -> flight -> done -> forgotten. A loss brings those in flight back into the
 * queue, in their old places; with the next source those in `done` become replays. Since a write
 * waits for every earlier one it touches, the pieces in queue and flight never touch each other,
 * and only replays need care: they go in order, and none before an earlier one it touches is
 * answered.
 *
 * A far end that was told to write past its cache (FUA) keeps that piece safe; but if earlier ones
 * that it touches are not, they would be replayed over it. It then stays with them, and its write
 * is answered after a flush of all: a replay cut short must not take back what was promised.
 *
 * Data are copied into frames taken from the cache, one behind the other, and a frame goes back
 * with the last piece in it. So the log is within the drive's one bound on memory, and the
 * machine's own memory is free when its request is answered, whatever still is on its way.
 */
#include "block/write-log.h"

#include <errno.h>
#include <stdlib.h>

#include "block/writes.h"

#define PIECES_MAX 1024

int write_log_init(struct engine *e)
{
    struct write_log *log = &e->log;

    list_init(&log->replays);
    list_init(&log->queue);
    list_init(&log->flight);
    list_init(&log->done);
    list_init(&log->flushes);
    list_init(&log->flushes_out);
    log->frame = -1;
    log->frame_count = (int)(cache_frames(e->cache) / 4);
    log->frames = calloc((size_t)log->frame_count, sizeof log->frames[0]);
    return log->frames ? 0 : -ENOMEM;
}

static void free_piece(struct engine *e, struct piece *piece)
{
    struct write_log *log = &e->log;
    struct log_frame *frame = piece->frame < 0 ? NULL : &log->frames[piece->frame];

    list_remove(&piece->link);
    if (frame && --frame->live == 0) {
        cache_give_back_frame(e->cache, frame->memory);
        *frame = (struct log_frame){.memory = NULL};
        if (log->frame == piece->frame)
            log->frame = -1;
    }
    log->pieces--;
    free(piece);
}

static void free_pieces(struct engine *e, struct list *pieces)
{
    while (!list_is_empty(pieces))
        free_piece(e, list_entry(pieces->next, struct piece, link));
}

void write_log_done(struct engine *e)
{
    struct list *link;

    free_pieces(e, &e->log.replays);
    free_pieces(e, &e->log.queue);
    free_pieces(e, &e->log.done);
    while ((link = list_take_first(&e->log.flushes)))
        free(list_entry(link, struct flush, link));
    free(e->log.frames);
}

int write_log_take_broken(struct engine *e)
{
    int error = e->log.broken;

    e->log.broken = 0;
    return error;
}

/* ---- room ---- */

static bool open_frame(struct engine *e)
{
    struct write_log *log = &e->log;
    uint8_t *memory;
    int i = 0;

    while (i < log->frame_count && log->frames[i].memory)
        i++;
    if (i == log->frame_count)
        return false;
    memory = cache_take_frame(e->cache);
    if (!memory)
        return false;
    log->frames[i] = (struct log_frame){.memory = memory};
    log->frame = i;
    return true;
}

static bool has_room(struct engine *e, uint32_t length)
{
    struct write_log *log = &e->log;

    if (log->pieces == PIECES_MAX)
        return false;
    if (length == 0)
        return true;
    if (log->frame >= 0 && CACHE_BLOCK - log->frames[log->frame].used >= length)
        return true;
    return open_frame(e);
}

static int add_flush(struct engine *e, struct request *request, struct write *write, bool own);

/* Makes safe what is answered, so that it can be forgotten. What is not answered yet will be. */
static void make_room(struct engine *e)
{
    if (e->log.flushing_itself || list_is_empty(&e->log.done))
        return;
    e->log.flushing_itself = add_flush(e, NULL, NULL, true) == 0;
}

struct piece *write_log_new_piece(struct engine *e, uint32_t data_length)
{
    struct piece *piece;

    if (!has_room(e, data_length)) {
        make_room(e);
        return NULL;
    }
    piece = calloc(1, sizeof *piece);
    if (!piece)
        return NULL;
    list_init(&piece->link);
    list_init(&piece->ask.link);
    piece->engine = e;
    piece->frame = -1;
    piece->order = e->log.order++;
    e->log.pieces++;
    if (data_length > 0) {
        struct log_frame *frame = &e->log.frames[e->log.frame];

        piece->frame = e->log.frame;
        piece->ask.data = frame->memory + frame->used;
        frame->used += data_length;
        frame->live++;
    }
    return piece;
}

uint8_t *write_log_data(const struct piece *piece)
{
    const struct log_frame *frame = &piece->engine->log.frames[piece->frame];

    return frame->memory + (piece->ask.data - frame->memory);
}

/* ---- pieces ---- */

static void insert(struct list *pieces, struct piece *piece)
{
    struct list *after = pieces->prev;

    while (after != pieces && list_entry(after, struct piece, link)->order > piece->order)
        after = after->prev;
    list_append(after->next, &piece->link);
}

void write_log_add(struct engine *e, struct piece *piece)
{
    insert(&e->log.queue, piece);
}

void write_log_drop_of(struct engine *e, struct write *write)
{
    list_for_each_safe (it, &e->log.queue) {
        struct piece *piece = list_entry(it, struct piece, link);

        if (piece->write != write)
            continue;
        write->pieces--;
        free_piece(e, piece);
    }
}

static void end_replay(struct engine *e, struct piece *piece)
{
    e->log.replaying -= piece->replay;
    piece->replay = false;
}

/* Whether an earlier piece in `pieces` touches it: a replay would put that over this one. */
static bool meets(const struct list *pieces, const struct piece *piece)
{
    uint64_t from = piece->ask.offset;

    list_for_each (it, pieces) {
        const struct piece *other = list_entry(it, struct piece, link);

        if (ranges_meet(from, from + piece->ask.length, other->ask.offset,
                        other->ask.offset + other->ask.length))
            return true;
    }
    return false;
}

static void piece_succeeded(struct engine *e, struct piece *piece)
{
    struct write_log *log = &e->log;
    bool unsafe = e->info.can_flush && (!piece->ask.fua || meets(&log->done, piece));

    end_replay(e, piece);
    if (unsafe && piece->ask.fua && piece->write)
        piece->write->needs_flush = true;
    piece->write = NULL;
    piece->acked = ++log->acked;
    if (unsafe)
        list_append(&log->done, &piece->link);
    else
        free_piece(e, piece);
}

static void piece_answered(struct source_request *request, int error)
{
    struct piece *piece = list_entry(request, struct piece, ask);
    struct engine *e = piece->engine;
    struct write *write = piece->write;
    bool dropped = write && !write->request;

    engine_enter(e);
    e->counters.asks_in_flight--;
    list_remove(&piece->link);
    if (error == SOURCE_LOST)
        e->source = NULL; /* never asked from inside the news that it is lost */
    if (error == SOURCE_LOST && !dropped) {
        insert(piece->replay ? &e->log.replays : &e->log.queue, piece);
    } else if (error) {
        /* The machine was told that it is done. The next flush can tell it better. */
        if (piece->replay)
            e->log.broken = error;
        end_replay(e, piece);
        free_piece(e, piece);
    } else {
        piece_succeeded(e, piece);
    }
    if (write && (error != SOURCE_LOST || dropped))
        writes_piece_done(e, write, error);
    engine_leave(e);
}

static void send_piece(struct engine *e, struct piece *piece)
{
    const struct engine_host *host = &e->config.host;

    list_remove(&piece->link);
    list_append(&e->log.flight, &piece->link);
    piece->ask.complete = piece_answered;
    e->counters.asks++;
    e->counters.asks_in_flight++;
    if (host->wrote)
        host->wrote(host->arg, piece->ask.offset, piece->ask.length);
    source_submit(e->source, &piece->ask);
}

/* ---- flushes ---- */

static int add_flush(struct engine *e, struct request *request, struct write *write, bool own)
{
    struct flush *flush = calloc(1, sizeof *flush);

    if (!flush)
        return -ENOMEM;
    flush->engine = e;
    flush->request = request;
    flush->write = write;
    flush->own = own;
    list_init(&flush->ask.link);
    list_append(&e->log.flushes, &flush->link);
    return 0;
}

int write_log_flush(struct engine *e, struct request *request, struct write *write)
{
    return add_flush(e, request, write, false);
}

static bool forget_in(struct list *flushes, const struct request *request,
                      const struct write *write)
{
    list_for_each (it, flushes) {
        struct flush *flush = list_entry(it, struct flush, link);

        if ((request && flush->request == request) || (write && flush->write == write)) {
            flush->request = NULL;
            flush->write = NULL;
            return true;
        }
    }
    return false;
}

void write_log_forget_flush(struct engine *e, const struct request *request,
                            const struct write *write)
{
    /* It does no harm where it is: what it makes safe is forgotten all the sooner. */
    if (!forget_in(&e->log.flushes, request, write))
        forget_in(&e->log.flushes_out, request, write);
}

static void forget_safe(struct engine *e, uint64_t covers)
{
    while (!list_is_empty(&e->log.done)) {
        struct piece *piece = list_entry(e->log.done.next, struct piece, link);

        if (piece->acked > covers)
            break;
        free_piece(e, piece);
    }
}

/* What cannot be flushed even for the log's own sake would fill it for good. */
static void end_own_flush(struct engine *e, const struct flush *flush, int error)
{
    e->log.flushing_itself = false;
    if (error) {
        e->log.broken = error;
        forget_safe(e, flush->covers);
    }
}

static void flush_answered(struct source_request *request, int error)
{
    struct flush *flush = list_entry(request, struct flush, ask);
    struct engine *e = flush->engine;

    engine_enter(e);
    e->counters.asks_in_flight--;
    list_remove(&flush->link);
    if (error == SOURCE_LOST) {
        e->source = NULL;
        list_append(&e->log.flushes, &flush->link);
        engine_leave(e);
        return;
    }
    if (!error)
        forget_safe(e, flush->covers);
    if (flush->request)
        engine_answer(e, flush->request, error ? error : write_log_take_broken(e));
    else if (flush->write)
        /* Its own bytes are safe. What else is lost is for a flush to tell: told here, the machine
         * would take it for this write's fault, and the next flush for a promise. */
        writes_flushed(e, flush->write, error);
    else if (flush->own)
        end_own_flush(e, flush, error);
    free(flush);
    engine_leave(e);
}

static void send_flush(struct engine *e, struct flush *flush)
{
    list_remove(&flush->link);
    list_append(&e->log.flushes_out, &flush->link);
    flush->covers = e->log.acked;
    flush->ask.op = SOURCE_FLUSH;
    flush->ask.complete = flush_answered;
    e->counters.asks++;
    e->counters.asks_in_flight++;
    source_submit(e->source, &flush->ask);
}

/* ---- sending ---- */

/* The next to go, or NULL: replays before all else, and everything else after the last of them. */
static struct piece *next_piece(const struct engine *e)
{
    const struct write_log *log = &e->log;
    struct piece *piece;

    if (log->replaying == 0)
        return list_is_empty(&log->queue) ? NULL : list_entry(log->queue.next, struct piece, link);
    if (list_is_empty(&log->replays))
        return NULL;
    piece = list_entry(log->replays.next, struct piece, link);
    return meets(&log->flight, piece) ? NULL : piece;
}

void write_log_send(struct engine *e)
{
    /* A quarter of the places stays free for reads. */
    unsigned most = e->info.in_flight_max - e->info.in_flight_max / 4;
    struct piece *piece;

    while (e->source && e->log.replaying == 0 && !list_is_empty(&e->log.flushes) &&
           e->counters.asks_in_flight < e->info.in_flight_max)
        send_flush(e, list_entry(e->log.flushes.next, struct flush, link));
    while (e->source && e->counters.asks_in_flight < most && (piece = next_piece(e)))
        send_piece(e, piece);
}

void write_log_resume(struct engine *e)
{
    struct list *link;

    while ((link = list_take_first(&e->log.done))) {
        struct piece *piece = list_entry(link, struct piece, link);

        piece->replay = true;
        e->log.replaying++;
        insert(&e->log.replays, piece);
    }
    /* Until it is flushed, the far end may still call it the hole that was there. */
    list_for_each (it, &e->log.replays) {
        const struct piece *piece = list_entry(it, struct piece, link);

        extents_forget(&e->extents, piece->ask.offset, piece->ask.offset + piece->ask.length);
    }
}
