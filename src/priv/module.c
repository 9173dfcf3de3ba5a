/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modprobe, run by its full path with an empty environment. Whether a module is needed at all is
 * the caller's question: a driver may be built in.
 */
#include "priv/module.h"

#include <errno.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/wait.h>

int module_load(const char *name, const char *option)
{
    char *const arguments[] = {"modprobe", "-q", (char *)name, (char *)option, NULL};
    char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    pid_t pid;
    int status;

    if (posix_spawn(&pid, "/sbin/modprobe", NULL, NULL, arguments, environment) != 0)
        return -EIO;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -EIO;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}
