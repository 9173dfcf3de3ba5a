/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nbd driver's netlink family (linux/nbd-netlink.h). A fresh netlink socket for every call: the
 * processes that call here live for one job.
 *
 * The settings of CONNECT are each there for a reason. TIMEOUT 0, said aloud, means the kernel only
 * warns of a slow answer; any other value kills a slow but living session. DEAD_CONN_TIMEOUT lets
 * requests wait for a RECONFIGURE when the socket dies. The size is that of whole sectors.
 *
 * When a socket dies: requests that come later wait inside the driver, for DEAD_CONN_TIMEOUT at
 * most, and wake with the new one. Those in flight are looked at only when their timer fires, each
 * time it does (queue/io_timeout), and are asked again then if there is a new socket. TIMEOUT must
 * not be part of that RECONFIGURE: it would set that timer to 30 s again.
 */
#include "priv/ops-nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sysfile.h"
#include "priv/module.h"

#define INDEX_MAX 256
/* How often, and how far apart in ms, the driver is offered a socket before it counts as stuck. */
#define RECONNECT_TRIES 200
#define RECONNECT_PAUSE 10
/* As often a device is looked at that is about to be let go. */
#define CLOSE_TRIES 200

struct call {
    struct nl_sock *socket;
    struct nl_msg *message;
};

static void call_done(struct call *call)
{
    nlmsg_free(call->message);
    nl_socket_free(call->socket);
}

/* Opens a socket and begins a message. 0, -ENOENT when the kernel has no such family, or -errno. */
static int call_begin(struct call *call, uint8_t command)
{
    int family;

    *call = (struct call){.socket = nl_socket_alloc(), .message = nlmsg_alloc()};
    if (!call->socket || !call->message)
        goto no_memory;
    if (genl_connect(call->socket) < 0) {
        call_done(call);
        return -EIO;
    }
    family = genl_ctrl_resolve(call->socket, NBD_GENL_FAMILY_NAME);
    if (family < 0) {
        call_done(call);
        return -ENOENT;
    }
    if (!genlmsg_put(call->message, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, command,
                     NBD_GENL_VERSION))
        goto no_memory;
    return 0;

no_memory:
    call_done(call);
    return -ENOMEM;
}

static int keep_errno(struct sockaddr_nl *from, struct nlmsgerr *error, void *arg)
{
    (void)from;
    *(int *)arg = error->error;
    return NL_STOP;
}

static int seen_ack(struct nl_msg *message, void *arg)
{
    (void)message;
    *(int *)arg = 0;
    return NL_STOP;
}

/* Sends the message and waits for the kernel's word, which is its own -errno. */
static int call_end(struct call *call)
{
    int verdict = 1;
    int r;

    nl_socket_modify_err_cb(call->socket, NL_CB_CUSTOM, keep_errno, &verdict);
    nl_socket_modify_cb(call->socket, NL_CB_ACK, NL_CB_CUSTOM, seen_ack, &verdict);
    r = nl_send_auto(call->socket, call->message);
    while (r >= 0 && verdict > 0)
        r = nl_recvmsgs_default(call->socket);
    call_done(call);
    return verdict <= 0 ? verdict : -EIO;
}

int nbd_dev_load(char *reason, size_t room)
{
    struct call call;

    if (call_begin(&call, NBD_CMD_STATUS) == -ENOENT) {
        /* No partitions: they are the machine's business, and looking for them costs reads. */
        module_load("nbd", "max_part=0");
        if (call_begin(&call, NBD_CMD_STATUS) < 0) {
            snprintf(reason, room,
                     "The kernel has no nbd driver and `modprobe nbd` did not bring it: install "
                     "or build the module, or give the slot export = unix.");
            return -ENODEV;
        }
    }
    call_done(&call);
    return 0;
}

static bool put_socket(struct nl_msg *m, int fd)
{
    struct nlattr *sockets = nla_nest_start(m, NBD_ATTR_SOCKETS);
    struct nlattr *item = sockets ? nla_nest_start(m, NBD_SOCK_ITEM) : NULL;

    if (!item || nla_put_u32(m, NBD_SOCK_FD, (uint32_t)fd) < 0)
        return false;
    nla_nest_end(m, item);
    nla_nest_end(m, sockets);
    return true;
}

int nbd_dev_connect(const struct nbd_dev_connect *how)
{
    uint64_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH;
    struct call call;
    int r = call_begin(&call, NBD_CMD_CONNECT);

    if (r < 0)
        return r;
    if (how->read_only)
        flags |= NBD_FLAG_READ_ONLY;
    if (nla_put_u32(call.message, NBD_ATTR_INDEX, how->index) < 0 ||
        nla_put_u64(call.message, NBD_ATTR_SIZE_BYTES, how->size) < 0 ||
        nla_put_u64(call.message, NBD_ATTR_BLOCK_SIZE_BYTES, how->block_size) < 0 ||
        nla_put_u64(call.message, NBD_ATTR_TIMEOUT, 0) < 0 ||
        nla_put_u64(call.message, NBD_ATTR_DEAD_CONN_TIMEOUT, how->dead_seconds) < 0 ||
        nla_put_u64(call.message, NBD_ATTR_SERVER_FLAGS, flags) < 0 ||
        nla_put_string(call.message, NBD_ATTR_BACKEND_IDENTIFIER, how->mark) < 0 ||
        !put_socket(call.message, how->fd)) {
        call_done(&call);
        return -ENOMEM;
    }
    return call_end(&call);
}

