// SPDX-License-Identifier: Apache-2.0
/*
 * What a client of the local side has asked: requests of the machine (proto/nbd-server) to the
 * engine, and its answers back to the stream, read data in place.
 *
 * A READ or WRITE longer than REQUEST_LENGTH_MAX is one *command* that asks the engine for piece
 * after piece: a read's next when the last has left the stream, a write's when the last has been
 * answered and its bytes have come into the same memory. So a command never holds more than one
 * piece, simple replies keep their order, and no client makes the device hold what it announces.
 *
 * Who owns what: a command owns its engine request, a write's bytes and the outs of its reply, and
 * lives until all are done with.
 *
 * What always holds: `pending` counts what of a command is under way, the piece at the engine and
 * outs in the stream; at 0 it moves on or ends, but for the one that waits for its bytes, which the
 * connection knows as `writing`. `held` of a connection is the sum of that of its commands.
 */
#include <stdlib.h>

#include "export/nbd-conn-parts.h"

/* A segment is a block of the engine's cache: so many a command's own outs can show without asking
 * for memory, which is a read of 128 KiB that begins within a block. */
#define OUTS_OWN 3

struct command_out {
    struct stream_out out;
    struct nbd_command *command;
};

struct nbd_command {
    struct nbd_conn *conn;
    struct nbd_request asked;
    struct request request; /* the present piece */
    uint32_t given;         /* bytes of `asked` that earlier pieces have dealt with */
    uint32_t held;          /* bytes the present piece asks for or brings */
    bool pinned;            /* the engine has the piece, or is to be given it back */
    unsigned pending;
    uint8_t *bytes;           /* a write's; NULL: none */
    struct command_out *outs; /* of the present piece: own_outs, or memory of their own */
    struct command_out own_outs[OUTS_OWN];
    uint8_t words[NBD_SERVER_SAY_MAX]; /* of a command that only says something */
};

/* For simple replies, which know no holes. Never written to, so it takes no memory. */
static uint8_t zeroes[REQUEST_LENGTH_MAX];

static void advance(struct nbd_command *command);

static struct nbd_command *new_command(struct nbd_conn *c)
{
    struct nbd_command *command = calloc(1, sizeof *command);

    if (!command)
        return NULL;
    command->conn = c;
    command->outs = command->own_outs;
    c->commands++;
    return command;
}

static void free_outs(struct nbd_command *command)
{
    if (command->outs != command->own_outs)
        free(command->outs);
    command->outs = command->own_outs;
}

static void free_command(struct nbd_command *command)
{
    command->conn->commands--;
    command->conn->held -= command->held;
    free_outs(command);
    free(command->bytes);
    free(command);
}

static void end_pending(struct nbd_command *command)
{
    if (--command->pending == 0)
        advance(command);
}

static void out_done(struct stream_out *out, int error)
{
    struct nbd_command *command = list_entry(out, struct command_out, out)->command;
    struct nbd_conn *c = command->conn;

    nbd_conn_hold(c);
    c->outs--;
    nbd_conn_moved(c);
    /* The line has failed and will say so; until then, ask for no more. */
    if (error)
        command->given = command->asked.length;
    end_pending(command);
    nbd_conn_let_go(c);
}

/* Sends an out whose head is filled in. The caller keeps the command pending meanwhile. */
static void send_out(struct nbd_command *command, unsigned index, const uint8_t *data,
                     size_t length)
{
    struct command_out *o = &command->outs[index];
    struct nbd_conn *c = command->conn;

    if (c->over)
        return;
    list_init(&o->out.link);
    o->command = command;
    o->out.data = data;
    o->out.data_length = length;
    o->out.done = out_done;
    command->pending++;
    if (c->outs++ == 0)
        nbd_conn_moved(c);
    stream_send(c->stream, &o->out);
}

/* Structured replies: each segment is a chunk, and the very last one says so. */
static void send_chunks(struct nbd_command *command)
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
static void send_whole(struct nbd_command *command)
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

/* Ends the command without data: with an error, or as done. */
static void send_final(struct nbd_command *command, int error)
{
    struct nbd_conn *c = command->conn;
    struct stream_out *out = &command->outs[0].out;
    uint64_t cookie = command->asked.cookie;

    if (error && command->asked.type == NBD_CMD_READ && !c->server.structured &&
        command->given > 0) {
        /* "Simple replies" under NBD_CMD_READ: the head said "no error", so only this is left. */
        nbd_conn_finish(c, false);
        return;
    }
    command->given = command->asked.length;
    out->head_length = error ? nbd_server_put_error(&c->server, cookie, error, out->head)
                             : nbd_server_put_done(&c->server, cookie, out->head);
    send_out(command, 0, NULL, 0);
}

static void send_piece(struct nbd_command *command)
{
    const struct request *r = &command->request;
    bool one_hole = r->segment_count == 1 && !r->segments[0].data;
    bool unsplit = command->asked.flags & NBD_CMD_FLAG_DF && !one_hole;

    if (r->segment_count > OUTS_OWN) {
        struct command_out *outs = calloc(r->segment_count, sizeof *outs);

        if (!outs) {
            send_final(command, -ENOMEM);
            return;
        }
        command->outs = outs;
    }
    if (command->conn->server.structured && !unsplit)
        send_chunks(command);
    else
        send_whole(command);
}

