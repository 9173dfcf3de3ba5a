// SPDX-License-Identifier: Apache-2.0
/*
 * What OpenBMC's virtual media run on without Platter, as far as its speed goes: nbd-client on a
 * unix socket, and a program that splices between that socket and the pipes that bmcweb gave it.
 * For comparison only.
 *
 *     joiner SOCKET DEVICE HOOK
 *
 * Starts `nbd-client -u SOCKET -n -L DEVICE`, which does the handshake with the far end through
 * here. Once DEVICE has a size, runs `HOOK start DEVICE`; on SIGTERM or the end of either side,
 * `HOOK stop DEVICE`, and then ends nbd-client. Splicing goes on while the hook's first run does,
 * for that reads from the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define AT_ONCE      (128 * 1024)
#define SIZE_POLL_MS 50

static volatile sig_atomic_t terminated;

static void on_terminate(int number)
{
    (void)number;
    terminated = 1;
}

static void fail(const char *what)
{
    fprintf(stderr, "joiner: %s: %s\n", what, strerror(errno));
    exit(1);
}

static pid_t run(char *const *argv)
{
    pid_t pid = fork();

    if (pid < 0)
        fail("fork");
    if (pid > 0)
        return pid;
    /* What the hook says must not go to the far end. */
    if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        _exit(127);
    execvp(argv[0], argv);
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof address.sun_path)
        fail(path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
        fail(path);
    return fd;
}

/* Whether the device has a size, that is, a far end. */
static bool device_is_there(const char *device)
{
    const char *name = strrchr(device, '/');
    char path[128], text[32];
    bool there;
    FILE *file;

    snprintf(path, sizeof path, "/sys/block/%s/size", name ? name + 1 : device);
    file = fopen(path, "re");
    there = file && fgets(text, sizeof text, file) && strtoull(text, NULL, 10) > 0;
    if (file)
        fclose(file);
    return there;
}

/* Moves what there is from one to the other, waiting until the other has taken it. False: one of
 * them is at its end. */
static bool pass(int from, int to)
{
    ssize_t n = splice(from, NULL, to, NULL, AT_ONCE, SPLICE_F_MOVE);

    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

static void join(int line, const char *device, char *const *hook)
{
    struct pollfd ends[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = line, .events = POLLIN}};
    bool started = false;

    while (!terminated) {
        if (poll(ends, 2, started ? -1 : SIZE_POLL_MS) < 0) {
            if (errno != EINTR)
                fail("poll");
            continue;
        }
        if (ends[0].revents && !pass(STDIN_FILENO, line))
            return;
        if (ends[1].revents && !pass(line, STDOUT_FILENO))
            return;
        if (!started && device_is_there(device)) {
            started = true;
            run(hook);
        }
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_terminate};
    int listener, line;
    pid_t client;

    if (argc != 4) {
        fprintf(stderr, "usage: joiner SOCKET DEVICE HOOK\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &action, NULL);
    listener = listen_at(argv[1]);
    client = run((char *[]){"nbd-client", "-u", argv[1], "-n", "-L", argv[2], NULL});
    line = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (line < 0)
        fail("accept");
    join(line, argv[2], (char *[]){argv[3], "start", argv[2], NULL});
    wait_for(run((char *[]){argv[3], "stop", argv[2], NULL}));
    kill(client, SIGTERM);
    wait_for(client);
    unlink(argv[1]);
    return 0;
}
