// SPDX-License-Identifier: Apache-2.0
/*
 * A line of a given length and width between two programs on one machine, for measuring and for
 * breaking: what `tc netem` does, without root.
 *
 *     wan --listen ADDRESS --connect ADDRESS [--delay MS] [--rate BITS]
 *
 * Each connection to the one address is joined to the other (`127.0.0.1:PORT` or `unix:PATH`). A
 * byte takes --delay milliseconds each way, and --rate bits pass in a second each way, of all
 * connections together; without it as many as come. Bytes, their order, and who ended the
 * connection are kept. The connection itself is made without a delay.
 *
 * On stdout: `ready ADDRESS`, then an answer to each line on stdin, once it is in force:
 *
 *     delay MS      the bytes that come from now on take that long, one way
 *     rate BITS     a second; 0: as many as come
 *     stall SECONDS nothing moves, nothing is taken and no connection is made; none is closed. What
 *                   was on its way is where it was: time has stood still. 0 ends it.
 *     cut SECONDS   every connection is reset, and new ones are refused. 0 refuses none.
 *     status        `status connections N up BYTES down BYTES`: what has passed, ever
 *
 * `over stall` and `over cut` follow by themselves. The program ends with its stdin, so it outlives
 * nobody.
 *
 * A joint owns its two descriptors and two pipes, and lives in the list until wan_sweep(). Always:
 * whatever has become possible is done by joint_move(), which is called on every turn for every
 * joint; events only note that a descriptor is worth another try (they are edge-triggered).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "wan-pipe.h"
#include "wan-socket.h"

#define NS_PER_S  1e9
#define NS_PER_MS 1e6
#define EVENTS    64

struct side {
    int fd;
    bool readable, writable; /* as far as is known: until EAGAIN */
};

struct joint {
    struct list link;
    struct side sides[2];  /* who came; who we went to */
    struct pipe pipes[2];  /* out of sides[i], into the other */
    enum pipe_end told[2]; /* what the other side knows of this one's end */
    bool over;
};

struct wan {
    struct address here, there;
    int poll_fd, timer_fd, keep_fd, listen_fd;
    struct lane lanes[2]; /* up: from who came; down */
    struct list joints;
    uint64_t stalled_for;   /* nanoseconds, ever: how far the line's clock is behind */
    uint64_t stalled_at;    /* when the present stall began, in real time; 0: it moves */
    uint64_t stalled_until; /* real time */
    uint64_t cut_until;     /* real time; 0: connections are taken */
    uint64_t passed[2];     /* by joints that are gone */
    char line[128];         /* of stdin, so far */
    size_t line_length;
    bool ended;
};

