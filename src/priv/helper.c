/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platter-helper: the only privileged code of Platter. A socket, a table of connections, and the
 * keeper that decides; workers do the deeds. Nothing here ever waits for the kernel's nbd or gadget
 * code, so a DETACH is heard whatever hangs.
 *
 * Who may speak: root and the one configured user, checked by the kernel's word (SO_PEERCRED), not
 * the caller's. What may be said: proto/privmsg.h. When: priv/permit.c.
 *
 * Single-threaded on purpose: PR_SET_PDEATHSIG is tied to the thread that forks.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "config/config.h"
#include "priv/hurry.h"
#include "priv/keeper.h"
#include "priv/listener.h"
#include "priv/ops-gadget.h"
#include "priv/packet.h"
#include "priv/place.h"
#include "priv/record.h"
#include "priv/worker.h"

#define CLIENTS_MAX   8
#define WATCH_EVERY   1000  /* ms between looks at drives that should stand */
#define STOP_PATIENCE 10000 /* ms an orderly stop may take */
#define ACCEPT_REST   1000  /* ms to leave callers alone when there is no descriptor for one */

struct client {
    int fd; /* -1: no such client */
    int number;
};

struct helper_slot {
    int lock;   /* -1: not held */
    int socket; /* the kernel's end of the line, or -1: kept to be told from its successor */
    /* Of a USB device that stands or is being built; until the slot is released. */
    int journal; /* -1: none */
    int endpoints[PRIVMSG_FDS_MAX];
    unsigned endpoint_count;
    struct worker main;
    enum keeper_job main_job;
    struct worker reload;
    struct worker cut;
    bool told;               /* the log says that a drive is there */
    struct ops_gadget drive; /* while attached */
    unsigned misses;         /* looks in a row that did not find the drive */
};

struct helper {
    struct config config;
    struct keeper *keeper;
    int listener;
    int signals;
    int only_one; /* the lock that keeps a second helper from this state directory */
    uid_t user;
    int next_number;
    uint64_t next_watch;
    uint64_t next_accept;
    uint64_t stop_by; /* UINT64_MAX: not stopping */
    struct client clients[CLIENTS_MAX];
    struct helper_slot slots[CONFIG_SLOTS_MAX];
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- what the keeper asks for ---- */

static int helper_claim(void *arg, unsigned slot, char *reason, size_t room)
{
    struct helper *h = arg;
    int fd = record_lock(h->config.helper_state_dir, slot);

    if (fd == -EBUSY)
        snprintf(reason, room, "Slot %u is in use by another program (%s/slot-%u.lock is held).",
                 slot, h->config.helper_state_dir, slot);
    else if (fd < 0)
        snprintf(reason, room, "Cannot lock %s/slot-%u.lock: %s.", h->config.helper_state_dir, slot,
                 strerror(-fd));
    if (fd < 0) {
        log_error("%s", reason);
        return fd;
    }
    h->slots[slot].lock = fd;
    return 0;
}

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void helper_release(void *arg, unsigned slot)
{
    struct helper *h = arg;
    struct helper_slot *s = &h->slots[slot];

    close_if_open(&s->socket);
    close_if_open(&s->journal);
    while (s->endpoint_count > 0)
        close(s->endpoints[--s->endpoint_count]);
    close_if_open(&s->lock);
}

/* Keeps the socket that a job connects beside that job, and gives up the one it replaces. */
static int start_with_socket(struct helper_slot *s, const struct worker_job *what, int take_fd)
{
    int kept = fcntl(take_fd, F_DUPFD_CLOEXEC, 0);
    int r;

    if (kept < 0) {
        r = -errno;
        close(take_fd);
        return r;
    }
    r = worker_start(&s->main, what, take_fd, s->socket);
    if (r < 0) {
        close(kept);
        return r;
    }
    if (s->socket >= 0)
        close(s->socket);
    s->socket = kept;
    return 0;
}

static int helper_start(void *arg, unsigned slot, enum keeper_job job, const struct privmsg *m,
                        int take_fd)
{
    struct helper *h = arg;
    struct helper_slot *s = &h->slots[slot];
    struct worker_job what = {
        .job = job,
        .slot = slot,
        .config = &h->config,
        .state_dir = h->config.helper_state_dir,
        .restart_grace = h->config.restart_grace,
    };

    if (m)
        what.attach = *m;
    /*
     * While the driver waits for room in a line that nobody empties, it holds what a DISCONNECT
     * waits for, which holds what everybody waits for who talks to the kernel over generic netlink.
     */
    if ((job == KEEPER_CUT || job == KEEPER_TEARDOWN_DEAD) && s->socket >= 0)
        shutdown(s->socket, SHUT_RDWR);
    if (job == KEEPER_CUT)
        return worker_start(&s->cut, &what, -1, -1);
    if (job == KEEPER_RELOAD)
        return worker_start(&s->reload, &what, -1, -1);
    s->main_job = job;
    if (m && m->type == PRIVMSG_USB_ATTACH) {
        close_if_open(&s->journal);
        s->journal = take_fd;
        return worker_start(&s->main, &what, -1, -1);
    }
    return m ? start_with_socket(s, &what, take_fd) : worker_start(&s->main, &what, -1, -1);
}

static void helper_kill(void *arg, unsigned slot)
{
    struct helper *h = arg;

    if (h->slots[slot].main.pid > 0)
        kill(h->slots[slot].main.pid, SIGKILL);
    if (h->slots[slot].reload.pid > 0)
        kill(h->slots[slot].reload.pid, SIGKILL);
}

static void client_drop(struct helper *h, struct client *c)
{
    enum slot_state before[CONFIG_SLOTS_MAX];
    int number = c->number;

    if (c->fd < 0)
        return;
    close(c->fd);
    c->fd = -1;
    for (unsigned n = 0; n < h->config.slot_count; n++)
        before[n] = keeper_state(h->keeper, n);
    keeper_client_gone(h->keeper, number, now_ms());
    for (unsigned n = 0; n < h->config.slot_count; n++) {
        if (before[n] != SLOT_ORPHANED && keeper_state(h->keeper, n) == SLOT_ORPHANED)
            log_warn("slot %u: platterd is gone: its drive is kept for %u s, for the next one", n,
                     h->config.restart_grace);
    }
}

static void helper_send(void *arg, int client, const struct privmsg *m, bool with_journal)
{
    struct helper *h = arg;
    const struct helper_slot *s = &h->slots[m->slot];
    int fds[PRIVMSG_FDS_MAX] = {0};
    unsigned count = m->functions ? PRIVMSG_FDS(m->functions) : 0;

    memcpy(fds, s->endpoints, count * sizeof fds[0]);
    if (with_journal) {
        fds[count++] = s->journal;
        log_info("slot %u: the USB device is another platterd's now", m->slot);
    }

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &h->clients[i];

        if (c->fd < 0 || c->number != client)
            continue;
        /* One that does not read its answers is shut; the loop then sees it hang up. */
        if (packet_send(c->fd, m, fds, count) < 0)
            shutdown(c->fd, SHUT_RDWR);
    }
}

