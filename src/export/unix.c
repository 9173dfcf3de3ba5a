// SPDX-License-Identifier: Apache-2.0
/*
 * The export `unix`: an NBD server on a unix socket, for QEMU guests, tools and tests. It needs no
 * privilege and no hardware.
 *
 * Whoever may write to the socket (its user and group) may read the medium, up to CONNS_MAX
 * connections at once. The socket's file is there exactly from start to stop; a file left behind by
 * a program that died is recognised (nobody answers behind it) and replaced.
 *
 * Who owns what: the connections are this export's from accept until they are closed; each takes
 * care of what it still has at the engine (nbd-conn.h).
 *
 * What always holds: the socket's file is ours while `listen_fd` is open. `started` and `stopped`
 * are told by `later`, on a turn of their own, since a caller must not hear of them from inside
 * start or stop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "export/nbd-conn.h"
#include "export/table.h"
#include "transport/unix.h"

#define CONNS_MAX 16
#define BACKLOG   16
/* NBD clients set themselves no limit; a person's patience does. Seconds. */
#define GRACE_MAX 3600
/* How long to leave waiting clients alone when there are no descriptors for them. */
#define REST_MS 1000

enum telling { TELL_NOTHING, TELL_STARTED, TELL_STOPPED };

struct unix_export {
    struct export export;
    struct loop *loop;
    const char *path;
    struct medium medium;
    struct engine *engine;
    int listen_fd; /* -1: not listening */
    struct stat file;
    struct loop_fd *watch;
    struct loop_timer *rest;
    struct loop_later *later;
    enum telling telling;
    int error; /* of a start that failed */
    char reason[256];
    struct nbd_conn *conns[CONNS_MAX];
};

static struct unix_export *of(struct export *e)
{
    return (struct unix_export *)(void *)e;
}

static int unix_check(const struct export *e, const struct medium *medium, char *reason,
                      size_t room)
{
    (void)e;
    (void)medium;
    if (room > 0)
        reason[0] = '\0';
    return 0;
}

static void tell(void *arg)
{
    struct unix_export *u = arg;
    enum telling telling = u->telling;

    u->telling = TELL_NOTHING;
    if (telling == TELL_STARTED)
        u->export.events->started(u->export.owner);
    else if (telling == TELL_STOPPED)
        u->export.events->stopped(u->export.owner, u->error, u->reason);
}

static void tell_soon(struct unix_export *u, enum telling telling)
{
    u->telling = telling;
    loop_later_set(u->later);
}

static int unix_new(const struct export_config *config, struct export **out)
{
    struct unix_export *u = calloc(1, sizeof *u);
    int r;

    if (!u)
        return -ENOMEM;
    u->export.ops = &export_unix;
    u->loop = config->loop;
    u->path = config->socket_path;
    u->listen_fd = -1;
    r = loop_later_new(u->loop, tell, u, &u->later);
    if (r < 0) {
        free(u);
        return r;
    }
    *out = &u->export;
    return 0;
}

static void unix_free(struct export *e)
{
    loop_later_free(of(e)->later);
    free(of(e));
}

/* A waiting client may have a descriptor now. */
static void rested(void *arg)
{
    struct unix_export *u = arg;

    loop_timer_stop(u->rest);
    loop_fd_set(u->watch, LOOP_READ);
}

static void conn_closed(void *owner, struct nbd_conn *conn, bool by_client)
{
    struct unix_export *u = owner;

    (void)by_client; /* one client's leaving is no eject: another may come */
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        if (u->conns[i] == conn)
            u->conns[i] = NULL;
    }
    rested(u);
}

static const struct nbd_conn_events conn_events = {.closed = conn_closed};

static void take_client(struct unix_export *u, int take_fd)
{
    struct stream *stream;
    unsigned free_at = 0;

    while (free_at < CONNS_MAX && u->conns[free_at])
        free_at++;
    if (free_at == CONNS_MAX) {
        close(take_fd);
        return;
    }
    /* Without memory for it this client is dropped, and may come again. */
    if (stream_unix_new(u->loop, take_fd, &stream) == 0)
        nbd_conn_new(stream,
                     &(struct nbd_conn_config){.start = NBD_CONN_NEGOTIATE,
                                               .medium = &u->medium,
                                               .engine = u->engine,
                                               .loop = u->loop},
                     &conn_events, u, &u->conns[free_at]);
}

static void client_waits(void *arg, unsigned events)
{
    struct unix_export *u = arg;
    int fd = accept4(u->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd >= 0) {
        take_client(u, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        /* No descriptor for it; it stays in the queue, and asking again at once would not help. */
        loop_fd_set(u->watch, 0);
        loop_timer_set(u->rest, REST_MS);
    }
}

/* Whether some program answers behind the socket; any error but a refusal means "better not". */
static bool is_answered(const struct sockaddr_un *address)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
           errno != ECONNREFUSED;
}