/* Ignored, and 0 none the less, while the driver thinks that the socket it has is alive. */
static int offer_socket(unsigned index, const char *mark, int fd)
{
    struct call call;
    int r = call_begin(&call, NBD_CMD_RECONFIGURE);

    if (r < 0)
        return r;
    if (nla_put_u32(call.message, NBD_ATTR_INDEX, index) < 0 ||
        nla_put_string(call.message, NBD_ATTR_BACKEND_IDENTIFIER, mark) < 0 ||
        !put_socket(call.message, fd)) {
        call_done(&call);
        return -ENOMEM;
    }
    return call_end(&call);
}

/*
 * Whether anybody, the driver too, still holds the file that `watch` was told of: an epoll instance
 * knows a file for exactly as long as it is open somewhere, and a socket that was shut down is
 * always ready.
 */
static bool is_held(int watch)
{
    struct epoll_event event;

    return epoll_wait(watch, &event, 1, 0) > 0;
}

int nbd_dev_reconnect(unsigned index, const char *mark, int fd, int take_old_fd)
{
    cleanup_fd int watch = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLHUP};
    int r = watch < 0 ? -errno : 0;

    if (r == 0 && epoll_ctl(watch, EPOLL_CTL_ADD, take_old_fd, &event) < 0)
        r = -errno;
    /* Its other end went with the process that had it; were it not so, it would go now. */
    shutdown(take_old_fd, SHUT_RDWR);
    close(take_old_fd);
    for (int i = 0; i < RECONNECT_TRIES && r == 0; i++) {
        r = offer_socket(index, mark, fd);
        if (r < 0 || !is_held(watch))
            return r;
        usleep(RECONNECT_PAUSE * 1000);
    }
    return r < 0 ? r : -EBUSY;
}

int nbd_dev_forget(unsigned index)
{
    char path[32];
    cleanup_fd int fd = -1;

    snprintf(path, sizeof path, "/dev/nbd%u", index);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 || ioctl(fd, BLKFLSBUF) < 0 ? -errno : 0;
}

int nbd_dev_seal(unsigned index, const char *mark)
{
    struct call call;
    int r = call_begin(&call, NBD_CMD_RECONFIGURE);

    if (r < 0)
        return r;
    if (nla_put_u32(call.message, NBD_ATTR_INDEX, index) < 0 ||
        nla_put_u64(call.message, NBD_ATTR_CLIENT_FLAGS, NBD_CFLAG_DISCONNECT_ON_CLOSE) < 0 ||
        nla_put_string(call.message, NBD_ATTR_BACKEND_IDENTIFIER, mark) < 0) {
        call_done(&call);
        return -ENOMEM;
    }
    return call_end(&call);
}

int nbd_dev_disconnect(unsigned index)
{
    struct call call;
    int r = call_begin(&call, NBD_CMD_DISCONNECT);

    if (r < 0)
        return r;
    if (nla_put_u32(call.message, NBD_ATTR_INDEX, index) < 0) {
        call_done(&call);
        return -ENOMEM;
    }
    return call_end(&call);
}

static bool read_attribute(unsigned index, const char *attribute, char *out, size_t room)
{
    char path[96];

    snprintf(path, sizeof path, "/sys/block/nbd%u/%s", index, attribute);
    return sysfile_read(path, out, room) == 0;
}

bool nbd_dev_is_ours(unsigned index, const char *mark, pid_t pid)
{
    char text[NBD_DEV_MARK_MAX];

    /* "pid" is there exactly while the device is connected. */
    if (!read_attribute(index, "pid", text, sizeof text))
        return false;
    if (pid > 0 && atol(text) == (long)pid && !read_attribute(index, "backend", text, sizeof text))
        return true;
    return read_attribute(index, "backend", text, sizeof text) && strcmp(text, mark) == 0;
}

unsigned nbd_dev_next_free(unsigned from)
{
    char text[32];

    while (from < INDEX_MAX && read_attribute(from, "pid", text, sizeof text))
        from++;
    return from;
}

int nbd_dev_find(const char *mark)
{
    for (unsigned n = 0; n < INDEX_MAX; n++) {
        if (nbd_dev_is_ours(n, mark, 0))
            return (int)n;
    }
    return -1;
}

/* The driver keeps these over a disconnect, and hands them on with the device. */
static const struct {
    const char *attribute;
    const char *ours;
    const char *kernels;
} settings[] = {
    {"queue/read_ahead_kb", "512", "128"},
    {"bdi/max_ratio", "1", "100"},
    {"queue/io_timeout", "3000", "30000"}, /* last: only where the drive outlives its socket */
};

static void set_attribute(unsigned index, const char *attribute, const char *value)
{
    char path[96];

    snprintf(path, sizeof path, "/sys/block/nbd%u/%s", index, attribute);
    sysfile_write(path, value);
}

void nbd_dev_tune(unsigned index, bool outlives)
{
    size_t count = sizeof settings / sizeof settings[0] - !outlives;

    for (size_t i = 0; i < count; i++)
        set_attribute(index, settings[i].attribute, settings[i].ours);
}

void nbd_dev_await_close(unsigned index, const char *mark, pid_t pid)
{
    for (int i = 0; i < CLOSE_TRIES && nbd_dev_is_ours(index, mark, pid); i++)
        usleep(RECONNECT_PAUSE * 1000);
}

void nbd_dev_untune(unsigned index, const char *mark, pid_t pid)
{
    char text[32];

    if (read_attribute(index, "pid", text, sizeof text) && !nbd_dev_is_ours(index, mark, pid))
        return;
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        set_attribute(index, settings[i].attribute, settings[i].kernels);
}
