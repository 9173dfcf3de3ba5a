/* SPDX-License-Identifier: Apache-2.0 */
/* The bench of slot-bench.h. */
#include "slot-bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "source/peer.h"

struct loop *loop;
struct slot *slot;

/* ---- the far ends, the last that came being `far` ---- */

struct far fars[FARS_MAX];
unsigned far_count;
struct far *far;
uint8_t image[IMAGE_SIZE], other_image[IMAGE_SIZE];

static void far_complete(struct far *f, struct source_request *request, int error)
{
    const uint8_t *from = f->image + request->offset;

    for (unsigned i = 0; !error && i < request->part_count; i++) {
        memcpy(request->parts[i].data, from, request->parts[i].length);
        from += request->parts[i].length;
    }
    request->complete(request, error);
}

static void far_submit(struct source *source, struct source_request *request)
{
    struct far *f = (struct far *)(void *)source;

    assert_true(f->alive);
    f->asked++;
    if (f->hold) {
        assert_true(f->held_count < HELD_MAX);
        f->held[f->held_count++] = request;
    } else {
        far_complete(f, request, f->error);
    }
}

/* Answers all that is held. */
void far_answer(struct far *f, int error)
{
    struct source_request *held[HELD_MAX];
    unsigned count = f->held_count;

    memcpy(held, f->held, sizeof held);
    f->held_count = 0;
    for (unsigned i = 0; i < count; i++)
        far_complete(f, held[i], error);
}

static void far_close(struct source *source, enum stream_close why, const char *reason)
{
    struct far *f = (struct far *)(void *)source;

    assert_true(f->alive);
    f->closed_why = why;
    f->closes++;
    snprintf(f->closed_reason, sizeof f->closed_reason, "%s", reason);
}

static void far_tell(struct source *source, const char *text)
{
    struct far *f = (struct far *)(void *)source;

    assert_true(f->alive && f->told_count < TOLD_MAX);
    snprintf(f->told[f->told_count++], sizeof f->told[0], "%s", text);
}

static void far_free(struct source *source)
{
    struct far *f = (struct far *)(void *)source;

    f->hold = true;
    while (f->held_count > 0)
        far_answer(f, SOURCE_LOST);
    f->alive = false;
}

static const struct source_ops far_ops = {
    .submit = far_submit, .close = far_close, .tell = far_tell, .free = far_free};

int peer_new(struct loop *l, struct stream *stream, const struct peer_profile *profile,
             const struct source_events *events, void *owner, struct source **out)
{
    assert_ptr_equal(l, loop);
    assert_true(far_count < FARS_MAX);
    far = &fars[far_count++];
    *far = (struct far){
        .base = {.ops = &far_ops, .events = events, .owner = owner},
        .alive = true,
        .stream = stream,
        .profile = profile,
        .image = image,
    };
    *out = &far->base;
    return 0;
}

void far_ready_as(const struct source_info *info)
{
    far->base.events->ready(far->base.owner, info);
}

void far_ready_with(uint64_t size, bool read_only)
{
    far_ready_as(&(struct source_info){.size = size,
                                       .block_min = 1,
                                       .length_max = 1 << 20,
                                       .in_flight_max = 4,
                                       .read_only = read_only});
}

void far_ready(void)
{
    far_ready_with(IMAGE_SIZE, true);
}

void far_lose(enum stream_close why, bool orderly)
{
    far_answer(far, SOURCE_LOST);
    far->base.events->lost(far->base.owner, why, orderly, "cable pulled");
}

unsigned fars_alive(void)
{
    unsigned alive = 0;

    for (unsigned i = 0; i < far_count; i++)
        alive += fars[i].alive;
    return alive;
}

/* ---- the export ---- */

struct drive drive;

static int drive_check(const struct export *e, const struct medium *medium, char *reason,
                       size_t room)
{
    assert_ptr_equal(e, &drive.base);
    (void)medium;
    strncpy(reason, "Too large for a CD.", room);
    return drive.refuse;
}

