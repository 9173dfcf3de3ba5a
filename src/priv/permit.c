/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The permit table. docs/privileges.md shows the same table; a unit test walks every row.
 *
 * Two ideas are in it: a drive belongs to the connection that attached it, so nobody else can take
 * it away; and DETACH is never refused to the owner, whatever is going on. Once a drive is going,
 * anybody may wait for that, but only the owner may hurry it by calling the line dead. A drive
 * whose owner is gone is anybody's, of those whom the socket lets in: to adopt it or to be rid of
 * it.
 */
#include "priv/permit.h"

static const enum permit attach_table[SLOT_STATES][PERMIT_WHOS] = {
    /*                   nobody's      the owner    another */
    [SLOT_FREE] = {PERMIT_DO, PERMIT_DO, PERMIT_DO},
    [SLOT_ATTACHING] = {PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    [SLOT_ATTACHED] = {PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    [SLOT_DETACHING] = {PERMIT_WAIT, PERMIT_WAIT, PERMIT_WAIT},
    [SLOT_ORPHANED] = {PERMIT_REPLACE, PERMIT_REPLACE, PERMIT_REPLACE},
};

static const enum permit adopt_table[SLOT_STATES][PERMIT_WHOS] = {
    /*                   nobody's      the owner    another */
    [SLOT_FREE] = {PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    [SLOT_ATTACHING] = {PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    [SLOT_ATTACHED] = {PERMIT_BUSY, PERMIT_BUSY, PERMIT_BUSY},
    [SLOT_DETACHING] = {PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    [SLOT_ORPHANED] = {PERMIT_DO, PERMIT_DO, PERMIT_DO},
};

static const enum permit reload_table[SLOT_STATES][PERMIT_WHOS] = {
    /*                   nobody's      the owner    another */
    [SLOT_FREE] = {PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    [SLOT_ATTACHING] = {PERMIT_DENIED, PERMIT_BUSY, PERMIT_DENIED},
    [SLOT_ATTACHED] = {PERMIT_DENIED, PERMIT_DO, PERMIT_DENIED},
    [SLOT_DETACHING] = {PERMIT_MISSING, PERMIT_MISSING, PERMIT_MISSING},
    [SLOT_ORPHANED] = {PERMIT_DENIED, PERMIT_DENIED, PERMIT_DENIED},
};

static const enum permit detach_table[SLOT_STATES][PERMIT_WHOS] = {
    /*                   nobody's      the owner    another */
    [SLOT_FREE] = {PERMIT_NOOP, PERMIT_NOOP, PERMIT_NOOP},
    [SLOT_ATTACHING] = {PERMIT_DENIED, PERMIT_DO, PERMIT_DENIED},
    [SLOT_ATTACHED] = {PERMIT_DENIED, PERMIT_DO, PERMIT_DENIED},
    [SLOT_DETACHING] = {PERMIT_WAIT, PERMIT_DO, PERMIT_WAIT},
    [SLOT_ORPHANED] = {PERMIT_DO, PERMIT_DO, PERMIT_DO},
};

enum permit permit_check(enum slot_state state, enum privmsg_type type, enum permit_who who)
{
    if (state >= SLOT_STATES || who >= PERMIT_WHOS)
        return PERMIT_REFUSE;
    switch (type) {
    case PRIVMSG_ATTACH:
    case PRIVMSG_USB_ATTACH:
        return attach_table[state][who];
    case PRIVMSG_DETACH:
        return detach_table[state][who];
    case PRIVMSG_ADOPT:
    case PRIVMSG_USB_ADOPT:
        return adopt_table[state][who];
    case PRIVMSG_RELOAD:
        return reload_table[state][who];
    case PRIVMSG_REPLY:
    case PRIVMSG_GONE:
        break;
    }
    return PERMIT_REFUSE;
}
