/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platterd: reads its configuration, makes the slots, serves the page, and stops in order.
 *
 * Unprivileged from its first instruction: it refuses to run as root, for whatever needs root is
 * platter-helper's. Everything hangs in one `struct daemon`, made and freed in mirrored order.
 *
 * Stopping: at SIGTERM or SIGINT every session is ended with STREAM_CLOSE_SHUTDOWN, and the loop
 * goes on until all slots are idle, so exports come down in order, and the pages have been told;
 * after STOP_LIMIT_MS it leaves without that.
 *
 * Leaving: at SIGUSR2 it takes nothing down, as if it had crashed: what it wrote down of its
 * sessions and what the helper keeps of its drives is for the next platterd, which slot_restore()
 * makes their owner. That is how it is replaced by a newer one. USB devices of its own finish the
 * command in work first, for up to LEAVE_LIMIT_MS; the next platterd can do with less.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/dbus.h"
#include "api/http.h"
#include "api/openbmc.h"
#include "base/log.h"
#include "base/loop.h"
#include "config/config.h"
#include "daemon/check.h"
#include "daemon/usb.h"
#include "priv/priv.h"
#include "session/session.h"
#include "slot/slot.h"
#include "transport/web.h"

#define DEFAULT_CONFIG "/etc/platter/platter.conf"
#define STOP_LIMIT_MS  8000
#define LEAVE_LIMIT_MS 3000
/* Enough for every connection and slot; more would only let a leak grow. With fewer than
 * FILES_LEAST connections could not all be accepted. */
#define FILES_WANTED 1024
#define FILES_LEAST  256

struct daemon {
    struct config config;
    struct loop *loop;
    struct priv *priv;
    struct usb_devices *usb;
    struct slot *slots[CONFIG_SLOTS_MAX];
    struct slot_status status; /* of the last control_get_slot() */
    struct control control;
    void (*stepped)(void *arg, unsigned slot); /* who watches the slots; NULL: nobody */
    void *stepped_arg;
    struct web_route routes[4];
    const char *host_names[CONFIG_NAMES_MAX];
    struct web *web;
    const char *dbus_sockets[CONFIG_SLOTS_MAX];
    struct dbus *dbus;
    struct loop_signal *terminate, *interrupt, *leave;
    struct loop_timer *limit;
    bool stopping;
    bool drives_stay; /* the slots are left as they are to the end of the process */
};

struct options {
    const char *config;
    bool check;
};

static const char usage[] = "usage: platterd [--config FILE] [--check]\n"
                            "Serves the page through which a person gives this machine a drive.\n"
                            "\n"
                            "  --config FILE  the configuration (default " DEFAULT_CONFIG ")\n"
                            "  --check        say line by line what this machine can do, and exit\n"
                            "  --version      print the version, and exit\n"
                            "  --help         print this, and exit\n";

/* --- the slots, as the APIs see them --- */

static unsigned daemon_slot_count(void *owner)
{
    const struct daemon *d = owner;

    return (unsigned)d->config.slot_count;
}

static const char *const drive_words[] = {
    [CONFIG_DRIVE_AUTO] = "auto",
    [CONFIG_DRIVE_DISK] = "disk",
    [CONFIG_DRIVE_CD] = "cd",
};

static void daemon_get_slot(void *owner, unsigned slot, struct control_slot *out)
{
    struct daemon *d = owner;
    struct slot_status *s = &d->status;

    slot_get_status(d->slots[slot], s);
    *out = (struct control_slot){
        .name = s->name,
        .export_name = s->export_name,
        .drive = drive_words[d->config.slots[slot].drive],
        .state = s->state,
        .uri = s->uri,
        .reason = s->reason,
        .medium = s->has_medium ? &s->medium : NULL,
        .busy = !slot_is_idle(d->slots[slot]),
        .shown = s->shown,
        .locked = s->locked,
        .why = s->why,
        .grace = d->config.slots[slot].grace,
        .keep = d->config.slots[slot].keep,
        .waiting = s->grace_left > 0 || s->keep_left > 0,
        .grace_left = s->grace_left,
        .keep_left = s->keep_left,
        .counters = s->counters,
    };
}

