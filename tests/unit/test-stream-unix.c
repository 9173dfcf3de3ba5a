// SPDX-License-Identifier: Apache-2.0
/*
 * The stream over a socket and over two pipes, against the rules of base/stream.h: outs go out
 * whole and in order through what takes little at a time, `done` comes once for each, and the
 * stream may be closed and freed from inside its own events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "transport/unix.h"

#define OUTS     200u
#define OUT_SIZE 30000u

enum deed { JUST_NOTE, FREE_IT, CLOSE_AND_FREE };

struct end {
    struct stream *stream;
    struct world *world;
    uint64_t received;
    uint64_t wrong; /* bytes that are not what their place says */
    bool closed;
    bool orderly;
    char reason[128];
    enum deed on_data;
    enum deed on_closed;
    unsigned done;
    unsigned failed;
};

struct world {
    struct loop *loop;
    struct loop_timer *limit;
    struct end ends[2];
    uint64_t wanted; /* stop when end 1 has received so much */
    struct stream_out outs[OUTS];
    uint8_t data[OUT_SIZE];
};

static struct world *the_world;
static bool pipes; /* else a socketpair */

/* The byte at a place of all that is sent: each out is a head of 3 bytes and the data. */
static uint8_t byte_at(uint64_t place)
{
    uint64_t in_out = place % (OUT_SIZE + 3);

    return in_out < 3 ? (uint8_t)(place / (OUT_SIZE + 3)) : (uint8_t)(in_out * 7);
}

static void act(struct end *e, enum deed deed)
{
    if (deed == CLOSE_AND_FREE)
        stream_close(e->stream, STREAM_CLOSE_NORMAL, "");
    if (deed != JUST_NOTE) {
        stream_free(e->stream);
        e->stream = NULL;
        loop_stop(e->world->loop);
    }
}

static void on_data(void *owner, const uint8_t *bytes, size_t length)
{
    struct end *e = owner;

    assert_true(length > 0 && !e->closed);
    for (size_t i = 0; i < length; i++)
        e->wrong += bytes[i] != byte_at(e->received + i);
    e->received += length;
    if (e->received == e->world->wanted)
        loop_stop(e->world->loop);
    act(e, e->on_data);
}

static void on_closed(void *owner, bool orderly, const char *reason)
{
    struct end *e = owner;

    assert_false(e->closed);
    e->closed = true;
    e->orderly = orderly;
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    act(e, e->on_closed);
    loop_stop(e->world->loop);
}

static const struct stream_events events = {.data = on_data, .closed = on_closed};

static void out_done(struct stream_out *out, int error)
{
    assert_non_null(out->done);
    out->done = NULL;
    the_world->ends[0].done++;
    the_world->ends[0].failed += error < 0;
}

static void too_late(void *arg)
{
    (void)arg;
    fail_msg("nothing more came");
}

static void open_sockets(struct world *w)
{
    int fds[2];
    int small = 4096;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(stream_unix_new(w->loop, fds[i], &w->ends[i].stream), 0);
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    }
}

static void open_pipes(struct world *w)
{
    int there[2], back[2];

    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    assert_int_equal(stream_pipes_new(w->loop, back[0], there[1], &w->ends[0].stream), 0);
    assert_int_equal(stream_pipes_new(w->loop, there[0], back[1], &w->ends[1].stream), 0);
    fcntl(there[1], F_SETPIPE_SZ, 4096);
}

/* With no stream in it. */
static struct world *new_empty_world(void)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    the_world = w;
    assert_int_equal(loop_new(&w->loop), 0);
    assert_int_equal(loop_timer_new(w->loop, too_late, w, &w->limit), 0);
    loop_timer_set(w->limit, 20000);
    return w;
}

static struct world *new_world(void)
{
    struct world *w = new_empty_world();

    if (pipes)
        open_pipes(w);
    else
        open_sockets(w);
    for (unsigned i = 0; i < 2; i++) {
        w->ends[i].world = w;
        stream_own(w->ends[i].stream, &events, &w->ends[i]);
    }
    for (uint32_t i = 0; i < OUT_SIZE; i++)
        w->data[i] = byte_at(i + 3);
    return w;
}

static void end_world(struct world *w)
{
    stream_free(w->ends[0].stream);
    stream_free(w->ends[1].stream);
    loop_timer_free(w->limit);
    loop_free(w->loop);
    free(w);
}