static uint64_t clock_real(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The line's own clock. */
static uint64_t wan_now(const struct wan *wan)
{
    return (wan->stalled_at ? wan->stalled_at : clock_real()) - wan->stalled_for;
}

static void say(const char *text)
{
    puts(text);
    fflush(stdout);
}

static int watch(const struct wan *wan, int fd, uint32_t events, void *what)
{
    struct epoll_event event = {.events = events, .data.ptr = what};

    return epoll_ctl(wan->poll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void joint_break(struct joint *joint)
{
    if (joint->over)
        return;
    joint->over = true;
    socket_reset(joint->sides[0].fd);
    socket_reset(joint->sides[1].fd);
}

static void joint_close(struct joint *joint)
{
    joint->over = true;
    close(joint->sides[0].fd);
    close(joint->sides[1].fd);
}

/* Gives a side what is due to it. */
static void side_give(struct joint *joint, unsigned from, uint64_t now)
{
    struct side *to = &joint->sides[!from];
    struct pipe *pipe = &joint->pipes[from];
    const uint8_t *bytes;
    uint32_t length;

    while (to->writable && (bytes = pipe_due(pipe, now, &length))) {
        ssize_t sent = send(to->fd, bytes, length, MSG_NOSIGNAL);

        if (sent > 0) {
            pipe_sent(pipe, (uint32_t)sent);
        } else if (errno == EAGAIN) {
            to->writable = false;
        } else {
            /* It has gone; whoever sends to it hears of it when the line has brought the news. */
            to->writable = false;
            pipe_finish(&joint->pipes[!from], PIPE_RESET, now);
        }
    }
}

/* Takes what a side has sent, as far as there is room before the line. */
static void side_take(struct joint *joint, unsigned from, uint64_t now)
{
    struct side *side = &joint->sides[from];
    struct pipe *pipe = &joint->pipes[from];
    uint32_t room;
    uint8_t *space;

    while (side->readable && pipe->end == PIPE_OPEN && (space = pipe_space(pipe, now, &room))) {
        ssize_t got = read(side->fd, space, room);

        if (got > 0)
            pipe_filled(pipe, (uint32_t)got, now);
        else if (got == 0)
            pipe_finish(pipe, PIPE_FINISHED, now);
        else if (errno == EAGAIN)
            side->readable = false;
        else
            pipe_finish(pipe, PIPE_RESET, now);
    }
}

static void joint_move(struct joint *joint, uint64_t now)
{
    for (unsigned from = 0; from < 2; from++) {
        side_give(joint, from, now);
        side_take(joint, from, now);
        switch (pipe_ended(&joint->pipes[from], now)) {
        case PIPE_OPEN:
            break;
        case PIPE_FINISHED:
            if (joint->told[from] == PIPE_OPEN)
                shutdown(joint->sides[!from].fd, SHUT_WR);
            joint->told[from] = PIPE_FINISHED;
            break;
        case PIPE_RESET:
            joint_break(joint);
            return;
        }
    }
    if (joint->told[0] == PIPE_FINISHED && joint->told[1] == PIPE_FINISHED)
        joint_close(joint);
}

/* When joint_move() has something to do that no event tells of, on the line's clock. */
static uint64_t joint_next(const struct joint *joint, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (unsigned from = 0; from < 2; from++) {
        const struct side *side = &joint->sides[from];
        const struct pipe *pipe = &joint->pipes[from];
        uint64_t at = UINT64_MAX;

        if (pipe->held > 0 ? joint->sides[!from].writable : pipe->end > joint->told[from])
            at = pipe_next(pipe, now);
        if (at < next)
            next = at;
        if (side->readable && pipe->end == PIPE_OPEN) {
            at = pipe_room_at(pipe);
            if (at < now + PIPE_QUANTUM)
                at = now + PIPE_QUANTUM;
            if (at < next)
                next = at;
        }
    }
    return next;
}

static void wan_sweep(struct wan *wan)
{
    list_for_each_safe (it, &wan->joints) {
        struct joint *joint = list_entry(it, struct joint, link);

        if (!joint->over)
            continue;
        for (unsigned i = 0; i < 2; i++) {
            wan->passed[i] += joint->pipes[i].passed;
            pipe_done(&joint->pipes[i]);
        }
        list_remove(&joint->link);
        free(joint);
    }
}

static void wan_join(struct wan *wan, int take_fd)
{
    struct joint *joint = calloc(1, sizeof *joint);
    int there = joint ? address_connect(&wan->there) : -ENOMEM;

    if (there < 0) {
        fprintf(stderr, "wan: a connection is closed, for the target: %s\n", strerror(-there));
        socket_reset(take_fd);
        free(joint);
        return;
    }
    joint->sides[0] = (struct side){.fd = take_fd, .readable = true, .writable = true};
    joint->sides[1] = (struct side){.fd = there, .readable = true, .writable = true};
    for (unsigned i = 0; i < 2; i++) {
        uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

        socket_tune(joint->sides[i].fd);
        pipe_init(&joint->pipes[i], &wan->lanes[i]);
        if (watch(wan, joint->sides[i].fd, events, &joint->sides[i]) < 0)
            joint_break(joint);
    }
    list_append(&wan->joints, &joint->link);
}

static void wan_accept(struct wan *wan)
{
    int fd;

    while (!wan->stalled_at && wan->listen_fd >= 0 &&
           (fd = accept(wan->listen_fd, NULL, NULL)) >= 0)
        wan_join(wan, fd);
}

static int wan_listen(struct wan *wan)
{
    wan->listen_fd = address_listen(&wan->here);
    if (wan->listen_fd < 0)
        return wan->listen_fd;
    return watch(wan, wan->listen_fd, EPOLLIN | EPOLLET, &wan->listen_fd);
}

static void wan_stall(struct wan *wan, double seconds)
{
    uint64_t now = clock_real();

    wan->stalled_until = now + (uint64_t)(seconds * NS_PER_S);
    if (!wan->stalled_at)
        wan->stalled_at = now;
}

static void wan_cut(struct wan *wan, double seconds)
{
    wan->cut_until = clock_real() + (uint64_t)(seconds * NS_PER_S);
    if (wan->listen_fd >= 0)
        close(wan->listen_fd);
    wan->listen_fd = -1;
    list_for_each (it, &wan->joints)
        joint_break(list_entry(it, struct joint, link));
    wan_sweep(wan);
}

static void wan_status(const struct wan *wan)
{
    uint64_t passed[2] = {wan->passed[0], wan->passed[1]};
    unsigned connections = 0;
    char text[128];

    list_for_each (it, &wan->joints) {
        const struct joint *joint = list_entry(it, struct joint, link);

        connections++;
        passed[0] += joint->pipes[0].passed;
        passed[1] += joint->pipes[1].passed;
    }
    snprintf(text, sizeof text, "status connections %u up %llu down %llu", connections,
             (unsigned long long)passed[0], (unsigned long long)passed[1]);
    say(text);
}

static void wan_command(struct wan *wan, const char *line)
{
    char name[16];
    char text[32];
    double value = 0;
    int count = sscanf(line, "%15s %lf", name, &value);

    if (count == 1 && strcmp(name, "status") == 0) {
        wan_status(wan);
        return;
    }
    if (count != 2 || !(value >= 0 && value <= 1e12)) {
        say("error: a command and a number are wanted, such as 'stall 20'");
        return;
    }
    if (strcmp(name, "delay") == 0) {
        wan->lanes[0].delay = wan->lanes[1].delay = (uint64_t)(value * NS_PER_MS);
    } else if (strcmp(name, "rate") == 0) {
        wan->lanes[0].rate = wan->lanes[1].rate = (uint64_t)value;
    } else if (strcmp(name, "stall") == 0) {
        wan_stall(wan, value);
    } else if (strcmp(name, "cut") == 0) {
        wan_cut(wan, value);
    } else {
        say("error: there are the commands delay, rate, stall, cut and status");
        return;
    }
    snprintf(text, sizeof text, "ok %s", name);
    say(text);
}

static void wan_read_commands(struct wan *wan)
{
    char bytes[256];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);

    if (got <= 0) {
        wan->ended = true;
        return;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] != '\n') {
            if (wan->line_length < sizeof wan->line - 1)
                wan->line[wan->line_length++] = bytes[i];
            continue;
        }
        wan->line[wan->line_length] = '\0';
        wan->line_length = 0;
        wan_command(wan, wan->line);
    }
}

