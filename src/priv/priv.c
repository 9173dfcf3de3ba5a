/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the helper. One connection, kept up in the background; a list of requests that wait
 * for their answers, found again by id. A request that cannot even be sent fails on the loop's next
 * turn, so no completion ever comes from inside the call that made it.
 *
 * When the connection is lost every request on it is completed first, then the watches of the slots
 * that had a drive hear of it: a helper that died leaves its drives to its next start, which takes
 * them away.
 */
#include "priv/priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "priv/packet.h"

#define RETRY_FIRST 250 /* ms */
#define RETRY_LAST  5000

struct request {
    struct list link;
    uint32_t id;
    unsigned slot;
    enum privmsg_type type;
    unsigned drives; /* asked for, of a USB device */
    void (*done)(void *arg, const struct priv_reply *reply);
    void *arg;
    struct priv_reply reply; /* of one that failed before it left */
    char reason[256];
};

struct priv {
    struct loop *loop;
    const char *path;
    int fd; /* -1: not connected */
    struct loop_fd *watch;
    struct loop_timer *retry;
    struct loop_later *fail;
    uint64_t retry_after;
    uint32_t next_id;
    struct list waiting; /* for the helper's answer */
    struct list failed;  /* for the loop's next turn */
    bool attached[PRIVMSG_SLOTS_MAX];
    const struct priv_watch *watches[PRIVMSG_SLOTS_MAX];
};

static void readable(void *arg, unsigned events);

static void complete(struct request *r, const struct priv_reply *reply)
{
    void (*done)(void *arg, const struct priv_reply *reply) = r->done;
    void *arg = r->arg;

    list_remove(&r->link);
    free(r);
    if (done)
        done(arg, reply);
}

static int dial(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (strlen(path) >= sizeof at.sun_path)
        return -ENAMETOOLONG;
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
        return -errno;
    return take_fd(&fd);
}

/* 0 when the connection stands, else -errno and a retry under way. */
static int ensure_connected(struct priv *p)
{
    int r = 0;

    if (p->fd >= 0)
        return 0;
    p->fd = dial(p->path);
    if (p->fd < 0)
        r = p->fd;
    else
        r = loop_fd_new(p->loop, p->fd, LOOP_READ, readable, p, &p->watch);
    if (r == 0) {
        loop_timer_stop(p->retry);
        p->retry_after = RETRY_FIRST;
        log_debug("connected to the helper at %s", p->path);
        return 0;
    }
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    loop_timer_set(p->retry, p->retry_after);
    p->retry_after = p->retry_after * 2 > RETRY_LAST ? RETRY_LAST : p->retry_after * 2;
    return r;
}

static void retry(void *arg)
{
    ensure_connected(arg);
}

static void complete_all(struct list *requests, const struct priv_reply *reply)
{
    while (!list_is_empty(requests)) {
        struct request *r = list_entry(requests->next, struct request, link);

        complete(r, reply);
    }
}

static void lose_connection(struct priv *p, const char *reason)
{
    struct priv_reply reply = {.error = -ECONNRESET, .reason = reason};
    bool had[PRIVMSG_SLOTS_MAX];
    struct list requests;

    log_warn("%s", reason);
    loop_fd_free(p->watch);
    p->watch = NULL;
    close(p->fd);
    p->fd = -1;
    memcpy(had, p->attached, sizeof had);
    memset(p->attached, 0, sizeof p->attached);
    loop_timer_set(p->retry, p->retry_after);
    list_init(&requests);
    list_move_all(&p->waiting, &requests);
    complete_all(&requests, &reply);
    for (unsigned n = 0; n < PRIVMSG_SLOTS_MAX; n++) {
        if (had[n] && p->watches[n])
            p->watches[n]->gone(p->watches[n]->arg, -ECONNRESET, reason);
    }
}

static struct request *find_request(struct priv *p, const struct privmsg *m)
{
    list_for_each (it, &p->waiting) {
        struct request *r = list_entry(it, struct request, link);

        if (r->id == m->id && r->slot == m->slot)
            return r;
    }
    return NULL;
}

