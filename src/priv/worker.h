/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job in a process of its own, because any step of it may block for as long as the line to the
 * person's computer is mute. The process holds nothing but its job's sockets and the way to report,
 * hands over what it opened with its report, and dies with the helper.
 */
#ifndef PLATTER_PRIV_WORKER_H
#define PLATTER_PRIV_WORKER_H

#include <sys/types.h>

#include "config/config.h"
#include "priv/keeper.h"

struct worker_job {
    enum keeper_job job;
    unsigned slot;
    const struct config *config;
    const char *state_dir;
    unsigned restart_grace; /* seconds for which a drive must bear a dead socket */
    struct privmsg attach;  /* of KEEPER_ATTACH and KEEPER_ADOPT: the request */
};

struct worker {
    pid_t pid; /* 0: none */
    int report;
};

/*
 * Forks. The job gets two sockets, or -1: `take_fd`, which is taken over, also on failure; and the
 * one it replaces, `old_fd`, which stays the caller's. 0 or -errno.
 */
int worker_start(struct worker *w, const struct worker_job *job, int take_fd, int old_fd);

/*
 * After the process was waited for: what it reported, or that it died without a word. The endpoints
 * of a USB device that it built, PRIVMSG_FDS(result->functions) of them, are put into `fds`, the
 * caller's from now on; there are none where `functions` is 0.
 */
void worker_collect(struct worker *w, int status, struct keeper_result *result,
                    int fds[PRIVMSG_FDS_MAX]);

/* The deeds themselves, in the calling process, whose `fd` and `old_fd` are; `fds` as above. */
void job_run(const struct worker_job *job, int fd, int old_fd, struct keeper_result *result,
             int fds[PRIVMSG_FDS_MAX]);

#endif
