/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd-proxy: serves one drive from an NBD server at its stdin and stdout, for a web server that
 * starts it with pipes there. What platterd does for a page, it does for this one far end: the same
 * slot, engine and exports, with a platter-helper of its own.
 *
 * The session is the process. It ends at the end of stdin, when nobody reads stdout any more, at
 * SIGTERM or SIGINT, when the machine ejects the drive, and on any failure. The first three mean
 * the same: the far end is gone, and whoever started this process waits for it to end. So then
 * nothing is read any more, and after LEAVE_MS it leaves what still stands to its helper, which
 * takes that away by itself, and to the hook's "stop".
 *
 * Always holds: descriptors 0 and 1 are /dev/null once the stream has them, so that no child holds
 * the far end's pipes open.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/driver.h"
#include "base/log.h"
#include "base/loop.h"
#include "export/table.h"
#include "export/usb-device.h"
#include "nbd-proxy/config.h"
#include "nbd-proxy/helper.h"
#include "nbd-proxy/hook.h"
#include "nbd-proxy/hooked.h"
#include "priv/priv.h"
#include "slot/slot.h"
#include "transport/unix.h"

#define DEFAULT_CONFIG  "/etc/nbd-proxy/config.json"
#define DEFAULT_RUN_DIR "/run/nbd-proxy"
/* platterd counts its slots from 0 up, and names in the kernel go by the slot. */
#define SLOT_LAST 15
#define CACHE     (32u << 20)
/* From the loss of the far end to the end of this process, which has a second. */
#define LEAVE_MS 500
/* Milliseconds of the hook: on the way up it may read a partition table over a slow line. */
#define HOOK_START_MS 30000
#define HOOK_STOP_MS  10000

struct options {
    const char *config_path;
    const char *run_dir;
    const char *helper;
    const char *name; /* NULL: the default configuration */
    bool metadata;
};

struct proxy {
    struct options options;
    struct proxy_file file;
    struct proxy_config config; /* the one of it that is served */
    unsigned slot_number;
    bool usb;    /* else kernel */
    bool gadget; /* Platter's own */
    char hook_path[256];
    bool hooked;
    char serial[33];
    struct loop *loop;
    struct loop_signal *terminate, *interrupt;
    struct loop_timer *limit;
    struct own_helper *helper;
    struct priv *priv;
    struct usb_device *device;
    struct slot *slot;
    bool ends;   /* the session is over, and what it stood on is going */
    bool left;   /* to the helper: nothing is freed */
    bool failed; /* the exit code */
};

static const char usage[] =
    "usage: nbd-proxy [CONFIGURATION]\n"
    "       nbd-proxy --metadata\n"
    "Gives this machine's host a drive from an NBD server on stdin and stdout.\n"
    "\n"
    "  --metadata      print the metadata of all configurations as JSON, and exit\n"
    "  --config FILE   the configurations (default " DEFAULT_CONFIG ");\n"
    "                  the hook is the program `state` beside it\n"
    "  --run-dir DIR   where a session has its files (default " DEFAULT_RUN_DIR ")\n"
    "  --helper FILE   the program platter-helper\n"
    "  --version       print the version, and exit\n"
    "  --help          print this, and exit\n";

/* ---- the end ---- */

static void proxy_over(void *arg)
{
    struct proxy *p = arg;

    loop_stop(p->loop);
}

static void proxy_device_gone(void *arg)
{
    struct proxy *p = arg;

    /* Before its other end goes, which would be worth a line in the log. */
    priv_free(p->priv);
    p->priv = NULL;
    own_helper_stop(p->helper, proxy_over, p);
}

static void proxy_hurry(void *arg)
{
    struct proxy *p = arg;

    if (p->ends)
        return;
    p->ends = true;
    loop_timer_set(p->limit, LEAVE_MS);
}

static void proxy_leave(void *arg)
{
    struct proxy *p = arg;

    log_warn("the drive is not gone after %d ms; platter-helper%s takes it away", LEAVE_MS,
             p->hooked ? " and the hook's stop, if that still runs," : "");
    p->left = true;
    loop_stop(p->loop);
}