/* Ends a stall or a cut whose time has come. 0 or -errno. */
static int wan_recover(struct wan *wan)
{
    uint64_t now = clock_real();

    if (wan->stalled_at && now >= wan->stalled_until) {
        wan->stalled_for += now - wan->stalled_at;
        wan->stalled_at = 0;
        say("over stall");
        wan_accept(wan);
    }
    if (wan->cut_until && now >= wan->cut_until) {
        int r = wan_listen(wan);

        wan->cut_until = 0;
        if (r < 0)
            return r;
        say("over cut");
    }
    return 0;
}

static void wan_set_timer(const struct wan *wan)
{
    uint64_t now = wan_now(wan);
    uint64_t next = UINT64_MAX;
    struct itimerspec at = {0};

    if (wan->stalled_at) {
        next = wan->stalled_until;
    } else {
        list_for_each (it, &wan->joints) {
            uint64_t one = joint_next(list_entry(it, struct joint, link), now);

            if (one < next)
                next = one;
        }
        if (next != UINT64_MAX)
            next += wan->stalled_for;
    }
    if (wan->cut_until && wan->cut_until < next)
        next = wan->cut_until;
    if (next != UINT64_MAX) {
        at.it_value.tv_sec = (time_t)(next / 1000000000);
        at.it_value.tv_nsec = (long)(next % 1000000000);
    }
    timerfd_settime(wan->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static int wan_turn(struct wan *wan)
{
    struct epoll_event events[EVENTS];
    uint64_t rings;
    int count;

    wan_set_timer(wan);
    count = epoll_wait(wan->poll_fd, events, EVENTS, -1);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        void *what = events[i].data.ptr;

        if (what == &wan->timer_fd) {
            if (read(wan->timer_fd, &rings, sizeof rings) < 0 && errno != EAGAIN)
                return -errno;
        } else if (what != &wan->listen_fd && what != wan->line) {
            struct side *side = what;

            side->readable |= (events[i].events & ~(uint32_t)EPOLLOUT) != 0;
            side->writable |= (events[i].events & ~(uint32_t)EPOLLIN) != 0;
        }
    }
    /* These may end joints, so after the events that speak of them. */
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == &wan->listen_fd)
            wan_accept(wan);
        else if (events[i].data.ptr == wan->line)
            wan_read_commands(wan);
    }
    return wan_recover(wan);
}

