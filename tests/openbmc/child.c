// SPDX-License-Identifier: Apache-2.0
/*
 * The child's process, its two pipes, and the ring of what it has not been given yet.
 *
 * The child owns the near ends of both pipes. Always: `used` bytes from `head` on, around the end,
 * are what waits for the pipe; the write watcher is on exactly while there are any. What is in the
 * pipe counts as unread too, so the limit is met at the same byte whether or not the kernel has
 * taken some of it already.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

struct child {
    struct loop *loop;
    const struct child_events *events;
    void *owner;
    pid_t pid;
    int to, from;
    struct loop_fd *to_watch, *from_watch;
    bool deaf; /* it has closed its stdin */
    size_t head, used;
    uint8_t ring[CHILD_UNREAD_MAX];
    uint8_t output[CHILD_OUTPUT_MAX];
};

size_t child_unread(const struct child *child)
{
    int piped = 0;

    if (child->deaf || ioctl(child->to, FIONREAD, &piped) < 0)
        return 0;
    return child->used + (size_t)piped;
}

/* Gives the pipe what it takes. */
static void ring_drain(struct child *child)
{
    while (child->used > 0 && !child->deaf) {
        size_t length = CHILD_UNREAD_MAX - child->head;
        ssize_t n;

        if (length > child->used)
            length = child->used;
        n = write(child->to, child->ring + child->head, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            child->deaf = true;
            child->used = 0;
            break;
        }
        child->head = (child->head + (size_t)n) % CHILD_UNREAD_MAX;
        child->used -= (size_t)n;
    }
    loop_fd_set(child->to_watch, child->used > 0 ? LOOP_WRITE : 0);
}

int child_send(struct child *child, const uint8_t *bytes, size_t length)
{
    size_t unread = child_unread(child), at, first;

    if (child->deaf)
        return 0;
    if (length > CHILD_UNREAD_MAX - unread)
        return -ENOBUFS;
    at = (child->head + child->used) % CHILD_UNREAD_MAX;
    first = CHILD_UNREAD_MAX - at;
    if (first > length)
        first = length;
    memcpy(child->ring + at, bytes, first);
    memcpy(child->ring, bytes + first, length - first);
    child->used += length;
    ring_drain(child);
    return 0;
}

static void on_writable(void *arg, unsigned events)
{
    (void)events;
    ring_drain(arg);
}

static void on_output(void *arg, unsigned events)
{
    struct child *child = arg;
    ssize_t n = read(child->from, child->output, sizeof child->output);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        child->events->output(child->owner, child->output, (size_t)n);
        return;
    }
    loop_fd_set(child->from_watch, 0);
    child->events->over(child->owner);
}

void child_want_output(struct child *child, bool wanted)
{
    loop_fd_set(child->from_watch, wanted ? LOOP_READ : 0);
}

/* With the signals as a program finds them, and not as this one handles them. 0 or -errno. */
static int program_spawn(char *const *argv, int in, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t how;
    sigset_t none, defaults;
    int r;

    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGTERM);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &defaults);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0)
        r = posix_spawnp(pid, argv[0], &actions, &how, argv, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int pipes_open(struct child *child, int *in, int *out)
{
    int to[2], from[2];

    if (pipe2(to, O_CLOEXEC) < 0)
        return -errno;
    child->to = to[1];
    *in = to[0];
    if (pipe2(from, O_CLOEXEC) < 0)
        return -errno;
    child->from = from[0];
    *out = from[1];
    /* Ours alone: the child's ends block, as it finds them under bmcweb. */
    if (fcntl(child->to, F_SETFL, O_NONBLOCK) < 0 || fcntl(child->from, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

static void child_free(struct child *child)
{
    loop_fd_free(child->to_watch);
    loop_fd_free(child->from_watch);
    if (child->to >= 0)
        close(child->to);
    if (child->from >= 0)
        close(child->from);
    free(child);
}

int child_start(struct loop *loop, char *const *argv, const struct child_events *events,
                void *owner, struct child **out)
{
    struct child *child = malloc(sizeof *child);
    cleanup_fd int its_in = -1;
    cleanup_fd int its_out = -1;
    int r;

    if (!child)
        return -ENOMEM;
    *child = (struct child){.loop = loop, .events = events, .owner = owner, .to = -1, .from = -1};
    r = pipes_open(child, &its_in, &its_out);
    if (r == 0)
        r = loop_fd_new(loop, child->to, 0, on_writable, child, &child->to_watch);
    if (r == 0)
        r = loop_fd_new(loop, child->from, LOOP_READ, on_output, child, &child->from_watch);
    if (r == 0)
        r = program_spawn(argv, its_in, its_out, &child->pid);
    if (r < 0) {
        child_free(child);
        return r;
    }
    *out = child;
    return 0;
}

void child_end(struct child *child, struct child_end *out)
{
    uint64_t begun = loop_clock();
    int status = 0;
    pid_t waited;

    kill(child->pid, SIGTERM);
    do
        waited = waitpid(child->pid, &status, 0);
    while (waited < 0 && errno == EINTR);
    *out = (struct child_end){
        .status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .microseconds = loop_clock() - begun,
    };
    child_free(child);
}