static bool is_good_end(enum stream_close cause)
{
    return cause == STREAM_CLOSE_NORMAL || cause == STREAM_CLOSE_EJECTED ||
           cause == STREAM_CLOSE_SHUTDOWN;
}

static void proxy_idle(void *arg)
{
    struct proxy *p = arg;
    static struct slot_status status;

    slot_get_status(p->slot, &status);
    if (!is_good_end(status.why))
        p->failed = true;
    proxy_hurry(p);
    if (p->device)
        usb_device_stop(p->device, proxy_device_gone, p);
    else
        proxy_device_gone(p);
}

/* There is one session: what comes once it is over is of no interest. */
static void proxy_stepped(void *arg, unsigned number)
{
    struct proxy *p = arg;

    (void)number;
    if (!slot_is_idle(p->slot))
        return;
    slot_watch(p->slot, NULL, NULL);
    proxy_idle(p);
}

static void proxy_stop(void *arg)
{
    struct proxy *p = arg;

    slot_cut(p->slot, "nbd-proxy was told to stop.");
}

static void proxy_helper_lost(void *arg, const char *reason)
{
    struct proxy *p = arg;

    p->failed = true;
    slot_end(p->slot, STREAM_CLOSE_FAILED, reason);
}

/* ---- the beginning ---- */

/* What is to be made of the configuration, on this machine. */
static int proxy_decide(struct proxy *p, char *error, size_t room)
{
    const struct proxy_config *config = &p->config;

    if (hook_beside(p->options.config_path, p->hook_path, sizeof p->hook_path) < 0) {
        snprintf(error, room, "The path of the configuration is too long.");
        return -ENAMETOOLONG;
    }
    p->slot_number = SLOT_LAST - config->number;
    p->hooked = hook_is_there(p->hook_path);
    /* A hook makes the gadget, unless the configuration asks for Platter's. */
    p->gadget = config->gadget == PROXY_GADGET_OWN || config->export_kind == PROXY_EXPORT_USB ||
                (config->gadget == PROXY_GADGET_UNSAID && !p->hooked);
    p->usb = config->export_kind == PROXY_EXPORT_USB ||
             (config->export_kind == PROXY_EXPORT_AUTO && p->gadget &&
              driver_find_here("usb_f_fs") != DRIVER_MISSING);
    if (config->serial[0])
        snprintf(p->serial, sizeof p->serial, "%s", config->serial);
    else
        snprintf(p->serial, sizeof p->serial, "504C4154544552%02X", p->slot_number);
    return 0;
}

/* The drive, as the helper's configuration has it. */
static void proxy_keys(const struct proxy *p, char *out, size_t room)
{
    const struct proxy_config *config = &p->config;
    FILE *file = fmemopen(out, room, "w");

    out[0] = '\0';
    if (!file)
        return;
    fprintf(file, "export = %s\nserial = %s\n", p->usb ? "usb" : "kernel", p->serial);
    fprintf(file, "usb_id = %s\n", config->usb_id);
    if (!p->usb)
        fprintf(file, "nbd = %s\ngadget = %s\n", config->nbd, p->gadget ? "yes" : "no");
    if (config->vendor[0])
        fprintf(file, "vendor = %s\n", config->vendor);
    if (config->product[0])
        fprintf(file, "product = %s\n", config->product);
    if (config->udc[0])
        fprintf(file, "udc = %s\n", config->udc);
    fclose(file);
}

static int proxy_helper_new(struct proxy *p, char *error, size_t room)
{
    char keys[512];
    int r;

    proxy_keys(p, keys, sizeof keys);
    r = own_helper_new(
        &(struct own_helper_config){
            .loop = p->loop,
            .program = p->options.helper,
            .run_dir = p->options.run_dir,
            .slot = p->slot_number,
            .keys = keys,
            .lost = proxy_helper_lost,
            .arg = p,
        },
        &p->helper, error, room);
    if (r == 0)
        r = priv_new(p->loop, own_helper_socket(p->helper), &p->priv);
    return r;
}

