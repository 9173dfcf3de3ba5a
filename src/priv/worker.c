/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forking a job and collecting its word. The report travels as one REPLY message on a socketpair,
 * with the descriptors that the job opened, so it is there whole or not at all.
 */
#include "priv/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "priv/packet.h"

#define REPORT_FD 3
#define JOB_FD    4
#define OLD_FD    5

/*
 * Leaves the child with stdio, the report and the job's sockets, at known numbers. Everything else
 * goes, the slot's lock above all: a worker that hangs in the kernel must not keep it.
 */
static int settle_fds(const int fds[3])
{
    int high[3];

    /* Out of each other's way first, then to their places. */
    for (int i = 0; i < 3; i++) {
        high[i] = fds[i] >= 0 ? fcntl(fds[i], F_DUPFD_CLOEXEC, OLD_FD + 1) : -1;
        if (fds[i] >= 0 && high[i] < 0)
            return -errno;
    }
    for (int i = 0; i < 3; i++) {
        if (high[i] < 0)
            close(REPORT_FD + i);
        else if (dup3(high[i], REPORT_FD + i, O_CLOEXEC) < 0)
            return -errno;
    }
    return close_range(OLD_FD + 1, ~0U, 0) < 0 ? -errno : 0;
}

static void settle_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    signal(SIGTERM, SIG_DFL);
    /* Ctrl-C goes to the whole group; the helper alone decides what becomes of a job. */
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((noreturn)) static void child(const struct worker_job *job, const int fds[3],
                                            pid_t helper)
{
    struct keeper_result result = {.device = PRIVMSG_NO_DEVICE};
    struct privmsg m = {.type = PRIVMSG_REPLY, .slot = job->slot};
    int opened[PRIVMSG_FDS_MAX] = {0};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != helper || settle_fds(fds) < 0)
        _exit(EXIT_FAILURE);
    settle_signals();
    job_run(job, fds[1] >= 0 ? JOB_FD : -1, fds[2] >= 0 ? OLD_FD : -1, &result, opened);
    m.error = result.error;
    m.device = result.device;
    m.functions = result.functions;
    privmsg_set_reason(&m, result.reason);
    if (packet_send(REPORT_FD, &m, opened, result.functions ? PRIVMSG_FDS(result.functions) : 0) <
        0)
        _exit(EXIT_FAILURE);
    _exit(EXIT_SUCCESS);
}

int worker_start(struct worker *w, const struct worker_job *job, int take_fd, int old_fd)
{
    pid_t helper = getpid();
    int pair[2];
    pid_t pid = -1;
    int r = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        r = -errno;
        goto out;
    }
    pid = fork();
    if (pid == 0)
        child(job, (int[]){pair[1], take_fd, old_fd}, helper);
    if (pid < 0) {
        r = -errno;
        close(pair[0]);
    } else {
        *w = (struct worker){.pid = pid, .report = pair[0]};
    }
    close(pair[1]);
out:
    if (take_fd >= 0)
        close(take_fd);
    return r;
}

void worker_collect(struct worker *w, int status, struct keeper_result *result,
                    int fds[PRIVMSG_FDS_MAX])
{
    struct packet packet;

    *result = (struct keeper_result){.error = -EIO, .device = PRIVMSG_NO_DEVICE};
    if (packet_receive(w->report, &packet) == 0) {
        result->error = packet.m.error;
        result->device = packet.m.device;
        result->functions = packet.m.functions;
        memcpy(result->reason, packet.m.reason, sizeof result->reason);
        memcpy(fds, packet.fds, packet.fd_count * sizeof fds[0]);
    } else if (WIFSIGNALED(status)) {
        snprintf(result->reason, sizeof result->reason,
                 "The helper's worker was killed by signal %d: see its log.", WTERMSIG(status));
    } else {
        snprintf(result->reason, sizeof result->reason,
                 "The helper's worker ended without a word: see its log.");
    }
    close(w->report);
    *w = (struct worker){.pid = 0, .report = -1};
}