static enum control_end daemon_end_slot(void *owner, unsigned slot, bool force, const char *reason)
{
    struct daemon *d = owner;

    if (slot_is_idle(d->slots[slot]))
        return CONTROL_EMPTY;
    if (!force && slot_is_locked(d->slots[slot])) {
        slot_request_eject(d->slots[slot]);
        return CONTROL_LOCKED;
    }
    slot_end(d->slots[slot], STREAM_CLOSE_NORMAL, reason);
    return CONTROL_ENDS;
}

static void daemon_watch_slots(void *owner, void (*stepped)(void *arg, unsigned slot), void *arg)
{
    struct daemon *d = owner;

    d->stepped = stepped;
    d->stepped_arg = arg;
}

static const char *daemon_state_name(void *owner, unsigned n)
{
    (void)owner;
    return n < SESSION_STATES ? session_state_name((enum session_state)n) : NULL;
}

static void daemon_open_slot(void *owner, unsigned slot, struct stream *stream,
                             const struct control_offer *offer)
{
    struct daemon *d = owner;

    if (d->stopping) {
        stream_close(stream, STREAM_CLOSE_SHUTDOWN, "Platter is stopping.");
        stream_free(stream);
        return;
    }
    slot_open(d->slots[slot], stream,
              &(struct slot_offer){
                  .kind = offer->kind,
                  .name = offer->name,
                  .modified = offer->modified,
                  .resume = offer->resume,
                  .profile = offer->profile,
                  .ends_with_line = offer->ends_with_line,
              });
}

static const struct control_ops daemon_control = {
    .slot_count = daemon_slot_count,
    .get_slot = daemon_get_slot,
    .open_slot = daemon_open_slot,
    .end_slot = daemon_end_slot,
    .watch_slots = daemon_watch_slots,
    .state_name = daemon_state_name,
};

/* --- stopping --- */

static void daemon_web_stopped(void *arg)
{
    struct daemon *d = arg;

    loop_stop(d->loop);
}

static void daemon_usb_stopped(void *arg)
{
    struct daemon *d = arg;

    web_stop(d->web, daemon_web_stopped, d);
}

/* When all slots are idle. */
static void daemon_stop_rest(struct daemon *d)
{
    for (size_t i = 0; i < d->config.slot_count; i++) {
        if (!slot_is_idle(d->slots[i]))
            return;
    }
    usb_devices_stop(d->usb, daemon_usb_stopped, d);
}

static void daemon_slot_stepped(void *arg, unsigned slot)
{
    struct daemon *d = arg;

    if (d->stepped)
        d->stepped(d->stepped_arg, slot);
    if (d->stopping && slot_is_idle(d->slots[slot]))
        daemon_stop_rest(d);
}

static void daemon_limit_reached(void *arg)
{
    struct daemon *d = arg;

    if (!d->drives_stay)
        log_error("a session has not ended within %d seconds of the stop; leaving it",
                  STOP_LIMIT_MS / 1000);
    d->drives_stay = true;
    loop_stop(d->loop);
}

static void daemon_stop(void *arg)
{
    struct daemon *d = arg;

    if (d->stopping)
        return;
    d->stopping = true;
    loop_timer_set(d->limit, STOP_LIMIT_MS);
    for (size_t i = 0; i < d->config.slot_count; i++)
        slot_end(d->slots[i], STREAM_CLOSE_SHUTDOWN, "Platter was stopped on the machine.");
    daemon_stop_rest(d);
}

static void daemon_left(void *arg)
{
    struct daemon *d = arg;

    loop_stop(d->loop);
}

static void daemon_leave(void *arg)
{
    struct daemon *d = arg;

    if (d->stopping)
        return;
    log_info("leaving; the drives stay for the next platterd");
    d->stopping = true;
    d->drives_stay = true;
    loop_timer_set(d->limit, LEAVE_LIMIT_MS);
    usb_devices_leave(d->usb, daemon_left, d);
}