static void send_out(struct world *w, unsigned index)
{
    struct stream_out *out = &w->outs[index];

    list_init(&out->link);
    out->head_length = 3;
    memset(out->head, (int)index, 3);
    out->data = w->data;
    out->data_length = OUT_SIZE;
    out->done = out_done;
    stream_send(w->ends[0].stream, out);
}

static void test_everything_arrives_in_order(void **state)
{
    struct world *w = new_world();

    (void)state;
    w->wanted = (uint64_t)OUTS * (OUT_SIZE + 3);
    for (unsigned i = 0; i < OUTS; i++)
        send_out(w, i);
    assert_true(w->ends[0].done < OUTS);
    loop_run(w->loop);
    assert_int_equal(w->ends[1].received, w->wanted);
    assert_int_equal(w->ends[1].wrong, 0);
    assert_int_equal(w->ends[0].done, OUTS);
    assert_int_equal(w->ends[0].failed, 0);
    end_world(w);
}

static void test_a_close_sends_what_is_queued(void **state)
{
    struct world *w = new_world();

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        send_out(w, i);
    stream_close(w->ends[0].stream, STREAM_CLOSE_NORMAL, "");
    send_out(w, 20);
    assert_int_equal(w->ends[0].failed, 1);
    loop_run(w->loop);
    assert_true(w->ends[1].closed && w->ends[1].orderly);
    assert_int_equal(w->ends[1].received, 20 * (OUT_SIZE + 3));
    assert_int_equal(w->ends[1].wrong, 0);
    assert_int_equal(w->ends[0].done, 21);
    assert_false(w->ends[0].closed);
    end_world(w);
}

static void test_freeing_takes_back_what_is_queued(void **state)
{
    struct world *w = new_world();

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        send_out(w, i);
    stream_free(w->ends[0].stream);
    w->ends[0].stream = NULL;
    assert_int_equal(w->ends[0].done, 20);
    assert_true(w->ends[0].failed > 0);
    loop_run(w->loop);
    assert_true(w->ends[1].closed);
    end_world(w);
}

static void test_freed_from_inside(void **state)
{
    static const enum deed deeds[] = {FREE_IT, CLOSE_AND_FREE};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = new_world();

        w->ends[1].on_data = deeds[i];
        send_out(w, 0);
        loop_run(w->loop);
        assert_null(w->ends[1].stream);
        end_world(w);

        w = new_world();
        w->ends[1].on_closed = deeds[i];
        stream_free(w->ends[0].stream);
        w->ends[0].stream = NULL;
        loop_run(w->loop);
        assert_true(w->ends[1].closed && !w->ends[1].stream);
        end_world(w);
    }
}

static void test_a_broken_line_is_told_later(void **state)
{
    struct world *w = new_world();

    (void)state;
    stream_want_data(w->ends[0].stream, false);
    stream_free(w->ends[1].stream);
    w->ends[1].stream = NULL;
    send_out(w, 0);
    send_out(w, 1);
    assert_false(w->ends[0].closed);
    loop_run(w->loop);
    assert_int_equal(w->ends[0].failed, 2);
    assert_true(w->ends[0].closed && w->ends[0].reason[0]);
    assert_int_equal(w->ends[0].orderly, pipes);
    end_world(w);
}

/* What is sent in one turn of the loop comes out of the other end by one read. */
static void test_one_turn_is_one_call(void **state)
{
    struct world *w = new_world();
    struct stream_out outs[20];

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        outs[i] = (struct stream_out){.head_length = 3, .done = out_done};
        memset(outs[i].head, (int)i, 3);
        stream_send(w->ends[0].stream, &outs[i]);
        assert_int_equal(w->ends[0].done, 0);
    }
    w->ends[1].on_data = FREE_IT;
    loop_run(w->loop);
    assert_int_equal(w->ends[0].done, 20);
    assert_int_equal(w->ends[1].received, 20 * 3);
    end_world(w);
}

static void stop_when_done(struct stream_out *out, int error)
{
    out_done(out, error);
    loop_stop(the_world->loop);
}

