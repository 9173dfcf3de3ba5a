/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platterd --check: one line a thing, "ok" or "no" first, and behind every "no" what to do about
 * it. It looks and changes nothing: no module is loaded, no address is listened on for longer than
 * it takes to try, and it needs no more rights than platterd itself.
 */
#include "daemon/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/driver.h"
#include "config/config.h"
#include "daemon/probe.h"

struct check {
    const struct config *config;
    const char *root;
    const char *release;
    FILE *out;
};

/* What the exports stand on that need the helper. */
struct kernel_side {
    bool usb_drivers;    /* for export = usb */
    bool nbd_driver;     /* for export = kernel */
    bool gadget_drivers; /* for its USB drives */
    bool helper;
    unsigned controllers;
    unsigned free_controllers;
    unsigned devices; /* of the slots so far: each needs a controller */
};

__attribute__((format(printf, 3, 4))) static bool say(const struct check *c, bool good,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs(good ? "ok  " : "no  ", c->out);
    vfprintf(c->out, format, args);
    fputc('\n', c->out);
    va_end(args);
    return good;
}

static bool check_directory(const struct check *c, const char *what, const char *path, int mode,
                            const char *mend)
{
    if (access(path, mode) == 0)
        return say(c, true, "%s: %s", what, path);
    return say(c, false, "%s: %s: %s; %s", what, path, strerror(errno), mend);
}

static int try_listen(const struct config_listen *at)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    cleanup_fd int fd = -1;
    char port[8];
    int yes = 1;
    int r = 0;

    snprintf(port, sizeof port, "%u", at->port);
    if (getaddrinfo(at->host, port, &hints, &found) != 0)
        return -EADDRNOTAVAIL;
    fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0)
        r = -errno;
    else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
             (found->ai_family == AF_INET6 &&
              setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) < 0) ||
             bind(fd, found->ai_addr, found->ai_addrlen) < 0)
        r = -errno;
    freeaddrinfo(found);
    return r;
}

static void check_listen(const struct check *c, const struct config_listen *at)
{
    const char *left = strchr(at->host, ':') ? "[" : "";
    const char *right = left[0] ? "]" : "";
    int r = try_listen(at);

    if (r == 0)
        say(c, true, "page: http://%s%s%s:%u/", left, at->host, right, at->port);
    else if (r == -EADDRINUSE)
        say(c, false,
            "page: %s%s%s:%u is in use by a platterd that runs already, or by another program; "
            "then choose another port in [daemon] listen",
            left, at->host, right, at->port);
    else
        say(c, false, "page: %s%s%s:%u: %s; choose another address in [daemon] listen", left,
            at->host, right, at->port, strerror(-r));
}

/* `use`: what it is for, in the line's own words; `instead`: an export that does without. */
static bool check_driver(const struct check *c, const char *module, const char *option,
                         const char *use, const char *instead)
{
    switch (driver_find(c->root, c->release, module)) {
    case DRIVER_THERE:
        return say(c, true, "%s (%s)", module, use);
    case DRIVER_LOADABLE:
        return say(c, true, "%s (%s): not loaded; platter-helper does it (modprobe %s%s)", module,
                   use, module, option);
    case DRIVER_MISSING:
        break;
    }
    return say(c, false,
               "%s (%s): the kernel %s has no such driver; install its modules package or build "
               "it, or use export = %s",
               module, use, c->release, instead);
}

static bool is_ours(const struct probe_controller *controller)
{
    return strncmp(controller->gadget, "platter-", strlen("platter-")) == 0;
}

