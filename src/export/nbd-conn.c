// SPDX-License-Identifier: Apache-2.0
/*
 * One NBD connection of the local side: carries bytes from its stream into the server machine
 * (proto/nbd-server) and makes commands of what it asks for (nbd-command.c).
 *
 * When COMMANDS_MAX commands are open, or HELD_MAX bytes are asked for or brought, or a long write
 * waits for its last piece, no further request is taken in, and no byte read.
 *
 * Who owns what: the connection owns its stream, and lives until its last command is gone; once
 * `over`, it only waits for that.
 *
 * What always holds: callbacks nest (an answer may come from inside its question), so every way in
 * takes hold of the connection, and only the last to let go frees it.
 */
#include <stdlib.h>

#include "base/loop.h"
#include "export/nbd-conn-parts.h"

#define COMMANDS_MAX 64
/* Of what the engine may hold for all: a client that stops reading must leave enough to others. */
#define HELD_MAX (4u << 20)

/* Milliseconds that a client has for the handshake, and from one byte it takes to the next. What it
 * does not take lies in the engine's cache, and pins it there. */
#define HANDSHAKE_MS 15000
#define STUCK_MS     30000

void nbd_conn_hold(struct nbd_conn *c)
{
    c->users++;
}

void nbd_conn_let_go(struct nbd_conn *c)
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
    loop_timer_free(c->patience);
    c->patience = NULL;
    if (!stream)
        return;
    stream_close(stream, STREAM_CLOSE_NORMAL, "");
    stream_free(stream);
    nbd_command_abandon(c);
}

void nbd_conn_finish(struct nbd_conn *c, bool by_client)
{
    if (c->over)
        return;
    end_stream(c);
    c->events->closed(c->owner, c, by_client);
}

void nbd_conn_moved(struct nbd_conn *c)
{
    if (!c->patience || !c->agreed)
        return;
    if (c->outs > 0)
        loop_timer_set(c->patience, STUCK_MS);
    else
        loop_timer_stop(c->patience);
}

static void lose_patience(void *arg)
{
    struct nbd_conn *c = arg;

    nbd_conn_hold(c);
    nbd_conn_finish(c, false);
    nbd_conn_let_go(c);
}

static void act(struct nbd_conn *c, const struct nbd_server_event *event)
{
    bool done = true;

    switch (event->kind) {
    case NBD_SERVER_NOTHING:
        break;
    case NBD_SERVER_SAY:
    case NBD_SERVER_SAY_LAST:
        done = nbd_command_say(c, event->say, event->say_length) && event->kind == NBD_SERVER_SAY;
        break;
    case NBD_SERVER_REQUEST:
    case NBD_SERVER_WRITE:
        done = nbd_command_begin(c, &event->request);
        break;
    case NBD_SERVER_WRITTEN:
        nbd_command_written(c);
        break;
    case NBD_SERVER_DISCONNECT:
        nbd_conn_finish(c, true);
        break;
    }
    if (!done)
        nbd_conn_finish(c, false);
}

static bool has_room(const struct nbd_conn *c)
{
    /* What a write has begun, it may finish. */
    if (c->writing)
        return !nbd_command_blocks(c);
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
            nbd_conn_finish(c, false);
            break;
        }
        at += (size_t)used;
        act(c, &event);
    }
    c->feeding = false;
    if (!c->agreed && c->server.phase == NBD_SERVER_TRANSMIT) {
        c->agreed = true;
        nbd_conn_moved(c);
    }
    return at;
}

static void stream_data(void *owner, const uint8_t *bytes, size_t length)
{
    struct nbd_conn *c = owner;
    size_t used;

    nbd_conn_hold(c);
    used = feed(c, bytes, length);
    if (!c->over && used < length) {
        c->rest = malloc(length - used);
        if (c->rest)
            memcpy(c->rest, bytes + used, length - used);
        c->rest_at = 0;
        c->rest_length = length - used;
    }
    if (!c->over && used < length && !c->rest)
        nbd_conn_finish(c, false);
    if (!c->over && !has_room(c))
        stream_want_data(c->stream, false);
    nbd_conn_let_go(c);
}

void nbd_conn_resume(struct nbd_conn *c)
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
    nbd_conn_hold(c);
    nbd_conn_finish(c, false);
    nbd_conn_let_go(c);
}

static const struct stream_events stream_events = {
    .data = stream_data,
    .closed = stream_closed,
};

int nbd_conn_new(struct stream *stream, const struct nbd_conn_config *config,
                 const struct nbd_conn_events *events, void *owner, struct nbd_conn **out)
{
    struct nbd_conn *c = calloc(1, sizeof *c);
    uint8_t greeting[NBD_HELLO_SIZE];
    int r = c ? 0 : -ENOMEM;
    size_t length;

    if (r == 0 && config->loop)
        r = loop_timer_new(config->loop, lose_patience, c, &c->patience);
    if (r < 0) {
        free(c);
        stream_free(stream);
        return r;
    }
    c->stream = stream;
    c->engine = config->engine;
    c->events = events;
    c->owner = owner;
    nbd_server_init(&c->server, &(struct nbd_server_config){
                                    .size = config->medium->size,
                                    .whole_max = REQUEST_LENGTH_MAX,
                                    .writable = !config->medium->read_only,
                                    .transmit = config->start == NBD_CONN_TRANSMIT,
                                });
    stream_own(stream, &stream_events, c);
    if (c->patience)
        loop_timer_set(c->patience, HANDSHAKE_MS);
    length = nbd_server_greet(&c->server, greeting);
    nbd_conn_hold(c);
    if (length > 0 && !nbd_command_say(c, greeting, length)) {
        end_stream(c);
        nbd_conn_let_go(c);
        return -ENOMEM;
    }
    c->users--;
    *out = c;
    return 0;
}

void nbd_conn_close(struct nbd_conn *c)
{
    nbd_conn_hold(c);
    end_stream(c);
    nbd_conn_let_go(c);
}
