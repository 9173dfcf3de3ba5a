/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in RUN-DIR/SLOT, and who holds it:
 *
 *   proxy.lock     this process, for as long as it lives: one process a configuration
 *   helper.lock    the helper. It may outlive this process, which leaves in time whatever it is
 *                  still taking away; the next one then waits for it
 *   hook.lock      the hook's run, if there is a hook. It may outlive this process just so
 *   helper.conf    what the helper is told
 *   PID.sock       where it listens. Made here and handed over (LISTEN_FDS), so that a request can
 *                  be made before the helper runs
 *   slot-N.*       the helper's own
 *
 * The helper gets SIGTERM from the kernel when this process ends (PR_SET_PDEATHSIG), and takes its
 * drive away then. It is in a session of its own: a terminal's Ctrl-C is for this process.
 */
#include "nbd-proxy/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "nbd-proxy/lock.h"

#define PATH_ROOM 100 /* a socket's */
/* How often, in ms, and how long it is looked whether an earlier helper has ended: it gives itself
 * ten seconds. */
#define AGAIN      50
#define TRIES_MOST 240

struct own_helper {
    struct own_helper_config config;
    char directory[64];
    char socket_path[PATH_ROOM];
    char config_path[PATH_ROOM];
    char hook_lock[PATH_ROOM];
    int lock;     /* proxy.lock; -1: not held */
    int listener; /* until it is the helper's; -1 */
    unsigned tries;
    struct loop_signal *child;
    struct loop_timer *again;
    pid_t pid; /* 0: it does not run */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* ---- the place ---- */

static int take_directory(const char *path, char *error, size_t room)
{
    struct stat st;
    int r = 0;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        r = -errno;
    else if (lstat(path, &st) < 0)
        r = -errno;
    else if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
        r = -EPERM;
    if (r < 0)
        snprintf(error, room,
                 "Cannot use the directory %s (%s): run nbd-proxy as root, and let nobody else "
                 "write there.",
                 path, strerror(-r));
    return r;
}

/* As lock_take(), of a file in the directory. */
static int lock_file(const struct own_helper *h, const char *name)
{
    char path[PATH_ROOM];

    snprintf(path, sizeof path, "%s/%s", h->directory, name);
    return lock_take(path);
}

static int take_place(struct own_helper *h, char *error, size_t room)
{
    int r = take_directory(h->config.run_dir, error, room);

    if (r == 0)
        r = take_directory(h->directory, error, room);
    if (r < 0)
        return r;
    h->lock = lock_file(h, "proxy.lock");
    if (h->lock == -EWOULDBLOCK) {
        snprintf(error, room,
                 "Another nbd-proxy serves this configuration (%s/proxy.lock is held): end that "
                 "one first.",
                 h->directory);
        return -EBUSY;
    }
    if (h->lock < 0)
        snprintf(error, room, "Cannot lock %s/proxy.lock: %s.", h->directory, strerror(-h->lock));
    return h->lock < 0 ? h->lock : 0;
}

/* The slots below this one are there because they are numbered without a gap, and take nothing. */
static int write_config(const struct own_helper *h)
{
    int fd = open(h->config_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    bool good;

    if (!file) {
        int r = -errno;

        if (fd >= 0)
            close(fd);
        return r;
    }
    fprintf(file,
            "[helper]\nsocket = %s\nstate_dir = %s\nuser = %u\nrestart_grace = 0\n"
            "[daemon]\nruntime_dir = %s\n",
            h->socket_path, h->directory, (unsigned)geteuid(), h->directory);
    for (unsigned n = 0; n < h->config.slot; n++)
        fprintf(file, "[slot %u]\nexport = unix\n", n);
    fprintf(file, "[slot %u]\n%s", h->config.slot, h->config.keys);
    good = !ferror(file);
    return fclose(file) == 0 && good ? 0 : -EIO;
}

static int open_listener(struct own_helper *h)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof at.sun_path, "%s", h->socket_path);
    h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->listener < 0)
        return -errno;
    /* Of a process that had this number before. */
    unlink(h->socket_path);
    if (bind(h->listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(h->listener, 1) < 0)
        return -errno;
    return 0;
}

/* ---- the process ---- */

static void close_listener(struct own_helper *h)
{
    if (h->listener >= 0)
        close(h->listener);
    h->listener = -1;
}

/* In the child: never returns. The descriptor 3 is what a listening socket is handed over as. */
static _Noreturn void become(const struct own_helper *h, pid_t parent)
{
    char number[16];
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    snprintf(number, sizeof number, "%d", (int)getpid());
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent ||
        setenv("LISTEN_PID", number, 1) < 0 || setenv("LISTEN_FDS", "1", 1) < 0)
        _exit(127);
    if (h->listener == 3 ? fcntl(3, F_SETFD, 0) < 0 : dup2(h->listener, 3) < 0)
        _exit(127);
    execl(h->config.program, h->config.program, "--config", h->config_path, (char *)NULL);
    _exit(127);
}