static int proxy_device_new(struct proxy *p)
{
    const struct proxy_config *config = &p->config;
    struct usb_drive_config drive = {.kind = config->is_cd ? MEDIUM_CD : MEDIUM_DISK};

    snprintf(drive.vendor, sizeof drive.vendor, "%s",
             config->vendor[0] ? config->vendor : "Platter");
    snprintf(drive.product, sizeof drive.product, "%s", config->product);
    snprintf(drive.serial, sizeof drive.serial, "%s", p->serial);
    return usb_device_new(
        &(struct usb_device_config){
            .loop = p->loop,
            .priv = p->priv,
            .slot = p->slot_number,
            .drive_count = 1,
            .drives = &drive,
        },
        &p->device);
}

static int proxy_export_new(struct proxy *p, struct export **out)
{
    struct export_config config = {
        .loop = p->loop,
        .slot = p->slot_number,
        .priv = p->priv,
        .device_only = !p->gadget,
    };
    struct export *made = NULL;
    int r = p->usb ? proxy_device_new(p) : 0;

    config.usb_device = p->device;
    if (r == 0)
        r = export_find(p->usb ? "usb" : "kernel")->new (&config, &made);
    if (r == 0 && p->hooked) {
        r = hooked_new(p->loop, made,
                       &(struct hooked_config){
                           .hook = p->hook_path,
                           .name = p->config.name,
                           .lock = own_helper_hook_lock(p->helper),
                           .start_limit = HOOK_START_MS,
                           .stop_limit = HOOK_STOP_MS,
                       },
                       out);
        if (r < 0)
            export_free(made);
    } else if (r == 0) {
        *out = made;
    }
    return r;
}

static int proxy_slot_new(struct proxy *p)
{
    struct slot_config config = {
        .loop = p->loop,
        .number = p->slot_number,
        .name = p->config.name,
        .export_name = p->usb ? "usb" : "kernel",
        .cache_max = CACHE,
        .grace = p->file.timeout > 0 ? p->file.timeout : UINT32_MAX,
        /* The gadget is that of a read-only drive; an nbd device alone is what the far end says. */
        .read_only = p->gadget,
    };
    int r = proxy_export_new(p, &config.take_export);

    if (r < 0)
        return r;
    r = slot_new(&config, &p->slot);
    if (r < 0) {
        export_free(config.take_export);
        return r;
    }
    slot_watch(p->slot, proxy_stepped, p);
    slot_watch_cut(p->slot, proxy_hurry, p);
    return 0;
}

/* 0, or -errno and one sentence. */
static int proxy_new(struct proxy *p, char *error, size_t room)
{
    int r = proxy_decide(p, error, room);

    if (r < 0)
        return r;
    r = loop_new(&p->loop);
    if (r == 0)
        r = loop_timer_new(p->loop, proxy_leave, p, &p->limit);
    if (r < 0) {
        snprintf(error, room, "The event loop does not start: %s.", strerror(-r));
        return r;
    }
    r = proxy_helper_new(p, error, room);
    if (r < 0)
        return r;
    r = proxy_slot_new(p);
    if (r == 0)
        r = loop_signal_new(p->loop, SIGTERM, proxy_stop, p, &p->terminate);
    if (r == 0)
        r = loop_signal_new(p->loop, SIGINT, proxy_stop, p, &p->interrupt);
    if (r < 0)
        snprintf(error, room, "The drive cannot be made ready: %s.", strerror(-r));
    return r;
}

/* After the loop has ended, or instead of it. */
static void proxy_free(struct proxy *p)
{
    slot_free(p->slot);
    usb_device_free(p->device);
    if (p->priv)
        priv_free(p->priv);
    own_helper_free(p->helper);
    loop_timer_free(p->limit);
    loop_signal_free(p->interrupt);
    loop_signal_free(p->terminate);
    loop_free(p->loop);
    proxy_file_done(&p->file);
}

/* ---- stdin and stdout ---- */