static void check_controllers(const struct check *c, struct kernel_side *side)
{
    struct probe_controller found;

    while (probe_controller(c->root, side->controllers, &found) == 0) {
        side->controllers++;
        if (found.gadget[0] == '\0') {
            side->free_controllers++;
            say(c, true, "USB device controller %s: free, link %s", found.name, found.state);
        } else if (is_ours(&found)) {
            side->free_controllers++;
            say(c, true, "USB device controller %s: carries Platter's own %s, link %s", found.name,
                found.gadget, found.state);
        } else {
            say(c, false,
                "USB device controller %s: in use by the gadget %s; remove that "
                "(/sys/kernel/config/usb_gadget/%s) or leave it and use another controller",
                found.name, found.gadget, found.gadget);
        }
    }
    if (side->controllers > 0)
        return;
    if (probe_is_raspberry_pi(c->root))
        say(c, false,
            "USB device controller: none; put dtoverlay=dwc2,dr_mode=peripheral into config.txt, "
            "restart, and connect the machine to the USB-C port (Pi 4, 5) or the inner one (Zero)");
    else
        say(c, false,
            "USB device controller: none; enable the board's (device tree: dr_mode = "
            "\"peripheral\"), or load dummy_hcd to try it out on this machine alone");
}

static bool check_helper(const struct check *c)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const char *path = c->config->helper_socket;

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return say(c, true, "platter-helper: answers at %s", path);
    if (errno == EACCES || errno == EPERM)
        return say(c, false,
                   "platter-helper: does not admit this user at %s; run platterd as the user that "
                   "[helper] user names (%s)",
                   path, c->config->helper_user);
    return say(c, false, "platter-helper: %s: %s; start it (systemctl start platter-helper)", path,
               strerror(errno));
}

static bool has_export(const struct config_slot *slot, const char *name)
{
    return strcmp(slot->export_name, name) == 0;
}

static bool has_driver(const struct check *c, const char *module)
{
    return driver_find(c->root, c->release, module) != DRIVER_MISSING;
}

static void check_kernel_side(const struct check *c, struct kernel_side *side)
{
    bool usb = false, kernel = false, gadget = false;
    const char *not_usb = has_driver(c, "usb_f_mass_storage") ? "kernel" : "unix";
    const char *not_kernel = "unix";

    for (size_t i = 0; i < c->config->slot_count; i++) {
        const struct config_slot *slot = &c->config->slots[i];

        usb = usb || has_export(slot, "usb");
        kernel = kernel || has_export(slot, "kernel");
        gadget = gadget || (has_export(slot, "kernel") && config_is_usb_drive(slot));
    }
    if (!usb && !kernel)
        return;
    if (gadget && has_driver(c, "usb_f_fs"))
        not_kernel = "usb";
    if (usb || gadget)
        side->usb_drivers = side->gadget_drivers =
            check_driver(c, "libcomposite", "", "USB gadgets", "unix");
    if (usb && !check_driver(c, "usb_f_fs", "", "FunctionFS, for export = usb", not_usb))
        side->usb_drivers = false;
    if (kernel)
        side->nbd_driver =
            check_driver(c, "nbd", " max_part=0", "block devices, for export = kernel", not_kernel);
    if (gadget &&
        !check_driver(c, "usb_f_mass_storage", "", "USB drives, for export = kernel", not_kernel))
        side->gadget_drivers = false;
    if (usb || gadget)
        check_controllers(c, side);
    side->helper = check_helper(c);
}

static bool has_drivers(const struct config_slot *slot, const struct kernel_side *side)
{
    if (has_export(slot, "usb"))
        return side->usb_drivers;
    return side->nbd_driver && (side->gadget_drivers || !config_is_usb_drive(slot));
}

/* Whether the controller that a slot names can be its own: 1, 0, or -ENODEV when there is none. */
static int named_controller(const struct check *c, const char *name)
{
    struct probe_controller found;

    for (unsigned i = 0; probe_controller(c->root, i, &found) == 0; i++) {
        if (strcmp(found.name, name) == 0)
            return found.gadget[0] == '\0' || is_ours(&found);
    }
    return -ENODEV;
}

