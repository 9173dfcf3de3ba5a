// SPDX-License-Identifier: Apache-2.0
/*
 * Bytes over a stream socket, or over two descriptors (a program's stdin and stdout), on the loop.
 *
 * To a socket, outs wait in `queue` for the loop's next turn, so that all that is sent in one turn
 * (the parts of a reply, the replies to many requests) leaves by one call. Into a pipe each leaves
 * at once: there they are a program's requests to the one that started it, few at a time, and what
 * that turn still has to do (answering the machine) would only keep them. What is not taken then
 * waits until more is. All connections of a program read into one buffer, since they run on one
 * thread and the bytes are gone when `data` returns.
 *
 * Who owns what: the outs are their sender's, lent from send to done. The descriptors close when
 * the stream is freed, or once a goodbye has gone out, or when it fails.
 *
 * What always holds: `first_sent` bytes of the queue's first out have gone, and fewer than it has;
 * while the queue is not empty, `soon` is set or the loop watches for room; no event is told once
 * `quiet`. `held` keeps the memory while a call on the stream is under way that a callback may free
 * it in.
 */
#include "transport/unix.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/list.h"
#include "base/loop.h"

#define READ_BUFFER_SIZE (256u << 10)
/* Bytes that may wait in the socket for the far end: some of the longest replies that are usual.
 * The default holds less than one, and each is then sent, waited for and woken up for in parts. */
#define SEND_BUFFER_SIZE (1u << 20)
/* Bytes that may wait in a pipe to be read, for the same reason: four of the longest replies of a
 * far end behind OpenBMC's web server, and the most that a process may ask for without privilege.
 */
#define PIPE_SIZE       (1 << 20)
#define IOV_MAX_AT_ONCE 64
#define ROUNDS_MAX      16
#define END_WORDS       "the far end closed the connection"

struct unix_stream {
    struct stream stream;
    int in;  /* -1: closed */
    int out; /* the same descriptor, if it is a socket's */
    struct loop_fd *watch;
    struct loop_fd *watch_out; /* NULL: there is only the one */
    struct loop_later *soon;   /* sends what is queued */
    struct loop_later *later;  /* tells of a failure that was met while sending */
    struct list queue;         /* of outs */
    size_t first_sent;
    bool want_data;
    bool quiet;            /* no event any more: closed by its owner, or `closed` was told */
    bool closing;          /* goodbye as soon as the queue is empty */
    bool ends_with_reader; /* that nobody reads any more is an end, not a failure */
    int error;             /* of a write, to be told */
    unsigned held;
    bool freed;
};

static uint8_t read_buffer[READ_BUFFER_SIZE];

static struct unix_stream *of(struct stream *s)
{
    return (struct unix_stream *)(void *)s;
}

static void hold(struct unix_stream *u)
{
    u->held++;
}

static void let_go(struct unix_stream *u)
{
    if (--u->held == 0 && u->freed)
        free(u);
}

static bool is_socket(const struct unix_stream *u)
{
    return u->in == u->out;
}

static void close_both(struct unix_stream *u)
{
    loop_fd_free(u->watch);
    loop_fd_free(u->watch_out);
    u->watch = u->watch_out = NULL;
    if (u->out >= 0 && !is_socket(u))
        close(u->out);
    if (u->in >= 0)
        close(u->in);
    u->in = u->out = -1;
}

static void watch(struct unix_stream *u)
{
    unsigned reads = u->want_data && !u->quiet ? LOOP_READ : 0;
    unsigned writes = list_is_empty(&u->queue) ? 0 : LOOP_WRITE;

    if (!u->watch)
        return;
    loop_fd_set(u->watch, u->watch_out ? reads : reads | writes);
    /* With nothing to write it would not be noticed that nobody reads any more. */
    if (u->watch_out)
        loop_fd_set(u->watch_out, writes | (u->quiet ? 0 : LOOP_HANGUP));
}

static void cancel_queue(struct unix_stream *u, int error)
{
    struct list *link;

    while ((link = list_take_first(&u->queue))) {
        struct stream_out *out = list_entry(link, struct stream_out, link);

        out->done(out, error);
    }
    u->first_sent = 0;
}

