// SPDX-License-Identifier: Apache-2.0
/*
 * One NBD connection of the local side: carries bytes from its stream into the server machine
 * (proto/nbd-server), the machine's requests to the engine, and the engine's segments back to the
 * stream, in place.
 *
 * A read longer than REQUEST_LENGTH_MAX is one *command* that asks the engine for piece after
 * piece: the next when the last has left the stream. So a command never holds more than one piece,
 * and simple replies keep their order. When COMMANDS_MAX commands are open, or HELD_MAX bytes are
 * asked for, no further request is taken in, and no byte read.
 *
 * Who owns what: a command owns its engine request and the outs of its reply, and lives until both
 * are done with. The connection owns its stream, and lives until its last command is gone; once
 * `over`, it only waits for that.
 *
 * What always holds: `commands` counts the commands alive, `held` the bytes their pieces ask for.
 * Callbacks nest (an answer may come from inside its question), so every way in takes hold of the
 * connection, and only the last to let go frees it.
 */
#include "export/nbd-conn.h"

#include <stdlib.h>

#include "proto/nbd-server.h"

#define COMMANDS_MAX 64
/* Of what the engine may hold for all: a client that stops reading must leave enough to others. */
#define HELD_MAX (4u << 20)

struct nbd_conn {
    struct stream *stream; /* NULL once over */
    struct nbd_server server;
    struct engine *engine;
    const struct nbd_conn_events *events;
    void *owner;
    unsigned commands;
    size_t held;
    unsigned users; /* ways in that are under way */
    bool over;      /* whichever side ended it; nothing is told or sent any more */
    bool feeding;   /* bytes are passing through the machine */
    uint8_t *rest;  /* what came and could not be taken in yet; NULL: none */
    size_t rest_at;
    size_t rest_length;
};

struct command_out {
    struct stream_out out;
    struct command *command;
};

struct command {
    struct nbd_conn *conn;
    struct nbd_request asked;
    struct request request; /* the present piece */
    uint32_t given;         /* bytes of `asked` that earlier pieces have answered */
    bool pinned;            /* the engine is to be given the piece back */
    unsigned pending;       /* the piece at the engine, and outs in the stream */
    struct command_out outs[REQUEST_SEGMENTS_MAX];
    uint8_t words[NBD_SERVER_SAY_MAX]; /* of a command that only says something */
};

/* For simple replies, which know no holes. Never written to, so it takes no memory. */
static uint8_t zeroes[REQUEST_LENGTH_MAX];

static void resume(struct nbd_conn *c);
static void advance(struct command *command);

static void hold(struct nbd_conn *c)
{
    c->users++;
}

static void let_go(struct nbd_conn *c)
{
    if (--c->users > 0 || !c->over || c->commands > 0)
        return;
    free(c->rest);
    free(c);
}

static void end_stream(struct nbd_conn *c)
{
    struct stream *stream = c->stream;

    c->over = true;
    c->stream = NULL;
    if (!stream)
        return;
    stream_close(stream, STREAM_CLOSE_NORMAL, "");
    stream_free(stream);
}

/* Over, by the client or by the line: tells the owner, once. */
static void finish(struct nbd_conn *c, bool by_client)
{
    if (c->over)
        return;
    end_stream(c);
    c->events->closed(c->owner, c, by_client);
}

static struct command *new_command(struct nbd_conn *c)
{
    struct command *command = calloc(1, sizeof *command);

    if (!command)
        return NULL;
    command->conn = c;
    c->commands++;
    return command;
}

static void end_pending(struct command *command)
{
    if (--command->pending == 0)
        advance(command);
}

static void out_done(struct stream_out *out, int error)
{
    struct command *command = list_entry(out, struct command_out, out)->command;
    struct nbd_conn *c = command->conn;

    hold(c);
    /* The line has failed and will say so; until then, ask for no more. */
    if (error)
        command->given = command->asked.length;
    end_pending(command);
    let_go(c);
}

/* Sends an out whose head is filled in. The caller keeps the command pending meanwhile. */
static void send_out(struct command *command, unsigned index, const uint8_t *data, size_t length)
{
    struct command_out *o = &command->outs[index];

    if (command->conn->over)
        return;
    list_init(&o->out.link);
    o->command = command;
    o->out.data = data;
    o->out.data_length = length;
    o->out.done = out_done;
    command->pending++;
    stream_send(command->conn->stream, &o->out);
}