static const struct keeper_ops keeper_ops = {
    .claim = helper_claim,
    .release = helper_release,
    .start = helper_start,
    .kill = helper_kill,
    .send = helper_send,
};

/* ---- connections ---- */

static void client_accept(struct helper *h)
{
    int fd = listener_accept(h->listener, h->user);

    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
        /* It stays in the queue, and asking again at once would not help. */
        log_error("cannot take a connection: %s", strerror(-fd));
        h->next_accept = now_ms() + ACCEPT_REST;
    }
    if (fd < 0)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (h->clients[i].fd >= 0)
            continue;
        h->clients[i] = (struct client){.fd = fd, .number = h->next_number};
        h->next_number = h->next_number == INT32_MAX ? 0 : h->next_number + 1;
        return;
    }
    log_warn("refused a connection: %d are open already", CLIENTS_MAX);
    close(fd);
}

/* One message. 0, or -errno when the connection is to be closed. */
static int client_read(struct helper *h, struct client *c)
{
    struct privmsg m;
    int fd = -1;
    int r = listener_receive(c->fd, &m, &fd);

    if (r == 0)
        r = keeper_message(h->keeper, c->number, &m, fd, now_ms());
    if (r == -EAGAIN)
        return 0;
    if (r == -EPROTONOSUPPORT)
        log_error("platterd speaks another version: install platterd and platter-helper of the "
                  "same release");
    else if (r < 0 && r != -ECONNRESET)
        log_warn("closed a connection that sent something that is no request");
    return r;
}

/* ---- workers ---- */

static const char *job_name(enum keeper_job job)
{
    switch (job) {
    case KEEPER_ATTACH:
        return "attach";
    case KEEPER_ADOPT:
        return "takeover";
    case KEEPER_RELOAD:
        return "reload";
    case KEEPER_TEARDOWN_ALIVE:
    case KEEPER_TEARDOWN_DEAD:
        return "teardown";
    case KEEPER_CUT:
        return "disconnect";
    }
    return "job";
}