/* --- making and freeing --- */

/* What the drives of some exports need of the helper. */
static int daemon_helper_new(struct daemon *d)
{
    bool needed = false;
    int r = 0;

    for (size_t i = 0; i < d->config.slot_count; i++)
        needed = needed || strcmp(d->config.slots[i].export_name, "unix") != 0;
    if (needed)
        r = priv_new(d->loop, d->config.helper_socket, &d->priv);
    if (r == 0)
        r = usb_devices_new(&d->config, d->loop, d->priv, &d->usb);
    return r;
}

static int daemon_slots_new(struct daemon *d)
{
    for (size_t i = 0; i < d->config.slot_count; i++) {
        const struct config_slot *c = &d->config.slots[i];
        struct slot_config config = {
            .loop = d->loop,
            .number = (unsigned)i,
            .name = c->name,
            .export_name = c->export_name,
            .socket_path = c->socket_path,
            .device_only = !c->gadget,
            .cache_max = (size_t)c->cache << 20,
            .grace = c->grace,
            .keep = c->keep,
            .record_dir = d->config.runtime_dir,
        };
        int r;

        config.priv = d->priv;
        config.usb_device = usb_devices_find(d->usb, (unsigned)i, &config.usb_drive);
        r = slot_new(&config, &d->slots[i]);
        if (r < 0)
            return r;
        slot_watch(d->slots[i], daemon_slot_stepped, d);
    }
    return 0;
}

/* Where sockets go: everything needed must be there before anybody connects. */
static int daemon_runtime_check(const struct daemon *d)
{
    if (access(d->config.runtime_dir, W_OK | X_OK) == 0)
        return 0;
    log_error("%s cannot be written to: %s; create it for this user or name another directory with "
              "runtime_dir in the configuration",
              d->config.runtime_dir, strerror(errno));
    return -1;
}

static int daemon_web_new(struct daemon *d)
{
    struct web_config web = {
        .loop = d->loop,
        .listen_count = d->config.listen_count,
        .host_names = d->host_names,
        .host_name_count = d->config.host_name_count,
        .page_dir = d->config.page_dir,
        .routes = d->routes,
        .route_count = sizeof d->routes / sizeof d->routes[0],
    };
    char error[512];

    for (size_t i = 0; i < d->config.listen_count; i++)
        web.listen[i] =
            (struct web_listen){.host = d->config.listen[i].host, .port = d->config.listen[i].port};
    for (size_t i = 0; i < d->config.host_name_count; i++)
        d->host_names[i] = d->config.host_names[i];
    d->routes[0] = http_api_route(&d->control);
    d->routes[1] = http_metrics_route(&d->control);
    d->routes[2] = openbmc_vm_route(&d->control);
    d->routes[3] = openbmc_nbd_route(&d->control);
    if (web_new(&web, &d->web, error, sizeof error) == 0)
        return 0;
    log_error("%s", error);
    return -1;
}

static int daemon_dbus_new(struct daemon *d)
{
    struct dbus_config dbus = {
        .loop = d->loop,
        .control = &d->control,
        .bus = d->config.dbus_bus,
        .sockets = d->dbus_sockets,
        .inactivity = d->config.dbus_inactivity,
    };
    int r;

    if (!d->config.dbus_enabled)
        return 0;
    for (size_t i = 0; i < d->config.slot_count; i++)
        d->dbus_sockets[i] = d->config.slots[i].dbus_socket;
    r = dbus_new(&dbus, &d->dbus);
    if (r == -EOPNOTSUPP)
        log_error("this platterd was built without D-Bus: say enabled = no under [dbus] in the "
                  "configuration, or build it with -Ddbus=enabled");
    else if (r < 0)
        log_error("the D-Bus API cannot be made: %s", strerror(-r));
    return r;
}

