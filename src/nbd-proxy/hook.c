/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the hook as a process group of its own, so that whatever it starts can be ended with it.
 * Between it and this process stands a minder: a fork that waits for the hook, kills it when its
 * time is over, and ends as it has ended. So this process may end first, as it must when a web
 * server waits for it, and a hook that takes its gadget away still has its time, and no more.
 *
 * What always holds: while `minder` is not 0 there is a child that nobody else waits for, and
 * `done` is still to come; it comes from the loop, when the child has been reaped. The minder has
 * no descriptor but the standard ones and the lock: what it held open could not be taken away.
 */
#include "nbd-proxy/hook.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "nbd-proxy/lock.h"

/* The minder's way to say that the time was over. */
#define TOO_LATE SIGALRM

struct hook {
    struct hook_config config;
    struct loop_signal *child;
    struct loop_later *later; /* tells of a run that could not begin */
    pid_t minder;             /* 0: none runs */
    int error;                /* why it could not begin */
    const char *action;
    unsigned limit;
};

int hook_beside(const char *config_path, char *out, size_t room)
{
    const char *slash = strrchr(config_path, '/');
    int length = slash ? (int)(slash - config_path) + 1 : 0;
    int used = snprintf(out, room, "%.*sstate", length, config_path);

    return used < 0 || (size_t)used >= room ? -ENAMETOOLONG : 0;
}

bool hook_is_there(const char *path)
{
    return access(path, X_OK) == 0;
}

static void explain(const struct hook *hook, int status, char *why, size_t room)
{
    if (WIFEXITED(status))
        snprintf(why, room, "it ended with %d", WEXITSTATUS(status));
    else if (WTERMSIG(status) == TOO_LATE)
        snprintf(why, room, "it did not end within %u s", hook->limit / 1000);
    else
        snprintf(why, room, "signal %d ended it", WTERMSIG(status));
}

/* ---- the minder ---- */

static _Noreturn void become_hook(const struct hook *hook)
{
    sigset_t none;

    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execl(hook->config.path, hook->config.path, hook->action, hook->config.name, (char *)NULL);
    _exit(127);
}

/* How the hook ended, as for waitpid(). Both signals are blocked, and so are waited for here. */
static int mind(pid_t pid, const sigset_t *awaited, unsigned limit)
{
    uint64_t now = loop_clock(), end = now + limit * UINT64_C(1000);
    int status, got;

    while (waitpid(pid, &status, WNOHANG) != pid) {
        uint64_t left = end > now ? end - now : 0;
        struct timespec most = {(time_t)(left / 1000000), (long)(left % 1000000 * 1000)};

        got = sigtimedwait(awaited, NULL, &most);
        now = loop_clock();
        if (got == SIGCHLD || (got < 0 && errno == EINTR)) /* it was stopped, and goes on */
            continue;
        kill(-pid, SIGKILL);
        waitpid(pid, &status, 0);
        return got == SIGTERM ? SIGTERM : TOO_LATE;
    }
    return status;
}

static _Noreturn void end_as(int status)
{
    sigset_t none;

    if (WIFEXITED(status))
        _exit(WEXITSTATUS(status));
    sigemptyset(&none);
    signal(WTERMSIG(status), SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    raise(WTERMSIG(status));
    _exit(127);
}

/* With every signal blocked. */
static _Noreturn void become_minder(const struct hook *hook, pid_t parent, int lock)
{
    sigset_t awaited;
    char why[64];
    pid_t pid;
    int status;

    setsid();
    signal(SIGCHLD, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    dup2(lock, STDERR_FILENO + 1);
    close_range(STDERR_FILENO + 2, ~0U, 0);
    pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO + 1);
        become_hook(hook);
    }
    if (pid < 0)
        _exit(127);
    /* Here as well, so that there is a group to kill before the child has run. */
    setpgid(pid, pid);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    status = mind(pid, &awaited, hook->limit);
    explain(hook, status, why, sizeof why);
    if (status != 0 && getppid() != parent)
        log_warn("the hook `%s %s %s` failed: %s", hook->config.path, hook->action,
                 hook->config.name, why);
    end_as(status);
}

/* ---- this process ---- */

static void child_changed(void *arg)
{
    struct hook *hook = arg;
    char why[64];
    int status;

    if (hook->minder == 0 || waitpid(hook->minder, &status, WNOHANG) != hook->minder)
        return;
    hook->minder = 0;
    explain(hook, status, why, sizeof why);
    hook->config.done(hook->config.arg, status == 0 ? NULL : why);
}

static void tell_failed(void *arg)
{
    struct hook *hook = arg;

    hook->config.done(hook->config.arg, strerror(-hook->error));
}

int hook_new(const struct hook_config *config, struct hook **out)
{
    struct hook *hook = calloc(1, sizeof *hook);
    int r;

    if (!hook)
        return -ENOMEM;
    hook->config = *config;
    r = loop_signal_new(config->loop, SIGCHLD, child_changed, hook, &hook->child);
    if (r == 0)
        r = loop_later_new(config->loop, tell_failed, hook, &hook->later);
    if (r < 0) {
        hook_free(hook);
        return r;
    }
    *out = hook;
    return 0;
}

void hook_free(struct hook *hook)
{
    if (!hook)
        return;
    if (hook->minder != 0) {
        hook_kill(hook);
        waitpid(hook->minder, NULL, 0);
    }
    loop_later_free(hook->later);
    loop_signal_free(hook->child);
    free(hook);
}

/* 0 or -errno. */
static int start_minder(struct hook *hook)
{
    cleanup_fd int lock = lock_take(hook->config.lock);
    pid_t parent = getpid(), pid;
    sigset_t all, before;
    int r = 0;

    if (lock < 0)
        return lock;
    /* The loop's handlers, in the child, would write into this process's pipes. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0)
        become_minder(hook, parent, lock);
    if (pid < 0)
        r = -errno;
    else
        hook->minder = pid;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

void hook_run(struct hook *hook, const char *action, unsigned limit)
{
    hook->action = action;
    hook->limit = limit;
    hook->error = start_minder(hook);
    if (hook->error < 0)
        loop_later_set(hook->later);
}

void hook_kill(struct hook *hook)
{
    if (hook->minder != 0)
        kill(hook->minder, SIGTERM);
}