static bool brings_endpoints(const struct request *r)
{
    return r->type == PRIVMSG_USB_ATTACH || r->type == PRIVMSG_USB_ADOPT;
}

/* Whether the packet has what this answer to `r` must have, and nothing else. */
static bool is_answer(const struct request *r, const struct packet *packet)
{
    unsigned functions = packet->m.functions;

    if (packet->m.error || !brings_endpoints(r))
        return functions == 0 && packet->fd_count == 0;
    return (functions == 1 || functions == r->drives) &&
           packet->fd_count == PRIVMSG_FDS(functions) + (r->type == PRIVMSG_USB_ADOPT);
}

/* False for an answer that makes no sense. Takes the descriptors over. */
static bool take_reply(struct priv *p, struct packet *packet)
{
    const struct privmsg *m = &packet->m;
    struct request *found = find_request(p, m);
    struct priv_reply reply = {.error = m->error,
                               .reason = m->reason,
                               .functions = m->functions,
                               .fds = packet->fds,
                               .fd_count = packet->fd_count};

    if (found && !is_answer(found, packet)) {
        packet_close(packet);
        return false;
    }
    if (!found || !found->done)
        packet_close(packet);
    if (!found)
        return true;
    if (m->error == 0 && found->type != PRIVMSG_RELOAD)
        p->attached[m->slot] = found->type != PRIVMSG_DETACH;
    if (m->error == 0 && m->device != PRIVMSG_NO_DEVICE)
        snprintf(reply.device, sizeof reply.device, "nbd%u", m->device);
    complete(found, &reply);
    return true;
}

static void take_gone(struct priv *p, const struct privmsg *m)
{
    const struct priv_watch *watch = p->watches[m->slot];

    if (!p->attached[m->slot])
        return;
    p->attached[m->slot] = false;
    if (watch)
        watch->gone(watch->arg, m->error, m->reason);
}

static const char *loss_words(int error)
{
    switch (error) {
    case -EBADMSG:
    case -EPROTONOSUPPORT:
        return "platter-helper speaks another version: install platterd and platter-helper of the "
               "same release.";
    case -EMFILE:
        return "platterd cannot take what platter-helper hands it, for it has too many files "
               "open: raise its limit (LimitNOFILE).";
    default:
        return "The connection to platter-helper was lost: see the helper's log, and start it "
               "again if it has stopped.";
    }
}

static void readable(void *arg, unsigned events)
{
    struct priv *p = arg;
    struct packet packet;
    int r = packet_receive(p->fd, &packet);

    (void)events;
    if (r == -EAGAIN)
        return;
    if (r == 0 && packet.m.type == PRIVMSG_REPLY) {
        if (!take_reply(p, &packet))
            r = -EBADMSG;
    } else if (r == 0 && packet.m.type == PRIVMSG_GONE && packet.fd_count == 0) {
        take_gone(p, &packet.m);
    } else if (r == 0) {
        packet_close(&packet);
        r = -EBADMSG;
    }
    if (r < 0)
        lose_connection(p, loss_words(r));
}

static void fail_now(void *arg)
{
    struct priv *p = arg;
    struct list requests;

    list_init(&requests);
    list_move_all(&p->failed, &requests);
    while (!list_is_empty(&requests)) {
        struct request *r = list_entry(requests.next, struct request, link);
        struct priv_reply reply = r->reply;
        char reason[sizeof r->reason];

        memcpy(reason, r->reason, sizeof reason);
        reply.reason = reason;
        complete(r, &reply);
    }
}

int priv_new(struct loop *loop, const char *socket_path, struct priv **out)
{
    struct priv *p = calloc(1, sizeof *p);
    int r;

    if (!p)
        return -ENOMEM;
    p->loop = loop;
    p->path = socket_path;
    p->fd = -1;
    p->retry_after = RETRY_FIRST;
    list_init(&p->waiting);
    list_init(&p->failed);
    r = loop_timer_new(loop, retry, p, &p->retry);
    if (r == 0)
        r = loop_later_new(loop, fail_now, p, &p->fail);
    if (r < 0) {
        priv_free(p);
        return r;
    }
    ensure_connected(p);
    *out = p;
    return 0;
}