/* Appends what is left of an out after its first `skip` bytes; returns how many vectors it took. */
static unsigned add_vectors(struct iovec *iov, struct stream_out *out, size_t skip)
{
    unsigned count = 0;

    if (skip < out->head_length)
        iov[count++] = (struct iovec){out->head + skip, out->head_length - skip};
    skip = skip > out->head_length ? skip - out->head_length : 0;
    if (skip < out->data_length)
        iov[count++] =
            (struct iovec){(void *)(uintptr_t)(out->data + skip), out->data_length - skip};
    return count;
}

/* Takes `written` bytes off the queue's front. */
static void note_written(struct unix_stream *u, size_t written)
{
    u->first_sent += written;
    while (!list_is_empty(&u->queue)) {
        struct stream_out *out = list_entry(u->queue.next, struct stream_out, link);
        size_t whole = out->head_length + out->data_length;

        if (u->first_sent < whole)
            return;
        u->first_sent -= whole;
        list_remove(&out->link);
        out->done(out, 0);
    }
}

static ssize_t put(struct unix_stream *u, const struct msghdr *message)
{
    if (is_socket(u))
        return sendmsg(u->out, message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return writev(u->out, message->msg_iov, (int)message->msg_iovlen);
}

/* Writes until the queue is empty or there is no more room. 0 or -errno. */
static int write_queue(struct unix_stream *u)
{
    while (u->out >= 0 && !list_is_empty(&u->queue)) {
        struct iovec iov[IOV_MAX_AT_ONCE];
        struct msghdr message = {.msg_iov = iov};
        size_t skip = u->first_sent;
        ssize_t written;

        list_for_each (it, &u->queue) {
            if (message.msg_iovlen + 2 > IOV_MAX_AT_ONCE)
                break;
            message.msg_iovlen += add_vectors(iov + message.msg_iovlen,
                                              list_entry(it, struct stream_out, link), skip);
            skip = 0;
        }
        written = put(u, &message);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno == EAGAIN ? 0 : -errno;
        note_written(u, (size_t)written);
    }
    return 0;
}

/* It is of no more use; whoever cares is told on the loop's next turn. */
static void fail(struct unix_stream *u, int error)
{
    u->error = error;
    close_both(u);
    cancel_queue(u, error);
    if (!u->quiet)
        loop_later_set(u->later);
}

static void flush(struct unix_stream *u)
{
    int r = write_queue(u);

    if (r < 0)
        fail(u, r);
    else if (u->closing && list_is_empty(&u->queue))
        close_both(u);
    watch(u);
}

static void send_queued(void *arg)
{
    struct unix_stream *u = arg;

    hold(u);
    flush(u);
    let_go(u);
}

static void tell_closed(struct unix_stream *u, bool orderly, const char *reason)
{
    if (u->quiet)
        return;
    u->quiet = true;
    close_both(u);
    u->stream.events->closed(u->stream.owner, orderly, reason);
}

static void tell_failed(void *arg)
{
    struct unix_stream *u = arg;
    bool end = u->ends_with_reader && u->error == -EPIPE;

    hold(u);
    tell_closed(u, end, end ? END_WORDS : strerror(-u->error));
    let_go(u);
}

/* True if there may be more. */
static bool read_some(struct unix_stream *u)
{
    ssize_t got = read(u->in, read_buffer, sizeof read_buffer);

    if (got > 0)
        u->stream.events->data(u->stream.owner, read_buffer, (size_t)got);
    else if (got == 0)
        tell_closed(u, true, END_WORDS);
    else if (errno != EAGAIN && errno != EINTR)
        tell_closed(u, false, strerror(errno));
    return got > 0 && u->in >= 0 && u->want_data && !u->quiet;
}

/* The end that is written to: for room, or because nobody reads the other end any more. */
static void out_ready(void *arg, unsigned events)
{
    struct unix_stream *u = arg;

    hold(u);
    if ((events & LOOP_READ) && list_is_empty(&u->queue) && u->out >= 0)
        fail(u, -EPIPE);
    else
        flush(u);
    let_go(u);
}

static void ready(void *arg, unsigned events)
{
    struct unix_stream *u = arg;

    hold(u);
    if (events & LOOP_WRITE)
        flush(u);
    if ((events & LOOP_READ) && u->in >= 0 && u->want_data && !u->quiet) {
        /* Both may mean an error, after which the loop does not call again: read to the end. */
        unsigned rounds = events & LOOP_WRITE ? ROUNDS_MAX : 1;

        while (rounds-- > 0 && read_some(u))
            ;
    }
    let_go(u);
}

static void unix_send(struct stream *s, struct stream_out *out)
{
    struct unix_stream *u = of(s);
    bool idle = list_is_empty(&u->queue);

    hold(u);
    if (u->in < 0 || u->closing) {
        out->done(out, u->error ? u->error : -ECANCELED);
    } else {
        list_append(&u->queue, &out->link);
        /* With others before it, it goes when they do. */
        if (idle && is_socket(u))
            loop_later_set(u->soon);
        else if (idle)
            flush(u);
    }
    let_go(u);
}

static void unix_want_data(struct stream *s, bool on)
{
    of(s)->want_data = on;
    watch(of(s));
}

static void unix_close(struct stream *s, enum stream_close why, const char *reason)
{
    struct unix_stream *u = of(s);

    (void)why;
    (void)reason;
    hold(u);
    u->quiet = true;
    u->closing = true;
    flush(u);
    let_go(u);
}

static void unix_free(struct stream *s)
{
    struct unix_stream *u = of(s);

    hold(u);
    u->quiet = true;
    close_both(u);
    cancel_queue(u, -ECANCELED);
    loop_later_free(u->soon);
    loop_later_free(u->later);
    u->freed = true;
    let_go(u);
}

static const struct stream_ops unix_ops = {
    .send = unix_send,
    .want_data = unix_want_data,
    .close = unix_close,
    .free = unix_free,
};

static int stop_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* Takes both over, also when it fails; they may be one. */
static int stream_new(struct loop *loop, int in, int out, struct unix_stream **made)
{
    struct unix_stream *u = calloc(1, sizeof *u);
    int room = SEND_BUFFER_SIZE;
    int r = -ENOMEM;

    if (!u) {
        if (out != in)
            close(out);
        close(in);
        return r;
    }
    u->stream.ops = &unix_ops;
    u->in = in;
    u->out = out;
    u->want_data = true;
    list_init(&u->queue);
    /* The system gives what it allows, and a pipe has no such thing; with less it is only slower.
     */
    setsockopt(out, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    r = stop_blocking(in);
    if (r == 0)
        r = stop_blocking(out);
    if (r == 0)
        r = loop_later_new(loop, send_queued, u, &u->soon);
    if (r == 0)
        r = loop_later_new(loop, tell_failed, u, &u->later);
    if (r == 0)
        r = loop_fd_new(loop, in, LOOP_READ, ready, u, &u->watch);
    if (r == 0 && out != in)
        r = loop_fd_new(loop, out, LOOP_HANGUP, out_ready, u, &u->watch_out);
    if (r < 0) {
        unix_free(&u->stream);
        return r;
    }
    *made = u;
    return 0;
}

int stream_unix_new(struct loop *loop, int take_fd, struct stream **out)
{
    struct unix_stream *u;
    int r = stream_new(loop, take_fd, take_fd, &u);

    if (r == 0)
        *out = &u->stream;
    return r;
}

int stream_pipes_new(struct loop *loop, int take_in, int take_out, struct stream **out)
{
    struct unix_stream *u;
    int r = stream_new(loop, take_in, take_out, &u);

    if (r < 0)
        return r;
    u->ends_with_reader = true;
    /* Of a socket that is refused, and by the system where others have used up what there is. */
    (void)fcntl(take_in, F_SETPIPE_SZ, PIPE_SIZE);
    *out = &u->stream;
    return 0;
}
