// SPDX-License-Identifier: Apache-2.0
/*
 * Joins what the control endpoint tells (usb-ep0.h) to the functions (usb-function.h).
 *
 * Who owns what: the descriptors, the control endpoint, the AIO context and the functions are made
 * and freed here; drives, ports and journal are the device's (usb-device.h).
 *
 * What always holds: functions are made only when the control endpoint has caught up, that is, when
 * all that happened to the device before is known. A device that was adopted goes on where it was
 * only if nothing had: after a reset of the bus the machine would take the late answer to an old
 * command for the answer to a new one.
 *
 * Whether the endpoints are enabled is asked of them, not concluded from events: the last event may
 * be outdated.
 */
#include "export/usb-functions.h"

#include <endian.h>
#include <errno.h>
#include <linux/usb/functionfs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "export/usb-aio.h"
#include "export/usb-ep0.h"
#include "export/usb-function.h"

#define FUNCTIONS_MAX 16

struct part {
    struct usb_functions *all;
    unsigned number;
    int out_fd, in_fd;
    struct usb_function *function; /* NULL: not made yet */
};

struct usb_functions {
    struct usb_functions_config config;
    int ep0_fd;
    struct usb_ep0 *ep0; /* NULL: closed, or quiesced */
    struct usb_aio *aio;
    struct part parts[FUNCTIONS_MAX];
    bool heard;     /* of the bus, since this process has the device */
    unsigned going; /* functions that are not yet quiesced, or closed; and one while asking them */
    void (*done)(void *arg);
    void *done_arg;
};

static unsigned drives_of_each(const struct usb_functions *f)
{
    return f->config.count == 1 ? f->config.drive_count : 1;
}

/* The endpoints' packets, in bytes; 0: they are not enabled. */
static unsigned packet_of(const struct part *p)
{
    struct usb_endpoint_descriptor descriptor;

    if (ioctl(p->out_fd, FUNCTIONFS_ENDPOINT_DESC, &descriptor) < 0)
        return 0;
    return le16toh(descriptor.wMaxPacketSize);
}

static void follow_bus(struct part *p)
{
    unsigned packet = packet_of(p);

    if (packet != 0)
        usb_function_enable(p->function, packet);
    else
        usb_function_disable(p->function);
}

static void on_bus(void *arg)
{
    struct usb_functions *f = arg;

    f->heard = true;
    for (unsigned i = 0; i < f->config.count; i++) {
        if (f->parts[i].function)
            follow_bus(&f->parts[i]);
    }
}

static void on_reset(void *arg, unsigned function)
{
    struct usb_functions *f = arg;

    f->heard = true;
    if (f->parts[function].function)
        usb_function_reset(f->parts[function].function);
}

static void on_drive(void *arg, unsigned drive, unsigned events)
{
    struct part *p = arg;
    const struct usb_functions_config *config = &p->all->config;

    if (p->all->ep0)
        config->events->drive_events(config->arg, p->number * drives_of_each(p->all) + drive,
                                     events);
}

static int make_function(struct part *p)
{
    const struct usb_functions_config *config = &p->all->config;
    unsigned first = p->number * drives_of_each(p->all);

    return usb_function_new(
        &(struct usb_function_config){
            .loop = config->loop,
            .aio = p->all->aio,
            .out_fd = p->out_fd,
            .in_fd = p->in_fd,
            .drives = config->drives + first,
            .ports = config->ports + first,
            .count = drives_of_each(p->all),
            .journal = config->journal,
            .index = p->number,
            .first_drive = first,
            .drive_events = on_drive,
            .arg = p,
        },
        &p->function);
}

static void on_caught_up(void *arg)
{
    struct usb_functions *f = arg;
    bool resumes = f->config.adopted && !f->heard;

    for (unsigned i = 0; i < f->config.count; i++) {
        struct part *p = &f->parts[i];
        int r = make_function(p);

        if (r < 0) {
            f->config.events->failed(f->config.arg, r);
            return;
        }
        if (resumes)
            usb_function_resume(p->function);
        else if (packet_of(p) != 0)
            follow_bus(p);
    }
    f->config.events->ready(f->config.arg);
}

static void on_failed(void *arg, int error)
{
    struct usb_functions *f = arg;

    f->config.events->failed(f->config.arg, error);
}

static const struct usb_ep0_events ep0_events = {
    .enabled = on_bus,
    .disabled = on_bus,
    .reset = on_reset,
    .caught_up = on_caught_up,
    .failed = on_failed,
};

int usb_functions_new(const struct usb_functions_config *config, struct usb_functions **out)
{
    struct usb_functions *f = calloc(1, sizeof *f);
    int r;

    if (!f) {
        for (unsigned i = 0; i < 1 + 2 * config->count; i++)
            close(config->take_fds[i]);
        return -ENOMEM;
    }
    f->config = *config;
    f->ep0_fd = config->take_fds[0];
    for (unsigned i = 0; i < config->count; i++) {
        f->parts[i] = (struct part){
            .all = f,
            .number = i,
            .out_fd = config->take_fds[1 + 2 * i],
            .in_fd = config->take_fds[2 + 2 * i],
        };
    }
    r = usb_aio_new(config->loop, config->count * USB_FUNCTION_DEPTH, &f->aio);
    if (r == 0)
        r = usb_ep0_new(
            &(struct usb_ep0_config){
                .loop = config->loop,
                .fd = f->ep0_fd,
                .functions = config->count,
                .luns = drives_of_each(f),
                .events = &ep0_events,
                .arg = f,
            },
            &f->ep0);
    if (r < 0) {
        usb_functions_free(f);
        return r;
    }
    *out = f;
    return 0;
}

static void one_done(void *arg)
{
    struct usb_functions *f = arg;

    if (--f->going == 0)
        f->done(f->done_arg);
}

/* Asks it of each function; `done` when all have. */
static void ask_all(struct usb_functions *f,
                    void (*ask)(struct usb_function *f, void (*done)(void *arg), void *arg),
                    void (*done)(void *arg), void *arg)
{
    f->done = done;
    f->done_arg = arg;
    f->going = 1;
    for (unsigned i = 0; i < f->config.count; i++) {
        if (f->parts[i].function) {
            f->going++;
            ask(f->parts[i].function, one_done, f);
        }
    }
    one_done(f);
}

static void close_ep0(struct usb_functions *f)
{
    usb_ep0_free(f->ep0);
    f->ep0 = NULL;
}

/* What happens to the bus from here on is for the next process to hear. */
void usb_functions_quiesce(struct usb_functions *f, void (*done)(void *arg), void *arg)
{
    close_ep0(f);
    ask_all(f, usb_function_quiesce, done, arg);
}

void usb_functions_close(struct usb_functions *f, void (*done)(void *arg), void *arg)
{
    close_ep0(f);
    ask_all(f, usb_function_close, done, arg);
}

void usb_functions_free(struct usb_functions *f)
{
    if (!f)
        return;
    usb_ep0_free(f->ep0);
    for (unsigned i = 0; i < f->config.count; i++) {
        usb_function_free(f->parts[i].function);
        close(f->parts[i].out_fd);
        close(f->parts[i].in_fd);
    }
    usb_aio_free(f->aio);
    close(f->ep0_fd);
    free(f);
}