/* Structured replies: each segment is a chunk, and the very last one says so. */
static void send_chunks(struct command *command)
{
    const struct request *r = &command->request;
    uint64_t cookie = command->asked.cookie;
    uint64_t offset = r->offset;
    bool last_piece = command->given + r->length == command->asked.length;

    for (unsigned i = 0; i < r->segment_count; i++) {
        const uint8_t *data = r->segments[i].data;
        uint32_t length = r->segments[i].length;
        bool last = last_piece && i + 1 == r->segment_count;
        struct stream_out *out = &command->outs[i].out;

        out->head_length = data ? nbd_server_put_data(cookie, offset, length, last, out->head)
                                : nbd_server_put_hole(cookie, offset, length, last, out->head);
        send_out(command, i, data, data ? length : 0);
        offset += length;
    }
}

/* One head, then all bytes in order, zeroes as they are: simple replies, and chunks that must not
 * be split ("don't fragment"), which the machine lets pass only up to one piece. */
static void send_whole(struct command *command)
{
    const struct request *r = &command->request;
    const struct nbd_server *server = &command->conn->server;
    struct stream_out *first = &command->outs[0].out;

    for (unsigned i = 0; i < r->segment_count; i++)
        command->outs[i].out.head_length = 0;
    if (server->structured)
        first->head_length =
            nbd_server_put_data(command->asked.cookie, r->offset, r->length, true, first->head);
    else if (command->given == 0)
        first->head_length = nbd_server_put_done(server, command->asked.cookie, first->head);
    for (unsigned i = 0; i < r->segment_count; i++)
        send_out(command, i, r->segments[i].data ? r->segments[i].data : zeroes,
                 r->segments[i].length);
}

static void send_piece(struct command *command)
{
    const struct request *r = &command->request;
    bool one_hole = r->segment_count == 1 && !r->segments[0].data;
    bool unsplit = command->asked.flags & NBD_CMD_FLAG_DF && !one_hole;

    if (command->conn->server.structured && !unsplit)
        send_chunks(command);
    else
        send_whole(command);
}

/* Ends the command without data: with an error, or as done. */
static void send_final(struct command *command, int error)
{
    struct nbd_conn *c = command->conn;
    struct stream_out *out = &command->outs[0].out;
    uint64_t cookie = command->asked.cookie;

    if (error && !c->server.structured && command->given > 0) {
        /* "Simple replies" under NBD_CMD_READ: the head said "no error", so only this is left. */
        finish(c, false);
        return;
    }
    command->given = command->asked.length;
    out->head_length = error ? nbd_server_put_error(&c->server, cookie, error, out->head)
                             : nbd_server_put_done(&c->server, cookie, out->head);
    send_out(command, 0, NULL, 0);
}

static void piece_done(struct request *request, int error)
{
    struct command *command = list_entry(request, struct command, request);
    struct nbd_conn *c = command->conn;

    hold(c);
    if (c->over)
        ;
    else if (error || request->op == REQUEST_FLUSH)
        send_final(command, error);
    else
        send_piece(command);
    end_pending(command);
    let_go(c);
}

static void ask_piece(struct command *command)
{
    struct nbd_conn *c = command->conn;
    uint32_t left = command->asked.length - command->given;
    bool flush = command->asked.type == NBD_CMD_FLUSH;

    command->request = (struct request){
        .op = flush ? REQUEST_FLUSH : REQUEST_READ,
        .offset = flush ? 0 : command->asked.offset + command->given,
        .length = left < REQUEST_LENGTH_MAX ? left : REQUEST_LENGTH_MAX,
        .complete = piece_done,
    };
    c->held += command->request.length;
    command->pinned = true;
    command->pending++;
    engine_submit(c->engine, &command->request);
}

/* Nothing of the command is under way: the next piece, or its end. */
static void advance(struct command *command)
{
    struct nbd_conn *c = command->conn;

    if (command->pinned) {
        command->pinned = false;
        c->held -= command->request.length;
        if (command->given < command->asked.length)
            command->given += command->request.length;
        engine_release(c->engine, &command->request);
    }
    if (!c->over && command->given < command->asked.length) {
        ask_piece(command);
        return;
    }
    c->commands--;
    free(command);
    resume(c);
}