void priv_free(struct priv *p)
{
    struct priv_reply reply = {.error = -ECANCELED, .reason = "The daemon is stopping."};

    if (!p)
        return;
    loop_fd_free(p->watch);
    loop_timer_free(p->retry);
    loop_later_free(p->fail);
    if (p->fd >= 0)
        close(p->fd);
    complete_all(&p->waiting, &reply);
    complete_all(&p->failed, &reply);
    free(p);
}

void priv_watch_slot(struct priv *p, unsigned slot, const struct priv_watch *watch)
{
    if (slot < PRIVMSG_SLOTS_MAX)
        p->watches[slot] = watch;
}

static void explain(const struct priv *p, int error, char *reason, size_t room)
{
    if (error == -EACCES || error == -EPERM)
        snprintf(reason, room,
                 "platter-helper does not admit this user at %s: run platterd as the user its "
                 "configuration names.",
                 p->path);
    else
        snprintf(reason, room,
                 "platter-helper does not answer at %s (%s): start it (systemctl start "
                 "platter-helper).",
                 p->path, strerror(-error));
}

static void ask(struct priv *p, struct privmsg *m, int with_fd,
                void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    /* A request that finds no memory has nobody to be told by: there is nothing better than to end
     * here, as the C library's own abort on a broken heap would. */
    struct request *r = calloc(1, sizeof *r);
    int error;

    if (!r)
        abort();
    m->id = p->next_id++;
    *r = (struct request){.id = m->id,
                          .slot = m->slot,
                          .type = m->type,
                          .drives = m->drives,
                          .done = done,
                          .arg = arg};
    error = ensure_connected(p);
    if (error == 0) {
        error = packet_send(p->fd, m, &with_fd, with_fd >= 0);
        if (error == 0) {
            list_append(&p->waiting, &r->link);
            return;
        }
    }
    r->reply.error = error == -EINVAL ? error : -ENOTCONN;
    explain(p, error, r->reason, sizeof r->reason);
    list_append(&p->failed, &r->link);
    loop_later_set(p->fail);
}

static void present(struct priv *p, enum privmsg_type type, unsigned slot,
                    const struct medium *medium, int take_fd,
                    void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    struct privmsg m = {.type = type,
                        .slot = slot,
                        .kind = medium->kind,
                        .read_only = medium->read_only,
                        .size = medium->size};

    ask(p, &m, take_fd, done, arg);
    close(take_fd);
}

void priv_attach(struct priv *p, unsigned slot, const struct medium *medium, int take_fd,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    present(p, PRIVMSG_ATTACH, slot, medium, take_fd, done, arg);
}

void priv_adopt(struct priv *p, unsigned slot, const struct medium *medium, int take_fd,
                void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    present(p, PRIVMSG_ADOPT, slot, medium, take_fd, done, arg);
}

void priv_usb_attach(struct priv *p, unsigned slot, unsigned drives, int journal_fd,
                     void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    struct privmsg m = {.type = PRIVMSG_USB_ATTACH, .slot = slot, .drives = drives};

    ask(p, &m, journal_fd, done, arg);
}

void priv_usb_adopt(struct priv *p, unsigned slot, unsigned drives,
                    void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    struct privmsg m = {.type = PRIVMSG_USB_ADOPT, .slot = slot, .drives = drives};

    ask(p, &m, -1, done, arg);
}

void priv_reload(struct priv *p, unsigned slot,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    struct privmsg m = {.type = PRIVMSG_RELOAD, .slot = slot};

    ask(p, &m, -1, done, arg);
}

void priv_detach(struct priv *p, unsigned slot, bool link_alive,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    struct privmsg m = {.type = PRIVMSG_DETACH, .slot = slot, .link_alive = link_alive};

    ask(p, &m, -1, done, arg);
}