static bool is_teardown(enum keeper_job job)
{
    return job == KEEPER_TEARDOWN_ALIVE || job == KEEPER_TEARDOWN_DEAD;
}

static void tell_standing(const struct helper_slot *s, unsigned n, enum keeper_job job,
                          const struct keeper_result *result)
{
    const char *now = job == KEEPER_ADOPT ? "another platterd's now" : "there";

    if (result->functions > 0)
        log_info("slot %u: a USB device of %u function%s on %s", n, result->functions,
                 result->functions == 1 ? "" : "s", s->drive.record.udc);
    else
        log_info("slot %u: /dev/nbd%u is %s%s%s", n, result->device, now,
                 s->drive.record.gadget ? ", a USB drive on " : "", s->drive.record.udc);
}

static void worker_over(struct helper *h, unsigned n, struct worker *w, enum keeper_job job,
                        int status)
{
    struct helper_slot *s = &h->slots[n];
    struct keeper_result result;
    int opened[PRIVMSG_FDS_MAX];
    bool called_off = !is_teardown(job) && keeper_state(h->keeper, n) == SLOT_DETACHING;
    bool builds = job == KEEPER_ATTACH || job == KEEPER_ADOPT;

    worker_collect(w, status, &result, opened);
    if (result.functions > 0) {
        s->endpoint_count = PRIVMSG_FDS(result.functions);
        memcpy(s->endpoints, opened, s->endpoint_count * sizeof opened[0]);
    }
    if (result.error < 0 && !called_off)
        log_error("slot %u: %s failed: %s", n, job_name(job), result.reason);
    keeper_job_ended(h->keeper, n, job, &result, now_ms());
    if (builds && keeper_state(h->keeper, n) == SLOT_ATTACHED) {
        ops_gadget_init(&s->drive, h->config.helper_state_dir, n);
        s->misses = 0;
        s->told = true;
        tell_standing(s, n, job, &result);
    } else if (keeper_state(h->keeper, n) == SLOT_FREE && s->told) {
        s->told = false;
        log_info("slot %u: empty", n);
    }
}

static void workers_reap(struct helper *h)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned n = 0; n < h->config.slot_count; n++) {
            struct helper_slot *s = &h->slots[n];

            if (s->main.pid == pid)
                worker_over(h, n, &s->main, s->main_job, status);
            else if (s->reload.pid == pid)
                worker_over(h, n, &s->reload, KEEPER_RELOAD, status);
            else if (s->cut.pid == pid)
                worker_over(h, n, &s->cut, KEEPER_CUT, status);
        }
    }
}

/*
 * Drives that should stand are looked at once a second, through sysfs only. Gone means gone at two
 * looks in a row: when the machine ejects its medium the nbd device goes too, and platterd, which
 * hears of that on its own socket, will ask for the rest itself.
 */
static void drives_watch(struct helper *h, uint64_t now)
{
    char reason[PRIVMSG_REASON_MAX + 1];

    if (now < h->next_watch)
        return;
    h->next_watch = now + WATCH_EVERY;
    for (unsigned n = 0; n < h->config.slot_count; n++) {
        struct helper_slot *s = &h->slots[n];

        if (keeper_state(h->keeper, n) != SLOT_ATTACHED)
            continue;
        if (ops_gadget_stands(&s->drive, s->endpoint_count == 0, reason, sizeof reason)) {
            s->misses = 0;
        } else if (++s->misses >= 2) {
            log_warn("slot %u: %s", n, reason);
            keeper_drive_gone(h->keeper, n, reason, now);
        }
    }
}

static bool any_attached(const struct helper *h)
{
    for (unsigned n = 0; n < h->config.slot_count; n++) {
        if (keeper_state(h->keeper, n) == SLOT_ATTACHED)
            return true;
    }
    return false;
}

/* ---- the loop ---- */

static void signals_read(struct helper *h)
{
    struct signalfd_siginfo info;

    while (read(h->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            workers_reap(h);
        } else if (h->stop_by == UINT64_MAX) {
            h->stop_by = now_ms() + STOP_PATIENCE;
            keeper_stop(h->keeper, now_ms());
        }
    }
}

static int wait_ms(const struct helper *h, uint64_t now)
{
    uint64_t next = keeper_next_tick(h->keeper);

    if (any_attached(h) && h->next_watch < next)
        next = h->next_watch;
    if (h->stop_by < next)
        next = h->stop_by;
    if (h->next_accept > now && h->next_accept < next)
        next = h->next_accept;
    if (next == UINT64_MAX)
        return -1;
    return next <= now ? 0 : (int)(next - now);
}