static int wan_run(struct wan *wan)
{
    while (!wan->ended) {
        int r = wan_turn(wan);

        if (r < 0)
            return r;
        if (wan->stalled_at)
            continue;

        uint64_t now = wan_now(wan);

        list_for_each (it, &wan->joints)
            joint_move(list_entry(it, struct joint, link), now);
        wan_sweep(wan);
    }
    wan_cut(wan, 0);
    return 0;
}

static int wan_start(struct wan *wan)
{
    char text[128];
    char where[112];
    int r;

    wan->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    wan->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    wan->keep_fd = address_keep(&wan->here);
    if (wan->poll_fd < 0 || wan->timer_fd < 0)
        return -errno;
    if (wan->keep_fd < 0 && wan->keep_fd != -ENOENT)
        return wan->keep_fd;
    if (watch(wan, STDIN_FILENO, EPOLLIN, wan->line) < 0) {
        fprintf(stderr, "wan: its stdin must be a pipe or a terminal\n");
        return -EINVAL;
    }
    r = watch(wan, wan->timer_fd, EPOLLIN, &wan->timer_fd);
    if (r == 0)
        r = wan_listen(wan);
    if (r < 0)
        return r;
    address_format(&wan->here, where, sizeof where);
    snprintf(text, sizeof text, "ready %s", where);
    say(text);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                            {"connect", required_argument, NULL, 'c'},
                                            {"delay", required_argument, NULL, 'd'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    struct wan wan = {.listen_fd = -1};
    bool here = false;
    bool there = false;
    int option, r;

    list_init(&wan.joints);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'l')
            here = address_parse(optarg, &wan.here) == 0;
        else if (option == 'c')
            there = address_parse(optarg, &wan.there) == 0;
        else if (option == 'd')
            wan.lanes[0].delay = wan.lanes[1].delay = (uint64_t)(strtod(optarg, NULL) * NS_PER_MS);
        else if (option == 'r')
            wan.lanes[0].rate = wan.lanes[1].rate = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    if (!here || !there) {
        fprintf(stderr, "usage: wan --listen ADDRESS --connect ADDRESS [--delay MS] [--rate BITS]; "
                        "an ADDRESS is 127.0.0.1:PORT or unix:PATH\n");
        return 2;
    }
    r = wan_start(&wan);
    if (r == 0)
        r = wan_run(&wan);
    if (r < 0)
        fprintf(stderr, "wan: %s\n", strerror(-r));
    return r < 0;
}
