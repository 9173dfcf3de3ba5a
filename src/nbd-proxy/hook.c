/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the hook as a process group of its own, so that whatever it starts can be ended with it.
 *
 * What always holds: while `pid` is not 0 there is a child that nobody else waits for, and `done`
 * is still to come; it comes from the loop, when the child has been reaped.
 */
#include "nbd-proxy/hook.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"

struct hook {
    struct hook_config config;
    struct loop_signal *child;
    struct loop_timer *limit;
    struct loop_later *later; /* tells of a run that could not begin */
    pid_t pid;                /* 0: none runs */
    bool killed;
    int error; /* why it could not begin */
    unsigned allowed;
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
    if (hook->killed)
        snprintf(why, room, "it did not end within %u.%u s", hook->allowed / 1000,
                 hook->allowed / 100 % 10);
    else if (WIFEXITED(status))
        snprintf(why, room, "it ended with %d", WEXITSTATUS(status));
    else
        snprintf(why, room, "signal %d ended it", WTERMSIG(status));
}

static void child_changed(void *arg)
{
    struct hook *hook = arg;
    char why[64];
    int status;

    if (hook->pid == 0 || waitpid(hook->pid, &status, WNOHANG) != hook->pid)
        return;
    hook->pid = 0;
    loop_timer_stop(hook->limit);
    explain(hook, status, why, sizeof why);
    hook->config.done(hook->config.arg,
                      !hook->killed && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : why);
}

static void limit_reached(void *arg)
{
    struct hook *hook = arg;

    if (hook->pid == 0)
        return;
    hook->killed = true;
    kill(-hook->pid, SIGKILL);
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
        r = loop_timer_new(config->loop, limit_reached, hook, &hook->limit);
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
    if (hook->pid != 0) {
        kill(-hook->pid, SIGKILL);
        waitpid(hook->pid, NULL, 0);
    }
    loop_later_free(hook->later);
    loop_timer_free(hook->limit);
    loop_signal_free(hook->child);
    free(hook);
}

static _Noreturn void become(const struct hook *hook, const char *action)
{
    sigset_t none;

    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execl(hook->config.path, hook->config.path, action, hook->config.name, (char *)NULL);
    _exit(127);
}

void hook_run(struct hook *hook, const char *action, unsigned limit)
{
    pid_t pid = fork();

    if (pid == 0)
        become(hook, action);
    if (pid < 0) {
        hook->error = -errno;
        loop_later_set(hook->later);
        return;
    }
    /* Here as well, so that there is a group to kill before the child has run. */
    setpgid(pid, pid);
    hook->pid = pid;
    hook->killed = false;
    hook_hurry(hook, limit);
}

void hook_hurry(struct hook *hook, unsigned limit)
{
    if (hook->pid == 0)
        return;
    hook->allowed = limit;
    loop_timer_set(hook->limit, limit);
}