/* False when there is no memory for it. */
static bool say(struct nbd_conn *c, const uint8_t *words, size_t length)
{
    struct command *command = new_command(c);

    if (!command)
        return false;
    memcpy(command->words, words, length);
    command->pending = 1;
    send_out(command, 0, command->words, length);
    end_pending(command);
    return true;
}

static bool begin_command(struct nbd_conn *c, const struct nbd_request *asked)
{
    struct command *command = new_command(c);

    if (!command)
        return false;
    command->asked = *asked;
    ask_piece(command);
    return true;
}

static void act(struct nbd_conn *c, const struct nbd_server_event *event)
{
    bool done = true;

    switch (event->kind) {
    case NBD_SERVER_NOTHING:
        break;
    case NBD_SERVER_SAY:
    case NBD_SERVER_SAY_LAST:
        done = say(c, event->say, event->say_length) && event->kind == NBD_SERVER_SAY;
        break;
    case NBD_SERVER_READ:
    case NBD_SERVER_FLUSH:
        done = begin_command(c, &event->request);
        break;
    case NBD_SERVER_DISCONNECT:
        finish(c, true);
        break;
    }
    if (!done)
        finish(c, false);
}

static bool has_room(const struct nbd_conn *c)
{
    return c->commands < COMMANDS_MAX && c->held < HELD_MAX;
}

/* Returns how many bytes were taken in: all, unless the connection is over or has no room. */
static size_t feed(struct nbd_conn *c, const uint8_t *bytes, size_t length)
{
    size_t at = 0;

    c->feeding = true;
    while (at < length && !c->over && has_room(c)) {
        struct nbd_server_event event;
        ssize_t used = nbd_server_feed(&c->server, bytes + at, length - at, &event);

        if (used < 0) {
            finish(c, false);
            break;
        }
        at += (size_t)used;
        act(c, &event);
    }
    c->feeding = false;
    return at;
}

static void stream_data(void *owner, const uint8_t *bytes, size_t length)
{
    struct nbd_conn *c = owner;
    size_t used;

    hold(c);
    used = feed(c, bytes, length);
    if (!c->over && used < length) {
        c->rest = malloc(length - used);
        if (c->rest)
            memcpy(c->rest, bytes + used, length - used);
        c->rest_at = 0;
        c->rest_length = length - used;
    }
    if (!c->over && used < length && !c->rest)
        finish(c, false);
    if (!c->over && !has_room(c))
        stream_want_data(c->stream, false);
    let_go(c);
}

/* A command has ended: takes in what had to wait for it. */
static void resume(struct nbd_conn *c)
{
    if (c->over || c->feeding || !has_room(c))
        return;
    if (c->rest) {
        c->rest_at += feed(c, c->rest + c->rest_at, c->rest_length - c->rest_at);
        if (c->rest_at < c->rest_length)
            return;
        free(c->rest);
        c->rest = NULL;
    }
    if (!c->over && has_room(c))
        stream_want_data(c->stream, true);
}

static void stream_closed(void *owner, bool orderly, const char *reason)
{
    struct nbd_conn *c = owner;

    (void)orderly;
    (void)reason;
    hold(c);
    finish(c, false);
    let_go(c);
}

static const struct stream_events stream_events = {
    .data = stream_data,
    .closed = stream_closed,
};

int nbd_conn_new(struct stream *stream, enum nbd_conn_start start, const struct medium *medium,
                 struct engine *engine, const struct nbd_conn_events *events, void *owner,
                 struct nbd_conn **out)
{
    struct nbd_conn *c = calloc(1, sizeof *c);
    uint8_t greeting[NBD_HELLO_SIZE];
    size_t length;

    if (!c) {
        stream_free(stream);
        return -ENOMEM;
    }
    c->stream = stream;
    c->engine = engine;
    c->events = events;
    c->owner = owner;
    nbd_server_init(&c->server, medium->size, REQUEST_LENGTH_MAX, start == NBD_CONN_TRANSMIT);
    stream_own(stream, &stream_events, c);
    length = nbd_server_greet(&c->server, greeting);
    hold(c);
    if (length > 0 && !say(c, greeting, length)) {
        end_stream(c);
        let_go(c);
        return -ENOMEM;
    }
    c->users--;
    *out = c;
    return 0;
}

void nbd_conn_close(struct nbd_conn *c)
{
    hold(c);
    end_stream(c);
    let_go(c);
}