static int fail_start(struct unix_export *u, int error, const char *what, const char *mend)
{
    snprintf(u->reason, sizeof u->reason, "cannot offer the drive at %.120s: %s; %s", u->path, what,
             mend);
    return error;
}

/* Makes sure that nothing is at the path, without taking anything from anyone. */
static int clear_path(struct unix_export *u, const struct sockaddr_un *address)
{
    struct stat found;

    if (lstat(u->path, &found) < 0)
        return 0; /* nothing there, or bind() will say what is wrong */
    if (!S_ISSOCK(found.st_mode))
        return fail_start(u, -EEXIST, "there is a file that is not a socket",
                          "move it away or choose another path");
    if (is_answered(address))
        return fail_start(u, -EADDRINUSE, "another program listens there",
                          "stop it or choose another path");
    if (unlink(u->path) < 0)
        return fail_start(u, -errno, strerror(errno), "remove the old socket");
    return 0;
}

static int bind_path(struct unix_export *u)
{
    static const char mend[] = "see that its directory exists and may be written to";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_fd int fd = -1;
    int r;

    if (strlen(u->path) >= sizeof address.sun_path)
        return fail_start(u, -ENAMETOOLONG, "the path is too long for a socket",
                          "choose one of at most 107 bytes");
    memcpy(address.sun_path, u->path, strlen(u->path));
    r = clear_path(u, &address);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return fail_start(u, -errno, strerror(errno), mend);
    /* Nobody can connect before listen(), so nobody slips in before the mode is right. */
    if (chmod(u->path, 0660) < 0 || lstat(u->path, &u->file) < 0 || listen(fd, BACKLOG) < 0) {
        r = fail_start(u, -errno, strerror(errno), mend);
        unlink(u->path);
        return r;
    }
    u->listen_fd = take_fd(&fd);
    return 0;
}

static void stop_listening(struct unix_export *u)
{
    struct stat found;

    loop_fd_free(u->watch);
    u->watch = NULL;
    loop_timer_free(u->rest);
    u->rest = NULL;
    if (u->listen_fd < 0)
        return;
    /* The file goes only if it is still the one that was made here. */
    if (lstat(u->path, &found) == 0 && found.st_ino == u->file.st_ino &&
        found.st_dev == u->file.st_dev)
        unlink(u->path);
    close(u->listen_fd);
    u->listen_fd = -1;
}

static void unix_start(struct export *e, const struct medium *medium, struct engine *engine)
{
    struct unix_export *u = of(e);

    u->medium = *medium;
    u->engine = engine;
    u->reason[0] = '\0';
    u->error = bind_path(u);
    if (u->error == 0) {
        u->error = loop_timer_new(u->loop, rested, u, &u->rest);
        if (u->error == 0)
            u->error = loop_fd_new(u->loop, u->listen_fd, LOOP_READ, client_waits, u, &u->watch);
        if (u->error < 0)
            fail_start(u, u->error, strerror(-u->error),
                       "see the limits on memory and descriptors");
    }
    if (u->error < 0)
        stop_listening(u);
    tell_soon(u, u->error < 0 ? TELL_STOPPED : TELL_STARTED);
}

/*
 * The earlier process took the clients' connections with it; what is left is the file of its
 * socket, and listening again replaces that. Clients that come back find all as it was.
 */
static void unix_adopt(struct export *e, const struct medium *medium, struct engine *engine)
{
    unix_start(e, medium, engine);
}

/* A client hears of each error by itself, and asks again or does not. */
static void unix_reload(struct export *e)
{
    (void)e;
}

static void unix_stop(struct export *e, bool link_alive)
{
    struct unix_export *u = of(e);

    (void)link_alive;
    stop_listening(u);
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        if (u->conns[i])
            nbd_conn_close(u->conns[i]);
        u->conns[i] = NULL;
    }
    tell_soon(u, TELL_STOPPED);
}

/* The path is part of a URI's query, where much of what a path may hold means something else. */
static void unix_describe(const struct export *e, char *out, size_t room)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    const struct unix_export *u = (const struct unix_export *)(const void *)e;
    size_t used = (size_t)snprintf(out, room, "nbd+unix:///?socket=");

    for (const char *at = u->path; *at && used < room; at++)
        used += (size_t)snprintf(out + used, room - used, strchr(plain, *at) ? "%c" : "%%%02X",
                                 (unsigned char)*at);
}

const struct export_ops export_unix = {
    .name = "unix",
    .check = unix_check,
    .new = unix_new,
    .grace_max = GRACE_MAX,
    .start = unix_start,
    .adopt = unix_adopt,
    .reload = unix_reload,
    .stop = unix_stop,
    .describe = unix_describe,
    .free = unix_free,
};