static void loop_once(struct helper *h)
{
    uint64_t now = now_ms();
    struct pollfd polled[CLIENTS_MAX + 2] = {
        {.fd = h->signals, .events = POLLIN},
        {.fd = now < h->next_accept ? -1 : h->listener, .events = POLLIN},
    };

    for (size_t i = 0; i < CLIENTS_MAX; i++)
        polled[i + 2] = (struct pollfd){.fd = h->clients[i].fd, .events = POLLIN};
    hurry_end();
    if (poll(polled, CLIENTS_MAX + 2, wait_ms(h, now)) < 0)
        return;
    hurry_begin();
    if (polled[0].revents)
        signals_read(h);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &h->clients[i];

        if (polled[i + 2].revents && client_read(h, c) < 0)
            client_drop(h, c);
    }
    if (polled[1].revents)
        client_accept(h);
    now = now_ms();
    drives_watch(h, now);
    keeper_tick(h->keeper, now);
}

static int helper_run(struct helper *h)
{
    while (h->stop_by == UINT64_MAX || !keeper_is_idle(h->keeper)) {
        loop_once(h);
        if (h->stop_by <= now_ms()) {
            log_error("could not take every drive away in %d s: the next start will try again",
                      STOP_PATIENCE / 1000);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

/* ---- beginning ---- */

static int take_socket(struct helper *h)
{
    h->listener = listener_open(h->config.helper_socket, h->user);
    if (h->listener == -EADDRINUSE || h->listener == -EEXIST)
        log_error("cannot listen on %s: %s is there; end that, or name another path in [helper] "
                  "socket",
                  h->config.helper_socket,
                  h->listener == -EEXIST ? "a file" : "another program's socket");
    else if (h->listener < 0)
        log_error("cannot listen on %s: %s", h->config.helper_socket, strerror(-h->listener));
    return h->listener < 0 ? h->listener : 0;
}

static int catch_signals(struct helper *h)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    h->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return h->signals < 0 ? -errno : 0;
}

static int helper_begin(struct helper *h)
{
    int r = place_find_user(h->config.helper_user, &h->user);

    if (r < 0)
        return r;
    h->only_one = place_take(h->config.helper_state_dir);
    if (h->only_one < 0)
        return h->only_one;
    r = place_take_parent(h->config.helper_socket);
    if (r < 0)
        return r;
    r = catch_signals(h);
    if (r == 0)
        r = keeper_new(&keeper_ops, h, (unsigned)h->config.slot_count,
                       h->config.restart_grace * UINT64_C(1000), &h->keeper);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        return r;
    }
    r = take_socket(h);
    if (r < 0)
        return r;
    /* Before anybody is heard, and only by a helper that stays. */
    keeper_begin(h->keeper);
    log_info("listening on %s", h->config.helper_socket);
    return 0;
}

static const char *parse_arguments(int count, char **arguments)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    const char *config = NULL;
    int o;

    while ((o = getopt_long(count, arguments, "", options, NULL)) != -1) {
        switch (o) {
        case 'c':
            config = optarg;
            break;
        case 'h':
            printf("usage: platter-helper --config FILE\n"
                   "Connects nbd devices and builds USB gadgets for platterd. Runs as root.\n");
            exit(EXIT_SUCCESS);
        case 'v':
            printf("platter-helper %s\n", PLATTER_VERSION);
            exit(EXIT_SUCCESS);
        default:
            exit(EXIT_FAILURE);
        }
    }
    return optind == count ? config : NULL;
}

int main(int count, char **arguments)
{
    static struct helper helper = {.listener = -1, .stop_by = UINT64_MAX};
    const char *config = parse_arguments(count, arguments);
    char error[512];
    int status = EXIT_FAILURE;

    log_init("platter-helper");
    if (!config) {
        log_error("say where the configuration is: platter-helper --config FILE");
        return EXIT_FAILURE;
    }
    if (config_read(config, &helper.config, error, sizeof error) < 0) {
        log_error("%s", error);
        return EXIT_FAILURE;
    }
    umask(022);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        helper.clients[i].fd = -1;
    for (size_t i = 0; i < CONFIG_SLOTS_MAX; i++)
        helper.slots[i].lock = helper.slots[i].socket = helper.slots[i].journal = -1;
    if (helper_begin(&helper) == 0)
        status = helper_run(&helper);
    if (helper.listener >= 0)
        unlink(helper.config.helper_socket);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (helper.clients[i].fd >= 0)
            close(helper.clients[i].fd);
    }
    keeper_free(helper.keeper);
    return status;
}
