// SPDX-License-Identifier: Apache-2.0
/*
 * An export with the hook around it, with real hooks (shell scripts in a directory of the test's)
 * and an export inside that does as it is told: what is run when, what a hook that fails or hangs
 * comes to, and that none is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"
#include "nbd-proxy/hook.h"
#include "nbd-proxy/hooked.h"
#include "nbd-proxy/lock.h"

/* Milliseconds. */
#define STOP_LIMIT 400

/* The export inside: reports on the loop's next turn, as every export does. */
struct inner {
    struct export export;
    struct loop_later *later;
    bool starts, stops;
    unsigned stop_count;
    bool link_alive;
};

struct world {
    char directory[32];
    char hook[64], log[64], lock[64];
    struct loop *loop;
    struct loop_timer *limit;
    struct inner *inner;
    struct export *export;
    unsigned started, ejected, stopped;
    int error;
    char reason[256];
};

static struct inner *of(struct export *e)
{
    return (struct inner *)(void *)e;
}

static void inner_tell(void *arg)
{
    struct inner *in = arg;
    bool starts = in->starts, stops = in->stops;

    in->starts = in->stops = false;
    if (starts && !stops)
        in->export.events->started(in->export.owner);
    if (stops)
        in->export.events->stopped(in->export.owner, 0, "");
}

static void inner_start(struct export *e, const struct medium *medium, struct engine *engine)
{
    (void)medium;
    (void)engine;
    of(e)->starts = true;
    loop_later_set(of(e)->later);
}

static void inner_stop(struct export *e, bool link_alive)
{
    of(e)->stops = true;
    of(e)->stop_count++;
    of(e)->link_alive = link_alive;
    loop_later_set(of(e)->later);
}

static void inner_free(struct export *e)
{
    loop_later_free(of(e)->later);
    free(e);
}

static const struct export_ops inner_ops = {
    .name = "inner",
    .grace_max = 25,
    .start = inner_start,
    .stop = inner_stop,
    .free = inner_free,
};

static void on_started(void *owner)
{
    struct world *w = owner;

    w->started++;
    loop_stop(w->loop);
}

static void on_ejected(void *owner)
{
    struct world *w = owner;

    w->ejected++;
}

static void on_stopped(void *owner, int error, const char *reason)
{
    struct world *w = owner;

    w->stopped++;
    w->error = error;
    snprintf(w->reason, sizeof w->reason, "%s", reason);
    loop_stop(w->loop);
}

static const struct export_events events = {
    .started = on_started,
    .ejected = on_ejected,
    .stopped = on_stopped,
};

static void too_late(void *arg)
{
    (void)arg;
    fail_msg("nothing more came");
}

/* `script`: what the hook does; it has written "ACTION NAME" into `log` by then. */
static struct world *new_world(const char *script)
{
    struct world *w = calloc(1, sizeof *w);
    FILE *file;