/* A piece of a write has been answered: the last one, or the first one that failed, answers all. */
static void end_write_piece(struct nbd_command *command, int error)
{
    struct nbd_conn *c = command->conn;

    if (error && c->writing == command) {
        c->writing = NULL;
        nbd_server_discard(&c->server);
    }
    if (error || command->given + command->request.length == command->asked.length)
        send_final(command, error);
}

static void piece_done(struct request *request, int error)
{
    struct nbd_command *command = list_entry(request, struct nbd_command, request);
    struct nbd_conn *c = command->conn;

    nbd_conn_hold(c);
    if (c->over)
        ;
    else if (request->op == REQUEST_WRITE)
        end_write_piece(command, error);
    else if (error || request->op != REQUEST_READ)
        send_final(command, error);
    else
        send_piece(command);
    end_pending(command);
    nbd_conn_let_go(c);
}

static bool has_payload(const struct nbd_command *command)
{
    return command->asked.type == NBD_CMD_READ || command->asked.type == NBD_CMD_WRITE;
}

static uint32_t piece_length(const struct nbd_command *command)
{
    uint32_t left = command->asked.length - command->given;

    return has_payload(command) && left > REQUEST_LENGTH_MAX ? REQUEST_LENGTH_MAX : left;
}

static enum request_op request_op(uint16_t type)
{
    switch (type) {
    case NBD_CMD_READ:
        return REQUEST_READ;
    case NBD_CMD_WRITE:
        return REQUEST_WRITE;
    case NBD_CMD_TRIM:
        return REQUEST_TRIM;
    case NBD_CMD_WRITE_ZEROES:
        return REQUEST_WRITE_ZEROES;
    default:
        return REQUEST_FLUSH;
    }
}

static void ask_piece(struct nbd_command *command)
{
    const struct nbd_request *asked = &command->asked;

    command->request = (struct request){
        .op = request_op(asked->type),
        .fua = asked->flags & NBD_CMD_FLAG_FUA,
        .no_hole = asked->flags & NBD_CMD_FLAG_NO_HOLE,
        .offset = asked->offset + command->given,
        .length = piece_length(command),
        .data = command->bytes,
        .complete = piece_done,
    };
    command->pinned = true;
    command->pending++;
    engine_submit(command->conn->engine, &command->request);
}

static void hold_piece(struct nbd_command *command)
{
    command->held = has_payload(command) ? piece_length(command) : 0;
    command->conn->held += command->held;
}

/* The bytes of the next piece of a write are due; the first piece is the longest. */
static bool expect_bytes(struct nbd_command *command)
{
    struct nbd_conn *c = command->conn;

    if (!command->bytes)
        command->bytes = malloc(piece_length(command));
    if (!command->bytes)
        return false;
    hold_piece(command);
    c->writing = command;
    nbd_server_receive(&c->server, command->bytes, piece_length(command));
    return true;
}

/* Nothing of the command is under way: the next piece, or its end. */
static void advance(struct nbd_command *command)
{
    struct nbd_conn *c = command->conn;

    if (command->pinned) {
        command->pinned = false;
        c->held -= command->held;
        command->held = 0;
        free_outs(command);
        if (command->given < command->asked.length)
            command->given += command->request.length;
        engine_release(c->engine, &command->request);
    }
    if (c->over || command->given == command->asked.length) {
        free_command(command);
    } else if (command->asked.type == NBD_CMD_WRITE) {
        /* There is memory for it: that of the piece before. */
        expect_bytes(command);
    } else {
        hold_piece(command);
        ask_piece(command);
        return;
    }
    nbd_conn_resume(c);
}

bool nbd_command_say(struct nbd_conn *c, const uint8_t *words, size_t length)
{
    struct nbd_command *command = new_command(c);

    if (!command)
        return false;
    memcpy(command->words, words, length);
    command->pending = 1;
    send_out(command, 0, command->words, length);
    end_pending(command);
    return true;
}

bool nbd_command_begin(struct nbd_conn *c, const struct nbd_request *asked)
{
    struct nbd_command *command = new_command(c);

    if (!command)
        return false;
    command->asked = *asked;
    if (asked->type != NBD_CMD_WRITE) {
        hold_piece(command);
        ask_piece(command);
    } else if (!expect_bytes(command)) {
        free_command(command);
        return false;
    }
    return true;
}

void nbd_command_written(struct nbd_conn *c)
{
    struct nbd_command *command = c->writing;

    if (c->server.payload_left == 0)
        c->writing = NULL;
    ask_piece(command);
}

bool nbd_command_blocks(const struct nbd_conn *c)
{
    return c->writing && c->writing->pinned;
}

void nbd_command_abandon(struct nbd_conn *c)
{
    struct nbd_command *command = c->writing;

    c->writing = NULL;
    /* While the engine has its piece, the answer ends it. */
    if (command && !command->pinned)
        free_command(command);
}
