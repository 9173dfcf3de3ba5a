/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints docs/session.md: the session table as a diagram and as a table. A test compares the page
 * with this output, so the picture cannot lie.
 */
#include <stdio.h>

#include "session/session.h"

static void print_actions(unsigned actions)
{
    const char *comma = "";

    for (unsigned bit = 0; bit < SESSION_ACTIONS; bit++) {
        if (actions & 1u << bit) {
            printf("%s%s", comma, session_action_name(bit));
            comma = ", ";
        }
    }
}

int main(void)
{
    puts("<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
         "# The life of a session\n\n"
         "Generated from the table in `src/session/session.c` by `tools/session-diagram.c`.\n\n"
         "```mermaid\nstateDiagram-v2\n    [*] --> idle");
    for (int s = 0; s < SESSION_STATES; s++) {
        for (int e = 0; e < SESSION_EVENTS; e++) {
            struct session_step step = session_step((enum session_state)s, (enum session_event)e);

            if ((int)step.next != s)
                printf("    %s --> %s: %s\n", session_state_name((enum session_state)s),
                       session_state_name(step.next), session_event_name((enum session_event)e));
        }
    }
    puts("```\n\n| state | event | next | actions, in order |\n|---|---|---|---|");
    for (int s = 0; s < SESSION_STATES; s++) {
        for (int e = 0; e < SESSION_EVENTS; e++) {
            struct session_step step = session_step((enum session_state)s, (enum session_event)e);

            if ((int)step.next == s && step.actions == 0)
                continue;
            printf("| %s | %s | %s | ", session_state_name((enum session_state)s),
                   session_event_name((enum session_event)e), session_state_name(step.next));
            print_actions(step.actions);
            puts(" |");
        }
    }
    puts("\nAny other event in any state changes nothing.");
    return 0;
}