static void drive_start(struct export *e, const struct medium *medium, struct engine *engine)
{
    (void)e;
    drive.starts++;
    drive.links[0] = '\0';
    drive.runs = true;
    drive.medium = *medium;
    drive.engine = engine;
}

static void drive_adopt(struct export *e, const struct medium *medium, struct engine *engine)
{
    (void)e;
    drive.adopts++;
    drive.links[0] = '\0';
    drive.runs = true;
    drive.medium = *medium;
    drive.engine = engine;
}

static void drive_reload(struct export *e)
{
    (void)e;
    drive.reloads++;
}

static void drive_link(struct export *e, enum export_link link)
{
    size_t count = strlen(drive.links);

    (void)e;
    assert_true(drive.runs);
    assert_true(count < sizeof drive.links - 1);
    drive.links[count] = "lwf"[link];
    drive.links[count + 1] = '\0';
}

static bool drive_is_locked(const struct export *e)
{
    (void)e;
    return drive.locked;
}

static void drive_request_eject(struct export *e)
{
    (void)e;
    drive.eject_requests++;
}

static void drive_stop(struct export *e, bool link_alive)
{
    (void)e;
    drive.stops++;
    drive.stopped_alive = link_alive;
}

static void drive_describe(const struct export *e, char *out, size_t room)
{
    (void)e;
    strncpy(out, "nbd+unix:///?socket=/s", room);
}

static void drive_free(struct export *e)
{
    (void)e;
}

static int drive_new(const struct export_config *config, struct export **out);

static const struct export_ops drive_ops = {
    .name = "unix",
    .check = drive_check,
    .new = drive_new,
    .grace_max = 30,
    .start = drive_start,
    .adopt = drive_adopt,
    .reload = drive_reload,
    .link = drive_link,
    .is_locked = drive_is_locked,
    .request_eject = drive_request_eject,
    .stop = drive_stop,
    .describe = drive_describe,
    .free = drive_free,
};

static int drive_new(const struct export_config *config, struct export **out)
{
    assert_int_equal(config->slot, 3);
    drive.base.ops = &drive_ops;
    *out = &drive.base;
    return 0;
}

const struct export_ops *export_find(const char *name)
{
    return strcmp(name, "unix") == 0 ? &drive_ops : NULL;
}

void drive_started(void)
{
    drive.base.events->started(drive.base.owner);
}

void drive_stopped(int error)
{
    drive.runs = false;
    drive.base.events->stopped(drive.base.owner, error, error ? "The gadget is busy." : "");
}

void drive_ejected(void)
{
    drive.base.events->ejected(drive.base.owner);
}

void drive_lock(bool locked)
{
    drive.locked = locked;
    drive.base.events->locked(drive.base.owner, locked);
}

/* ---- a newcomer's stream ---- */

struct line line;

static void line_close(struct stream *s, enum stream_close why, const char *reason)
{
    (void)s;
    line.why = why;
    snprintf(line.reason, sizeof line.reason, "%s", reason);
}

static void line_tell(struct stream *s, const char *text)
{
    (void)s;
    snprintf(line.told, sizeof line.told, "%s", text);
}

static void line_free(struct stream *s)
{
    (void)s;
    line.freed++;
}

static const struct stream_ops line_ops = {
    .close = line_close, .tell = line_tell, .free = line_free};

/* ---- the bench ---- */

char directory[64];
char record_path[96];

static void stop_loop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

/* Lets the loop handle all that was posted before this call. */
void settle(void)
{
    struct loop_timer *timer;

    assert_int_equal(loop_timer_new(loop, stop_loop, NULL, &timer), 0);
    loop_timer_set(timer, 1);
    loop_run(loop);
    loop_timer_free(timer);
}

const char *slot_state(void)
{
    struct slot_status status;

    slot_get_status(slot, &status);
    return status.state;
}