/* A reply of 256 KiB leaves before anybody reads of it, however little the system allows. */
static void test_a_whole_reply_has_room(void **state)
{
    struct world *w = new_empty_world();
    struct stream_out out = {.data_length = 256u << 10, .done = stop_when_done};
    uint8_t *data = calloc(1, out.data_length);
    int fds[2];

    (void)state;
    assert_non_null(data);
    out.data = data;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(stream_unix_new(w->loop, fds[0], &w->ends[0].stream), 0);
    stream_own(w->ends[0].stream, &events, &w->ends[0]);
    list_init(&out.link);
    stream_send(w->ends[0].stream, &out);
    loop_run(w->loop);
    assert_int_equal(w->ends[0].done, 1);
    assert_int_equal(w->ends[0].failed, 0);
    close(fds[1]);
    free(data);
    end_world(w);
}

static void test_no_data_while_unwanted(void **state)
{
    struct world *w = new_world();

    (void)state;
    stream_want_data(w->ends[1].stream, false);
    send_out(w, 0);
    /* A word the other way proves that the loop has turned. */
    w->ends[0].on_data = FREE_IT;

    struct stream_out word = {.head_length = 1, .done = out_done};

    stream_send(w->ends[1].stream, &word);
    loop_run(w->loop);
    assert_int_equal(w->ends[1].received, 0);
    assert_null(w->ends[0].stream);
    stream_want_data(w->ends[1].stream, true);
    loop_run(w->loop);
    assert_true(w->ends[1].closed && w->ends[1].wrong == 0);
    /* Of two pipes the one that nobody reads may be seen first, and that is the end. */
    assert_true(w->ends[1].received > 0 || pipes);
    end_world(w);
}

/* One stream, and the other ends of its two pipes as they are. */
static struct world *new_half(int *from_it, int *to_it)
{
    struct world *w = new_empty_world();
    int there[2], back[2];

    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    assert_int_equal(stream_pipes_new(w->loop, back[0], there[1], &w->ends[0].stream), 0);
    w->ends[0].world = w;
    stream_own(w->ends[0].stream, &events, &w->ends[0]);
    *from_it = there[0];
    *to_it = back[1];
    return w;
}

/* It may be all there is to show that a far end is gone, and nothing need be sent to see it. */
static void test_that_nobody_reads_is_noticed(void **state)
{
    int from_it, to_it;
    struct world *w = new_half(&from_it, &to_it);

    (void)state;
    close(from_it);
    loop_run(w->loop);
    assert_true(w->ends[0].closed && w->ends[0].orderly);
    close(to_it);
    end_world(w);
}

/* Without a turn of the loop. */
static void test_a_pipe_has_it_at_once(void **state)
{
    struct stream_out word = {.head_length = 3, .head = "abc", .done = out_done};
    int from_it, to_it;
    struct world *w = new_half(&from_it, &to_it);
    char got[8];

    (void)state;
    list_init(&word.link);
    stream_send(w->ends[0].stream, &word);
    assert_int_equal(w->ends[0].done, 1);
    assert_int_equal(read(from_it, got, sizeof got), 3);
    assert_memory_equal(got, "abc", 3);
    close(from_it);
    close(to_it);
    end_world(w);
}

/* All that may be on its way from OpenBMC's web server goes in, though nothing is read of it. */
static void test_a_pipe_holds_four_replies(void **state)
{
    static const char replies[4 * (16 + (128u << 10))];
    int from_it, to_it;
    struct world *w = new_half(&from_it, &to_it);

    (void)state;
    assert_int_equal(fcntl(to_it, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(write(to_it, replies, sizeof replies), sizeof replies);
    close(from_it);
    close(to_it);
    end_world(w);
}

static int over_socket(void **state)
{
    (void)state;
    pipes = false;
    return 0;
}

static int over_pipes(void **state)
{
    (void)state;
    pipes = true;
    return 0;
}

#define OVER_BOTH(test)                                                                            \
    cmocka_unit_test_setup(test, over_socket), cmocka_unit_test_setup(test, over_pipes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_BOTH(test_everything_arrives_in_order),
        OVER_BOTH(test_a_close_sends_what_is_queued),
        OVER_BOTH(test_freeing_takes_back_what_is_queued),
        OVER_BOTH(test_freed_from_inside),
        OVER_BOTH(test_a_broken_line_is_told_later),
        cmocka_unit_test_setup(test_one_turn_is_one_call, over_socket),
        cmocka_unit_test(test_a_whole_reply_has_room),
        OVER_BOTH(test_no_data_while_unwanted),
        cmocka_unit_test(test_that_nobody_reads_is_noticed),
        cmocka_unit_test(test_a_pipe_has_it_at_once),
        cmocka_unit_test(test_a_pipe_holds_four_replies),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
