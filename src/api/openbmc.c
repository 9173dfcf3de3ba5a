/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page of OpenBMC as a far end, over whatever offers the controls (api/control.h). It keeps no
 * state.
 */
#include "api/openbmc.h"

#include <string.h>

#include "api/media-query.h"
#include "api/openbmc-offer.h"

/*
 * Who may open a drive here: the one place where that is judged. There is no login yet, so it is
 * everybody whom this program listens to at all: those of this machine, unless its configuration
 * says that there be no login for others either. Any token is as good as none.
 */
static bool admit(void *owner, const struct web_visitor *visitor)
{
    (void)owner;
    (void)visitor;
    return true;
}

static int path_slot(const char *path, unsigned slot_count)
{
    if (strcmp(path, "/vm/0/0") == 0)
        return slot_count > 0 ? 0 : -1;
    return media_path_slot(path, "/nbd/", "", slot_count);
}

static void open_drive(void *owner, const char *path, const struct web_arguments *arguments,
                       struct stream *stream)
{
    const struct control *control = owner;
    int slot = path_slot(path, control_slot_count(control));
    struct control_slot about;
    struct control_offer offer;

    (void)arguments;
    if (slot < 0) {
        stream_close(stream, STREAM_CLOSE_REFUSED, "This machine has no drive of that number.");
        stream_free(stream);
        return;
    }
    control_get_slot(control, (unsigned)slot, &about);
    offer = openbmc_offer(&about);
    control_open_slot(control, (unsigned)slot, stream, &offer);
}

static struct web_route route(const char *prefix, const struct control *control)
{
    return (struct web_route){.prefix = prefix,
                              .page = WEB_PAGE_PLAIN,
                              .admit = admit,
                              .open = open_drive,
                              .owner = (void *)control};
}

struct web_route openbmc_vm_route(const struct control *control)
{
    return route("/vm/", control);
}

struct web_route openbmc_nbd_route(const struct control *control)
{
    return route("/nbd/", control);
}
