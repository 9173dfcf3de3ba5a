/* SPDX-License-Identifier: Apache-2.0 */
/* The permit table: every message in every state from everybody, spelled out once more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "priv/permit.h"

struct row {
    enum slot_state state;
    enum privmsg_type type;
    enum permit nobody;
    enum permit owner;
    enum permit other;
};

static const struct row rows[] = {
    {SLOT_FREE, PRIVMSG_ATTACH, PERMIT_DO, PERMIT_DO, PERMIT_DO},
    {SLOT_ATTACHING, PRIVMSG_ATTACH, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_ATTACHED, PRIVMSG_ATTACH, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_DETACHING, PRIVMSG_ATTACH, PERMIT_WAIT, PERMIT_WAIT, PERMIT_WAIT},
    {SLOT_FREE, PRIVMSG_DETACH, PERMIT_NOOP, PERMIT_NOOP, PERMIT_NOOP},
    {SLOT_ATTACHING, PRIVMSG_DETACH, PERMIT_DENIED, PERMIT_DO, PERMIT_DENIED},
    {SLOT_ATTACHED, PRIVMSG_DETACH, PERMIT_DENIED, PERMIT_DO, PERMIT_DENIED},
    {SLOT_DETACHING, PRIVMSG_DETACH, PERMIT_WAIT, PERMIT_DO, PERMIT_WAIT},
    {SLOT_ORPHANED, PRIVMSG_ATTACH, PERMIT_REPLACE, PERMIT_REPLACE, PERMIT_REPLACE},
    {SLOT_ORPHANED, PRIVMSG_DETACH, PERMIT_DO, PERMIT_DO, PERMIT_DO},
    {SLOT_FREE, PRIVMSG_ADOPT, PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    {SLOT_ATTACHING, PRIVMSG_ADOPT, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_ATTACHED, PRIVMSG_ADOPT, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_DETACHING, PRIVMSG_ADOPT, PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    {SLOT_ORPHANED, PRIVMSG_ADOPT, PERMIT_DO, PERMIT_DO, PERMIT_DO},
    {SLOT_FREE, PRIVMSG_RELOAD, PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    {SLOT_ATTACHING, PRIVMSG_RELOAD, PERMIT_DENIED, PERMIT_BUSY, PERMIT_DENIED},
    {SLOT_ATTACHED, PRIVMSG_RELOAD, PERMIT_DENIED, PERMIT_DO, PERMIT_DENIED},
    {SLOT_DETACHING, PRIVMSG_RELOAD, PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    {SLOT_ORPHANED, PRIVMSG_RELOAD, PERMIT_DENIED, PERMIT_DENIED, PERMIT_DENIED},
    {SLOT_FREE, PRIVMSG_USB_ATTACH, PERMIT_DO, PERMIT_DO, PERMIT_DO},
    {SLOT_ATTACHING, PRIVMSG_USB_ATTACH, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_ATTACHED, PRIVMSG_USB_ATTACH, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_DETACHING, PRIVMSG_USB_ATTACH, PERMIT_WAIT, PERMIT_WAIT, PERMIT_WAIT},
    {SLOT_ORPHANED, PRIVMSG_USB_ATTACH, PERMIT_REPLACE, PERMIT_REPLACE, PERMIT_REPLACE},
    {SLOT_FREE, PRIVMSG_USB_ADOPT, PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    {SLOT_ATTACHING, PRIVMSG_USB_ADOPT, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_ATTACHED, PRIVMSG_USB_ADOPT, PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    {SLOT_DETACHING, PRIVMSG_USB_ADOPT, PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    {SLOT_ORPHANED, PRIVMSG_USB_ADOPT, PERMIT_DO, PERMIT_DO, PERMIT_DO},
};

static void test_every_row(void **state)
{
    (void)state;
    assert_int_equal(sizeof rows / sizeof rows[0], SLOT_STATES * 6);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];

        assert_int_equal(permit_check(r->state, r->type, PERMIT_NOBODY), r->nobody);
        assert_int_equal(permit_check(r->state, r->type, PERMIT_OWNER), r->owner);
        assert_int_equal(permit_check(r->state, r->type, PERMIT_OTHER), r->other);
    }
}

static void test_nothing_else(void **state)
{
    (void)state;
    for (unsigned s = 0; s <= SLOT_STATES; s++) {
        for (unsigned type = 0; type < 256; type++) {
            for (unsigned who = 0; who <= PERMIT_WHOS; who++) {
                bool request = type == PRIVMSG_ATTACH || type == PRIVMSG_DETACH ||
                               type == PRIVMSG_ADOPT || type == PRIVMSG_RELOAD ||
                               type == PRIVMSG_USB_ATTACH || type == PRIVMSG_USB_ADOPT;
                bool known = request && s < SLOT_STATES && who < PERMIT_WHOS;
                enum permit permit =
                    permit_check((enum slot_state)s, (enum privmsg_type)type, (enum permit_who)who);

                assert_int_equal(permit != PERMIT_REFUSE, known);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
