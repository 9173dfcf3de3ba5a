// SPDX-License-Identifier: Apache-2.0
/*
 * The connection to the bus: sd-bus, driven by our loop.
 *
 * sd-bus says by its descriptor, its wanted events and its next time-out when it wants a turn;
 * `watch` and `turn` call on it. A turn handles a few messages, and more on the next one, so a
 * flood on the bus does not starve the drives. Whatever fails on the connection ends it, and
 * another one is made after a while: a bus that is away, or goes, takes nothing with it but the
 * API.
 *
 * Who owns what: everything that sd-bus was given for a connection goes with that connection.
 *
 * What always holds: there is a bus, with its watch, or `retry` runs; a connection is dropped in a
 * turn alone, never below a callback of sd-bus.
 */
#include "api/dbus.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/dbus-parts.h"
#include "base/log.h"
#include "base/loop.h"

#define MESSAGES_A_TURN 16
#define RETRY_FIRST     250 /* ms */
#define RETRY_LAST      5000

/* ---- the name ---- */

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct dbus *d = userdata;
    const sd_bus_error *refusal = sd_bus_message_get_error(m);
    uint32_t answer = 0;

    (void)error;
    if (refusal) {
        if (d->told != DBUS_REFUSES)
            log_error("D-Bus does not give the name " DBUS_NAME " to this user (%s): install "
                      "packaging/" DBUS_NAME ".conf as docs/dbus.md says; trying again until then",
                      refusal->name);
        d->told = DBUS_REFUSES;
        d->refused = true;
        return 1;
    }
    if (sd_bus_message_read(m, "u", &answer) < 0)
        return 1;
    d->retry_after = RETRY_FIRST;
    d->told = DBUS_FINE;
    if (answer == 2) /* DBUS_REQUEST_NAME_REPLY_IN_QUEUE */
        log_warn("another program has the D-Bus name " DBUS_NAME ": stop it, and this one takes "
                 "over");
    else
        log_info("on D-Bus as " DBUS_NAME);
    return 1;
}

/* ---- the connection ---- */

static void bus_lose(struct dbus *d, int error)
{
    if (d->told == DBUS_FINE)
        log_warn("D-Bus (%s) is not there (%s); trying again until it is", d->config.bus,
                 strerror(-error));
    if (d->told == DBUS_FINE)
        d->told = DBUS_AWAY;
    loop_fd_free(d->watch);
    d->watch = NULL;
    loop_timer_stop(d->turn);
    sd_bus_close_unref(d->bus);
    d->bus = NULL;
    loop_timer_set(d->retry, d->retry_after);
    d->retry_after = d->retry_after * 2 > RETRY_LAST ? RETRY_LAST : d->retry_after * 2;
}

static unsigned loop_events(int poll_events)
{
    return (poll_events & POLLIN ? LOOP_READ : 0) | (poll_events & POLLOUT ? LOOP_WRITE : 0);
}

/* Milliseconds until `at`, a time as sd-bus tells it, rounded up. */
static uint64_t until(uint64_t at)
{
    struct timespec t;
    uint64_t now;

    clock_gettime(CLOCK_MONOTONIC, &t);
    now = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
    return at > now ? (at - now + 999) / 1000 : 0;
}

/* When the next turn is. 0 or -errno. */
static int bus_arm(struct dbus *d)
{
    uint64_t at = UINT64_MAX;
    int events = sd_bus_get_events(d->bus);
    int r = events < 0 ? events : sd_bus_get_timeout(d->bus, &at);

    if (r >= 0)
        r = loop_fd_set(d->watch, loop_events(events));
    if (r < 0)
        return r;
    if (at == UINT64_MAX)
        loop_timer_stop(d->turn);
    else
        loop_timer_set(d->turn, until(at));
    return 0;
}

static void bus_turn(void *arg)
{
    struct dbus *d = arg;
    int r = 1;

    if (!d->bus)
        return;
    for (unsigned n = 0; n < MESSAGES_A_TURN && r > 0; n++)
        r = sd_bus_process(d->bus, NULL);
    if (r >= 0 && d->refused)
        r = -EACCES;
    if (r >= 0)
        r = bus_arm(d);
    if (r < 0)
        bus_lose(d, r);
}

static void bus_ready(void *arg, unsigned events)
{
    (void)events;
    bus_turn(arg);
}

void dbus_wake(struct dbus *d)
{
    if (d->bus)
        loop_timer_set(d->turn, 0);
}

static int bus_open(struct dbus *d)
{
    int r;

    if (strcmp(d->config.bus, "system") == 0)
        return sd_bus_open_system(&d->bus);
    r = sd_bus_new(&d->bus);
    if (r >= 0)
        r = sd_bus_set_address(d->bus, d->config.bus);
    if (r >= 0)
        r = sd_bus_set_bus_client(d->bus, true);
    if (r >= 0)
        r = sd_bus_negotiate_fds(d->bus, true);
    if (r >= 0)
        r = sd_bus_start(d->bus);
    return r;
}

/* Without waiting: what is asked of the bus here leaves once it has let us in. */
static void bus_connect(void *arg)
{
    struct dbus *d = arg;
    int r = bus_open(d);

    d->refused = false;
    if (r >= 0)
        r = dbus_objects_add(d);
    if (r >= 0)
        r = sd_bus_request_name_async(d->bus, NULL, DBUS_NAME, SD_BUS_NAME_QUEUE, on_name, d);
    if (r >= 0)
        r = sd_bus_get_fd(d->bus);
    if (r >= 0)
        r = loop_fd_new(d->config.loop, r, 0, bus_ready, d, &d->watch);
    if (r >= 0)
        r = bus_arm(d);
    if (r < 0)
        bus_lose(d, r);
}

/* ---- the API ---- */

int dbus_new(const struct dbus_config *config, struct dbus **out)
{
    unsigned count = control_slot_count(config->control);
    struct dbus *d = calloc(1, sizeof *d + count * sizeof d->slots[0]);
    int r;

    if (!d)
        return -ENOMEM;
    d->config = *config;
    d->retry_after = RETRY_FIRST;
    d->slot_count = count;
    for (unsigned i = 0; i < count; i++) {
        d->slots[i].dbus = d;
        d->slots[i].number = i;
        dbus_objects_init(&d->slots[i]);
    }
    r = loop_timer_new(config->loop, bus_turn, d, &d->turn);
    if (r == 0)
        r = loop_timer_new(config->loop, bus_connect, d, &d->retry);
    if (r == 0)
        r = dbus_mounts_new(d);
    if (r < 0) {
        dbus_free(d);
        return r;
    }
    bus_connect(d);
    *out = d;
    return 0;
}

void dbus_free(struct dbus *d)
{
    if (!d)
        return;
    dbus_mounts_free(d);
    loop_fd_free(d->watch);
    sd_bus_close_unref(d->bus);
    loop_timer_free(d->retry);
    loop_timer_free(d->turn);
    free(d);
}