static int daemon_new(struct daemon *d)
{
    int r = loop_new(&d->loop);

    if (r == 0)
        r = loop_signal_new(d->loop, SIGTERM, daemon_stop, d, &d->terminate);
    if (r == 0)
        r = loop_signal_new(d->loop, SIGINT, daemon_stop, d, &d->interrupt);
    if (r == 0)
        r = loop_signal_new(d->loop, SIGUSR2, daemon_leave, d, &d->leave);
    if (r == 0)
        r = loop_timer_new(d->loop, daemon_limit_reached, d, &d->limit);
    if (r < 0) {
        log_error("the event loop does not start: %s", strerror(-r));
        return -1;
    }
    if (daemon_runtime_check(d) < 0)
        return -1;
    r = daemon_helper_new(d);
    if (r == 0)
        r = daemon_slots_new(d);
    if (r < 0) {
        log_error("the slots cannot be made: %s", strerror(-r));
        return -1;
    }
    d->control = (struct control){.ops = &daemon_control, .owner = d, .version = PLATTER_VERSION};
    if (daemon_web_new(d) < 0 || daemon_dbus_new(d) < 0)
        return -1;
    /* Last, for from here on nothing fails: a slot that has taken a drive over cannot be freed. */
    for (size_t i = 0; i < d->config.slot_count; i++)
        slot_restore(d->slots[i]);
    return 0;
}

/* After the loop has ended. */
static void daemon_free(struct daemon *d)
{
    if (d->drives_stay)
        return;
    dbus_free(d->dbus);
    for (size_t i = 0; i < d->config.slot_count; i++)
        slot_free(d->slots[i]);
    usb_devices_free(d->usb);
    if (d->priv)
        priv_free(d->priv);
    web_free(d->web);
    loop_timer_free(d->limit);
    loop_signal_free(d->leave);
    loop_signal_free(d->interrupt);
    loop_signal_free(d->terminate);
    loop_free(d->loop);
}

/* --- the process --- */

/* 0: go on; 1: done, with success; -1: done, with failure. */
static int options_read(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            o->config = optarg;
            break;
        case 'k':
            o->check = true;
            break;
        case 'v':
            puts("platterd " PLATTER_VERSION);
            return 1;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs("Try platterd --help.\n", stderr);
            return -1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "platterd: \"%s\" is not an option; try platterd --help.\n", argv[optind]);
        return -1;
    }
    return 0;
}

/* What the process can never do again, whatever happens to it. */
static int process_harden(void)
{
    struct rlimit none = {0, 0}, files;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
        getrlimit(RLIMIT_NOFILE, &files) < 0) {
        log_error("the process cannot be hardened: %s", strerror(errno));
        return -1;
    }
    if (files.rlim_cur < FILES_WANTED) {
        files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
            log_error("the limit on open files cannot be raised: %s", strerror(errno));
            return -1;
        }
    }
    if (files.rlim_cur < FILES_LEAST) {
        log_error("this process may open only %lu files; allow it %d (ulimit -n, LimitNOFILE=)",
                  (unsigned long)files.rlim_cur, FILES_LEAST);
        return -1;
    }
    signal(SIGPIPE, SIG_IGN);
    return 0;
}

int main(int argc, char **argv)
{
    static struct daemon daemon;
    struct options options = {.config = DEFAULT_CONFIG};
    char error[512];
    int r;

    log_init("platterd");
    r = options_read(argc, argv, &options);
    if (r != 0)
        return r < 0 ? 2 : 0;
    if (config_read(options.config, &daemon.config, error, sizeof error) < 0) {
        log_error("%s", error);
        return 1;
    }
    if (options.check)
        return check_run(&daemon.config);
    if (geteuid() == 0 || getuid() == 0) {
        log_error("platterd does not run as root; start it as a user of its own, for what needs "
                  "root is done by platter-helper");
        return 1;
    }
    if (process_harden() < 0)
        return 1;
    r = daemon_new(&daemon);
    if (r == 0)
        loop_run(daemon.loop);
    daemon_free(&daemon);
    return r == 0 ? 0 : 1;
}