    assert_non_null(w);
    strcpy(w->directory, "/tmp/platter-hook-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    snprintf(w->hook, sizeof w->hook, "%s/state", w->directory);
    snprintf(w->log, sizeof w->log, "%s/log", w->directory);
    snprintf(w->lock, sizeof w->lock, "%s/lock", w->directory);
    file = fopen(w->hook, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\necho \"$@\" >>%s\n%s\n", w->log, script);
    fclose(file);
    chmod(w->hook, 0700);
    assert_int_equal(loop_new(&w->loop), 0);
    assert_int_equal(loop_timer_new(w->loop, too_late, w, &w->limit), 0);
    loop_timer_set(w->limit, 20000);
    w->inner = calloc(1, sizeof *w->inner);
    assert_non_null(w->inner);
    w->inner->export.ops = &inner_ops;
    assert_int_equal(loop_later_new(w->loop, inner_tell, w->inner, &w->inner->later), 0);
    assert_int_equal(hooked_new(w->loop, &w->inner->export,
                                &(struct hooked_config){
                                    .hook = w->hook,
                                    .name = "zero",
                                    .lock = w->lock,
                                    .start_limit = 20000,
                                    .stop_limit = STOP_LIMIT,
                                },
                                &w->export),
                     0);
    export_own(w->export, &events, w);
    assert_int_equal(w->export->ops->grace_max, 25);
    export_start(w->export, NULL, NULL);
    return w;
}

static void assert_said(const struct world *w, const char *lines)
{
    char said[256] = "";
    FILE *file = fopen(w->log, "r");
    size_t length = file ? fread(said, 1, sizeof said - 1, file) : 0;

    said[length] = '\0';
    if (file)
        fclose(file);
    assert_string_equal(said, lines);
}

/* The process whose number the hook has written down is no more, or only waits to be reaped by the
 * machine's own first process. */
static void assert_ended(const struct world *w)
{
    char path[64], text[64] = "";
    unsigned long pid;
    FILE *file;

    snprintf(path, sizeof path, "%s/pid", w->directory);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    unlink(path);
    pid = strtoul(text, NULL, 10);
    snprintf(path, sizeof path, "/proc/%lu/stat", pid);
    for (unsigned tries = 0; tries < 5000; tries++) {
        file = fopen(path, "r");
        if (!file)
            return;
        assert_non_null(fgets(text, sizeof text, file));
        fclose(file);
        if (strstr(text, ") Z"))
            return;
        usleep(1000);
    }
    fail_msg("process %lu lives", pid);
}

static void end_world(struct world *w)
{
    export_free(w->export);
    loop_timer_free(w->limit);
    loop_free(w->loop);
    unlink(w->hook);
    unlink(w->log); /* if it was ever run */
    unlink(w->lock);
    assert_int_equal(rmdir(w->directory), 0);
    free(w);
}

static void test_start_and_stop(void **state)
{
    struct world *w = new_world("exit 0");

    (void)state;
    loop_run(w->loop);
    assert_int_equal(w->started, 1);
    assert_said(w, "start zero\n");
    w->inner->export.events->ejected(w->inner->export.owner);
    assert_int_equal(w->ejected, 1);
    export_stop(w->export, true);
    loop_run(w->loop);
    assert_said(w, "start zero\nstop zero\n");
    assert_int_equal(w->stopped, 1);
    assert_int_equal(w->error, 0);
    assert_true(w->inner->stop_count == 1 && w->inner->link_alive);
    end_world(w);
}

static void test_a_start_that_fails(void **state)
{
    static const char *const scripts[] = {"[ $1 = stop ] || exit 3", "[ $1 = stop ] || kill -9 $$"};
    static const char *const words[] = {"it ended with 3", "signal 9 ended it"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = new_world(scripts[i]);

        loop_run(w->loop);
        assert_int_equal(w->started, 0);
        assert_int_equal(w->stopped, 1);
        assert_int_equal(w->error, -EIO);
        assert_non_null(strstr(w->reason, words[i]));
        assert_non_null(strstr(w->reason, "start zero"));
        assert_said(w, "start zero\nstop zero\n");
        assert_int_equal(w->inner->stop_count, 1);
        end_world(w);
    }
}

/* It is there, may be executed, and cannot be. */
static void test_a_hook_that_is_no_program(void **state)
{
    struct world *w = new_world("");
    FILE *file = fopen(w->hook, "w");

    (void)state;
    assert_non_null(file);
    fputs("#!/nowhere/at/all\n", file);
    fclose(file);
    assert_true(hook_is_there(w->hook));
    loop_run(w->loop);
    assert_int_equal(w->stopped, 1);
    assert_non_null(strstr(w->reason, "it ended with 127"));
    chmod(w->hook, 0600);
    assert_true(geteuid() == 0 || !hook_is_there(w->hook));
    assert_false(hook_is_there("/nowhere/at/all"));
    end_world(w);
}

/* The far end goes while a hook hangs: it and what it has started are ended, at once. */
static void test_a_start_that_hangs(void **state)
{
    struct world *w = new_world("[ $1 = stop ] && exit; sleep 1000 & echo $! >${0%state}pid; wait");
    char path[64];

    (void)state;
    snprintf(path, sizeof path, "%s/pid", w->directory);
    /* What the loop would do on its next turn; there is nothing else for it to do. */
    inner_tell(w->inner);
    while (access(path, R_OK) < 0)
        usleep(1000);
    export_link(w->export, EXPORT_LINK_FAILED);
    export_stop(w->export, false);
    loop_run(w->loop);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(w->started, 0);
    assert_int_equal(w->error, 0);
    assert_said(w, "start zero\nstop zero\n");
    assert_ended(w);
    end_world(w);
}

/* A whole system may stand still for a moment, and its hook's time is not over. */
static void test_a_minder_that_was_stopped(void **state)
{
    struct world *w = new_world("kill -STOP $PPID; kill -CONT $PPID; sleep 0.1");

    (void)state;
    loop_run(w->loop);
    assert_int_equal(w->started, 1);
    export_stop(w->export, true);
    loop_run(w->loop);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(w->error, 0);
    assert_said(w, "start zero\nstop zero\n");
    end_world(w);
}

static void test_a_stop_that_hangs(void **state)
{
    struct world *w =
        new_world("[ $1 = start ] && exit; sleep 1000 & echo $! >${0%state}pid; wait");
    uint64_t began;

    (void)state;
    loop_run(w->loop);
    assert_int_equal(w->started, 1);
    began = loop_clock();
    export_link(w->export, EXPORT_LINK_FAILED);
    export_stop(w->export, false);
    loop_run(w->loop);
    assert_int_equal(w->stopped, 1);
    assert_in_range((loop_clock() - began) / 1000, 300, 5000);
    assert_int_equal(w->error, 0);
    assert_false(w->inner->link_alive);
    assert_ended(w);
    end_world(w);
}

/* A process of this test, which is killed while its hook's "stop" runs: that goes on, under its
 * lock, and has no longer than it would have had. */
static void test_a_stop_outlives_its_process(void **state)
{
    static const char *const scripts[] = {"sleep 0.1; echo done >>${0%state}log",
                                          "sleep 1000 & echo $! >${0%state}pid; wait"};
    static const char *const said[] = {"start zero\nstop zero\ndone\n", "start zero\nstop zero\n"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        char script[128];
        struct world *w;
        pid_t pid;
        int lock;

        snprintf(script, sizeof script, "[ $1 = start ] && exit; %s", scripts[i]);
        w = new_world(script);
        loop_run(w->loop);
        pid = fork();
        if (pid == 0) {
            export_stop(w->export, false);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(lock_take(w->lock), -EWOULDBLOCK);
        while ((lock = lock_take(w->lock)) == -EWOULDBLOCK)
            usleep(1000);
        assert_true(lock >= 0);
        close(lock);
        assert_said(w, said[i]);
        if (i == 1)
            assert_ended(w);
        end_world(w);
    }
}

/* The export inside ends by itself: the hook's part of it goes too. */
static void test_the_drive_is_lost(void **state)
{
    struct world *w = new_world("exit 0");

    (void)state;
    loop_run(w->loop);
    w->inner->export.events->stopped(w->inner->export.owner, -ENODEV, "It is gone.");
    loop_run(w->loop);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(w->error, -ENODEV);
    assert_string_equal(w->reason, "It is gone.");
    assert_said(w, "start zero\nstop zero\n");
    assert_int_equal(w->inner->stop_count, 0);
    end_world(w);
}

/* Called off before there is anything to tell the hook of. */
static void test_a_stop_before_the_start(void **state)
{
    struct world *w = new_world("exit 0");

    (void)state;
    export_stop(w->export, true);
    loop_run(w->loop);
    assert_int_equal(w->stopped, 1);
    assert_said(w, "");
    end_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_and_stop),
        cmocka_unit_test(test_a_start_that_fails),
        cmocka_unit_test(test_a_hook_that_is_no_program),
        cmocka_unit_test(test_a_start_that_hangs),
        cmocka_unit_test(test_a_minder_that_was_stopped),
        cmocka_unit_test(test_a_stop_that_hangs),
        cmocka_unit_test(test_a_stop_outlives_its_process),
        cmocka_unit_test(test_the_drive_is_lost),
        cmocka_unit_test(test_a_stop_before_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