/* Why there is no USB device controller for this slot, with the line said; or true. */
static bool check_controller(const struct check *c, unsigned n, struct kernel_side *side)
{
    const struct config_slot *slot = &c->config->slots[n];
    int named = 1;

    if (has_export(slot, "usb") && config_usb_first(c->config, n) != n)
        return true; /* its USB device has been counted */
    if (strcmp(slot->udc, "auto") != 0)
        named = named_controller(c, slot->udc);
    if (named < 0)
        return say(c, false,
                   "slot %u, %s: there is no USB device controller %s; say udc = auto, or a name "
                   "from above",
                   n, slot->name, slot->udc);
    if (named == 0)
        return say(c, false,
                   "slot %u, %s: its USB device controller %s is in use by another gadget; remove "
                   "that, or say udc = auto",
                   n, slot->name, slot->udc);
    if (++side->devices > side->free_controllers)
        return say(c, false,
                   "slot %u, %s: needs a USB device controller of its own, and %u of %u are left "
                   "for Platter; drives with export = usb can share one (usb_device)",
                   n, slot->name, side->free_controllers, side->controllers);
    return true;
}

static bool check_slot(const struct check *c, unsigned n, bool runtime, struct kernel_side *side)
{
    const struct config_slot *slot = &c->config->slots[n];
    const char *because = "";
    bool usb = has_export(slot, "usb");
    unsigned first = usb ? config_usb_first(c->config, n) : n;

    if (has_export(slot, "unix"))
        return runtime ? say(c, true, "slot %u, %s: nbd+unix:///?socket=%s", n, slot->name,
                             slot->socket_path)
                       : say(c, false, "slot %u, %s: needs the runtime directory", n, slot->name);
    if (!has_drivers(slot, side) || !side->helper)
        return say(c, false, "slot %u, %s: needs what is missing above", n, slot->name);
    if (config_is_usb_drive(slot) && !check_controller(c, n, side))
        return false;
    if (slot->export_auto)
        because =
            usb ? " (auto: the kernel has FunctionFS)" : " (auto: the kernel has no FunctionFS)";
    if (first != n)
        return say(c, true, "slot %u, %s: a drive of the USB device of slot %u, export %s%s", n,
                   slot->name, first, slot->export_name, because);
    return say(c, true, "slot %u, %s: %s, export %s%s", n, slot->name,
               config_is_usb_drive(slot) ? "a USB drive" : "an nbd device", slot->export_name,
               because);
}

/* Where web servers are to listen: they make the socket, but not its directory. */
static void check_dbus(const struct check *c)
{
    for (unsigned i = 0; i < c->config->slot_count; i++) {
        const char *path = c->config->slots[i].dbus_socket;
        char directory[sizeof c->config->slots[i].dbus_socket];

        snprintf(directory, sizeof directory, "%s", path);
        strrchr(directory, '/')[1] = '\0';
        if (access(directory, X_OK) == 0)
            say(c, true, "D-Bus: slot %u: its callers listen at %s", i, path);
        else
            say(c, false,
                "D-Bus: slot %u: %s: %s; make it for those who call and the user that platterd "
                "runs as (systemd-tmpfiles --create), or name another place with dbus_socket",
                i, directory, strerror(errno));
    }
}

int check_report(const struct config *config, const char *root, const char *release, FILE *out)
{
    struct check c = {.config = config, .root = root, .release = release, .out = out};
    struct kernel_side side = {0};
    bool all = true;
    bool runtime;

    runtime = check_directory(&c, "runtime directory", config->runtime_dir, W_OK | X_OK,
                              "create it for the user that platterd runs as");
    if (*config->page_dir)
        check_directory(&c, "page", config->page_dir, R_OK | X_OK,
                        "install the page, or name its directory with [daemon] page");
    for (size_t i = 0; i < config->listen_count; i++)
        check_listen(&c, &config->listen[i]);
    if (config->dbus_enabled)
        check_dbus(&c);
    check_kernel_side(&c, &side);
    for (unsigned i = 0; i < config->slot_count; i++)
        all = check_slot(&c, i, runtime, &side) && all;
    return all ? 0 : 1;
}

int check_run(const struct config *config)
{
    struct utsname system;

    if (uname(&system) < 0)
        snprintf(system.release, sizeof system.release, "unknown");
    return check_report(config, "", system.release, stdout);
}