/* Lets time go by until the slot is in this state; the limit is a safety net. */
void wait_for_state(const char *state)
{
    uint64_t limit = loop_clock() + 20 * 1000000;

    while (strcmp(slot_state(), state) != 0 && loop_clock() < limit)
        settle();
    assert_string_equal(slot_state(), state);
}

void make_slot(unsigned grace, unsigned keep)
{
    struct slot_config config = {
        .loop = loop,
        .name = "Drive",
        .export_name = "unix",
        .number = 3,
        .cache_max = 8 << 20,
        .grace = grace,
        .keep = keep,
        .record_dir = directory,
    };

    assert_int_equal(slot_new(&config, &slot), 0);
}

int bench_setup(void **state)
{
    (void)state;
    memset(&drive, 0, sizeof drive);
    memset(&line, 0, sizeof line);
    line.base.ops = &line_ops;
    far_count = 0;
    for (uint32_t i = 0; i < IMAGE_SIZE; i++)
        image[i] = (uint8_t)(i * 2654435761u >> 24);
    memcpy(other_image, image, sizeof image);
    snprintf(directory, sizeof directory, "/tmp/test-slot-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(record_path, sizeof record_path, "%s/slot-3.session", directory);
    assert_int_equal(loop_new(&loop), 0);
    make_slot(30, 60);
    return 0;
}

int bench_teardown(void **state)
{
    (void)state;
    assert_true(slot_is_idle(slot));
    assert_int_equal(fars_alive(), 0);
    slot_free(slot);
    loop_free(loop);
    /* Nothing is left of any session. */
    assert_int_equal(rmdir(directory), 0);
    return 0;
}

const struct slot_offer offer = {.kind = MEDIUM_CD, .name = "a.iso", .modified = 1234};

void open_session(enum upto upto)
{
    slot_open(slot, &line.base, &offer);
    assert_string_equal(slot_state(), "opening");
    if (upto == OPENING)
        return;
    far_ready();
    settle();
    assert_string_equal(slot_state(), "attaching");
    assert_int_equal(drive.starts, 1);
    if (upto == ATTACHING)
        return;
    drive_started();
    settle();
    assert_string_equal(slot_state(), "serving");
}

char token[33];

void learn_token(void)
{
    json_t *word = json_loads(far->told[0], 0, NULL);

    snprintf(token, sizeof token, "%s", json_string_value(json_object_get(word, "token")));
    assert_int_equal(strlen(token), 32);
    json_decref(word);
}

void serve(void)
{
    open_session(SERVING);
    learn_token();
}

void come_with(struct slot_offer what)
{
    unsigned before = far_count;

    line.why = STREAM_CLOSE_NORMAL;
    line.told[0] = '\0';
    slot_open(slot, &line.base, &what);
    assert_true(far_count == before || far->stream == &line.base);
}

void come_back(void)
{
    struct slot_offer back = offer;

    back.resume = token;
    come_with(back);
}

void end_session(void)
{
    slot_end(slot, STREAM_CLOSE_SHUTDOWN, "Stopping.");
    settle();
    if (!slot_is_idle(slot)) {
        drive_stopped(0);
        settle();
    }
    assert_true(slot_is_idle(slot));
}

/* The far end was told the reason twice: whole, and in its goodbye. */
void expect_goodbye(const struct far *f, enum stream_close why, const char *reason)
{
    json_t *word = json_loads(f->told[f->told_count - 1], 0, NULL);

    assert_int_equal(f->closes, 1);
    assert_int_equal(f->closed_why, why);
    assert_string_equal(f->closed_reason, reason);
    assert_string_equal(json_string_value(json_object_get(word, "state")), "closing");
    assert_string_equal(json_string_value(json_object_get(word, "reason")), reason);
    json_decref(word);
}

void expect_end(enum stream_close why, const char *reason)
{
    struct slot_status status;

    expect_goodbye(far, why, reason);
    slot_get_status(slot, &status);
    assert_string_equal(status.state, "idle");
    assert_string_equal(status.reason, reason);
}