static int spawn(struct own_helper *h)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0)
        become(h, parent);
    if (pid < 0)
        return -errno;
    h->pid = pid;
    close_listener(h);
    log_debug("platter-helper is process %d", (int)pid);
    return 0;
}

static void lose(struct own_helper *h, const char *reason)
{
    close_listener(h);
    h->config.lost(h->config.arg, reason);
}

static void child_changed(void *arg)
{
    struct own_helper *h = arg;
    void (*stopped)(void *arg) = h->stopped;

    if (h->pid == 0 || waitpid(h->pid, NULL, WNOHANG) != h->pid)
        return;
    h->pid = 0;
    h->stopped = NULL;
    if (stopped)
        stopped(h->stopped_arg);
    else
        lose(h,
             "platter-helper, which nbd-proxy had started, has ended: see its lines in the log.");
}

/* Whether anybody holds one of the locks that outlive an nbd-proxy: 0; -EWOULDBLOCK; or -errno. */
static int check_left(const struct own_helper *h)
{
    cleanup_fd int helper = lock_file(h, "helper.lock");
    cleanup_fd int hook = lock_take(h->hook_lock);

    if (helper < 0)
        return helper;
    return hook < 0 ? hook : 0;
}

/* Once nothing of an earlier session stands in the place. */
static void try_start(void *arg)
{
    struct own_helper *h = arg;
    char reason[200];
    int r = check_left(h);

    if (r == -EWOULDBLOCK && ++h->tries < TRIES_MOST) {
        loop_timer_set(h->again, AGAIN);
        return;
    }
    if (r == 0)
        r = spawn(h);
    if (r == 0)
        return;
    if (r == -EWOULDBLOCK)
        snprintf(
            reason, sizeof reason,
            "The platter-helper or the hook of an earlier session does not end (helper.lock or "
            "hook.lock in %s is held).",
            h->directory);
    else
        snprintf(reason, sizeof reason, "platter-helper cannot be started: %s.", strerror(-r));
    lose(h, reason);
}

/* ---- the whole ---- */

static int prepare(struct own_helper *h, char *error, size_t room)
{
    int r = take_place(h, error, room);

    if (r < 0)
        return r;
    if (access(h->config.program, X_OK) < 0) {
        r = -errno;
        snprintf(error, room, "%s cannot be run (%s): install platter-helper there.",
                 h->config.program, strerror(-r));
        return r;
    }
    r = write_config(h);
    if (r == 0)
        r = open_listener(h);
    if (r == 0)
        r = loop_signal_new(h->config.loop, SIGCHLD, child_changed, h, &h->child);
    if (r == 0)
        r = loop_timer_new(h->config.loop, try_start, h, &h->again);
    if (r < 0)
        snprintf(error, room, "Cannot make platter-helper ready in %s: %s.", h->directory,
                 strerror(-r));
    return r;
}

int own_helper_new(const struct own_helper_config *config, struct own_helper **out, char *error,
                   size_t room)
{
    struct own_helper *h = calloc(1, sizeof *h);
    int r = -ENAMETOOLONG;

    if (!h) {
        snprintf(error, room, "There is not enough memory for platter-helper's state.");
        return -ENOMEM;
    }
    h->config = *config;
    h->lock = h->listener = -1;
    if ((size_t)snprintf(h->directory, sizeof h->directory, "%s/%u", config->run_dir,
                         config->slot) < sizeof h->directory) {
        snprintf(h->socket_path, sizeof h->socket_path, "%s/%d.sock", h->directory, (int)getpid());
        snprintf(h->config_path, sizeof h->config_path, "%s/helper.conf", h->directory);
        snprintf(h->hook_lock, sizeof h->hook_lock, "%s/hook.lock", h->directory);
        r = prepare(h, error, room);
    } else {
        snprintf(error, room, "%s is too long for a directory of sockets.", config->run_dir);
    }
    if (r < 0) {
        own_helper_free(h);
        return r;
    }
    loop_timer_set(h->again, 0);
    *out = h;
    return 0;
}

const char *own_helper_socket(const struct own_helper *h)
{
    return h->socket_path;
}

const char *own_helper_hook_lock(const struct own_helper *h)
{
    return h->hook_lock;
}

void own_helper_stop(struct own_helper *h, void (*done)(void *arg), void *arg)
{
    loop_timer_stop(h->again);
    if (h->pid == 0) {
        done(arg);
        return;
    }
    h->stopped = done;
    h->stopped_arg = arg;
    kill(h->pid, SIGTERM);
}

void own_helper_free(struct own_helper *h)
{
    if (!h)
        return;
    close_listener(h);
    if (h->lock >= 0) {
        unlink(h->socket_path);
        close(h->lock);
    }
    loop_timer_free(h->again);
    loop_signal_free(h->child);
    free(h);
}