static int check_descriptor(int fd, const char *name, char *error, size_t room)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        return 0;
    snprintf(error, room,
             "%s is %s: nbd-proxy speaks NBD there, with a server that whoever starts it must put "
             "at the other end of a pipe or a socket.",
             name, isatty(fd) ? "a terminal" : "neither a pipe nor a socket");
    return -ENOTSOCK;
}

/* The far end, as a stream; 0, or -errno and one sentence. */
static int take_far_end(struct proxy *p, struct stream **out, char *error, size_t room)
{
    int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int to = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int r = 0;

    if (in < 0 || to < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(null, STDOUT_FILENO) < 0)
        r = -errno;
    if (null >= 0)
        close(null);
    if (r == 0)
        r = stream_pipes_new(p->loop, in, to, out);
    if (r < 0)
        snprintf(error, room, "stdin and stdout cannot be used: %s.", strerror(-r));
    return r;
}

/* 0, or -errno and one sentence. */
static int serve(struct proxy *p, char *error, size_t room)
{
    struct stream *far_end = NULL;
    int r = check_descriptor(STDIN_FILENO, "stdin", error, room);

    if (r == 0)
        r = check_descriptor(STDOUT_FILENO, "stdout", error, room);
    if (r == 0)
        r = proxy_new(p, error, room);
    if (r == 0)
        r = take_far_end(p, &far_end, error, room);
    if (r < 0)
        return r;
    log_info("configuration \"%s\" is slot %u", p->config.name, p->slot_number);
    slot_open(p->slot, far_end,
              &(struct slot_offer){
                  .kind = p->config.is_cd ? MEDIUM_CD : MEDIUM_DISK,
                  .name = p->config.name,
                  .modified = -1,
                  .profile = "openbmc",
                  .ends_with_line = true,
              });
    loop_run(p->loop);
    return 0;
}

/* ---- the process ---- */

/* 0: go on; 1: done, with success; -1: done, with failure. */
static int options_read(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"run-dir", required_argument, NULL, 'r'},
        {"helper", required_argument, NULL, 'p'},
        {"metadata", no_argument, NULL, 'm'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            o->config_path = optarg;
            break;
        case 'r':
            o->run_dir = optarg;
            break;
        case 'p':
            o->helper = optarg;
            break;
        case 'm':
            o->metadata = true;
            break;
        case 'v':
            puts("nbd-proxy " PLATTER_VERSION);
            return 1;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs("Try nbd-proxy --help.\n", stderr);
            return -1;
        }
    }
    if (optind + 1 < argc) {
        log_error("there is one session a process: name one configuration, not %d", argc - optind);
        return -1;
    }
    o->name = argv[optind];
    return 0;
}

static int print_metadata(const struct proxy *p)
{
    char *text = proxy_file_metadata(&p->file);

    if (!text) {
        log_error("there is not enough memory for the metadata");
        return 1;
    }
    puts(text);
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    static struct proxy p = {.options = {.config_path = DEFAULT_CONFIG,
                                         .run_dir = DEFAULT_RUN_DIR,
                                         .helper = PLATTER_HELPER}};
    struct rlimit none = {0, 0};
    char error[512];
    int r;

    /* Whoever starts it sends its stderr nowhere, most likely; for the helper too. */
    setenv("PLATTER_SYSLOG", "1", 1);
    log_init("nbd-proxy");
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &none);
    r = options_read(argc, argv, &p.options);
    if (r != 0)
        return r < 0 ? 1 : 0;
    r = proxy_file_read(p.options.config_path, &p.file, error, sizeof error);
    if (r == 0 && p.options.metadata) {
        r = print_metadata(&p);
        proxy_file_done(&p.file);
        return r;
    }
    if (r == 0) {
        const struct proxy_config *found =
            proxy_file_find(&p.file, p.options.config_path, p.options.name, error, sizeof error);

        if (found)
            p.config = *found;
        else
            r = -ENOENT;
    }
    if (r == 0)
        r = serve(&p, error, sizeof error);
    if (r < 0)
        log_error("%s", error);
    if (!p.left)
        proxy_free(&p);
    return r < 0 || p.failed ? 1 : 0;
}
