/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two plans. What always holds: a plan never has more than PLAN_STEPS_MAX steps; the device is
 * sealed, or the endpoints are open, before the host can see the drive, and it is bound last, so a
 * host never meets half a drive; going down, children go before parents. Going down does not ask
 * which carrier it was: it takes away what is seen.
 *
 * How a drive introduces itself to a host is the configuration's, its serial number above all, so
 * that a machine's boot order still finds "the same drive" tomorrow.
 */
#include "gadget/plan.h"

#include <stdio.h>

#define FUNCTION "functions/mass_storage.0"
#define CONFIG   "configs/c.1"

static const char *const part_paths[] = {
    [PLAN_PART_GADGET] = "",
    [PLAN_PART_STRINGS] = "/strings/0x409",
    [PLAN_PART_CONFIG] = "/" CONFIG,
    [PLAN_PART_CONFIG_STRINGS] = "/" CONFIG "/strings/0x409",
    [PLAN_PART_FUNCTION] = "/" FUNCTION,
    [PLAN_PART_LINK] = "/" CONFIG "/mass_storage.0",
    /* Followed by the gadget's name: FunctionFS's instances share one space of names. */
    [PLAN_PART_USB_FUNCTION] = "/functions/ffs.",
    [PLAN_PART_USB_LINK] = "/" CONFIG "/ffs.",
    [PLAN_PART_UDC] = "/UDC",
    [PLAN_PART_LUN] = "/" FUNCTION "/lun.0",
};

void plan_name(unsigned slot, char out[PLAN_TEXT_MAX])
{
    snprintf(out, PLAN_TEXT_MAX, "platter-%u", slot);
}

void plan_path(unsigned slot, enum plan_part part, char out[PLAN_PATH_MAX])
{
    if (part == PLAN_PART_USB_FUNCTION || part == PLAN_PART_USB_LINK)
        snprintf(out, PLAN_PATH_MAX, "platter-%u%splatter-%u", slot, part_paths[part], slot);
    else
        snprintf(out, PLAN_PATH_MAX, "platter-%u%s", slot, part_paths[part]);
}

static struct plan_step *add(struct plan *plan, unsigned slot, enum plan_deed deed,
                             enum plan_part part)
{
    struct plan_step *step = &plan->steps[plan->count++];

    step->deed = deed;
    step->optional = false;
    step->functions = 0;
    step->text[0] = '\0';
    plan_path(slot, part, step->path);
    return step;
}

static struct plan_step *add_write(struct plan *plan, unsigned slot, enum plan_part part,
                                   const char *attribute, const char *text)
{
    struct plan_step *step = add(plan, slot, PLAN_WRITE, part);

    snprintf(step->path, sizeof step->path, "platter-%u%s/%s", slot, part_paths[part], attribute);
    snprintf(step->text, sizeof step->text, "%s", text);
    return step;
}

static void add_make_dir(struct plan *plan, unsigned slot, enum plan_part part, const char *module)
{
    struct plan_step *step = add(plan, slot, PLAN_MAKE_DIR, part);

    snprintf(step->text, sizeof step->text, "%s", module);
}

static void add_id(struct plan *plan, unsigned slot, const char *attribute, uint16_t id)
{
    char text[8];

    snprintf(text, sizeof text, "0x%04x", id);
    add_write(plan, slot, PLAN_PART_GADGET, attribute, text);
}

static void add_identity(struct plan *plan, const struct plan_wanted *w)
{
    unsigned slot = w->slot;

    add_id(plan, slot, "idVendor", w->vendor_id);
    add_id(plan, slot, "idProduct", w->product_id);
    add_write(plan, slot, PLAN_PART_GADGET, "bcdUSB", "0x0200");
    add_write(plan, slot, PLAN_PART_GADGET, "bcdDevice", "0x0100");
    add_make_dir(plan, slot, PLAN_PART_STRINGS, "libcomposite");
    add_write(plan, slot, PLAN_PART_STRINGS, "manufacturer", w->vendor);
    add_write(plan, slot, PLAN_PART_STRINGS, "product", w->product[0] ? w->product : "Platter");
    add_write(plan, slot, PLAN_PART_STRINGS, "serialnumber", w->serial);
}

static void add_lun(struct plan *plan, const struct plan_wanted *w)
{
    bool cd = w->kind == MEDIUM_CD;
    const char *product = cd ? "Virtual CD" : "Virtual Disk";
    char inquiry[PLAN_TEXT_MAX];

    if (w->product[0])
        product = w->product;
    /* Eight bytes of vendor, sixteen of product, four of revision. */
    snprintf(inquiry, sizeof inquiry, "%-8s%-16s0100", w->vendor, product);
    /* ro and cdrom are refused once the file is open: the file comes last. */
    add_write(plan, w->slot, PLAN_PART_LUN, "removable", "1");
    add_write(plan, w->slot, PLAN_PART_LUN, "ro", w->read_only || cd ? "1" : "0");
    add_write(plan, w->slot, PLAN_PART_LUN, "cdrom", cd ? "1" : "0");
    /* Since Linux 4.8. */
    add_write(plan, w->slot, PLAN_PART_LUN, "inquiry_string", inquiry)->optional = true;
    add_write(plan, w->slot, PLAN_PART_LUN, "file", w->device);
}

static void add_link(struct plan *plan, unsigned slot, enum plan_part function, enum plan_part link)
{
    struct plan_step *step = add(plan, slot, PLAN_LINK, link);

    plan_path(slot, function, step->text);
}

static void add_mass_storage(struct plan *plan, const struct plan_wanted *w)
{
    add_make_dir(plan, w->slot, PLAN_PART_FUNCTION, "usb_f_mass_storage");
    add_lun(plan, w);
    add_link(plan, w->slot, PLAN_PART_FUNCTION, PLAN_PART_LINK);
    add(plan, w->slot, PLAN_SEAL, PLAN_PART_LUN);
}

static void add_functionfs(struct plan *plan, const struct plan_wanted *w)
{
    struct plan_step *step;

    add_make_dir(plan, w->slot, PLAN_PART_USB_FUNCTION, "usb_f_fs");
    step = add(plan, w->slot, PLAN_ENDPOINTS, PLAN_PART_USB_FUNCTION);
    step->functions = w->functions;
    plan_name(w->slot, step->text);
    add_link(plan, w->slot, PLAN_PART_USB_FUNCTION, PLAN_PART_USB_LINK);
}

void plan_up(const struct plan_wanted *w, struct plan *out)
{
    struct plan_step *step;

    out->count = 0;
    add_identity(out, w);
    add_make_dir(out, w->slot, PLAN_PART_CONFIG, "libcomposite");
    add_make_dir(out, w->slot, PLAN_PART_CONFIG_STRINGS, "libcomposite");
    add_write(out, w->slot, PLAN_PART_CONFIG_STRINGS, "configuration", "Drive");
    if (w->carrier == PLAN_FUNCTIONFS)
        add_functionfs(out, w);
    else
        add_mass_storage(out, w);
    step = add(out, w->slot, PLAN_BIND, PLAN_PART_UDC);
    snprintf(step->text, sizeof step->text, "%s", w->udc);
}

void plan_down(unsigned slot, const struct plan_seen *seen, bool link_alive, struct plan *out)
{
    struct plan_step *step;

    out->count = 0;
    if (seen->connected && !link_alive)
        add(out, slot, PLAN_DISCONNECT, PLAN_PART_LUN);
    /* Since Linux 5.19; where it is missing the unbinding alone takes the drive away. */
    if (seen->function && link_alive) {
        step = add_write(out, slot, PLAN_PART_LUN, "forced_eject", "\n");
        step->optional = true;
    }
    if (seen->bound) {
        step = add(out, slot, PLAN_WRITE, PLAN_PART_UDC);
        snprintf(step->text, sizeof step->text, "\n");
    }
    if (seen->connected && link_alive)
        add(out, slot, PLAN_DISCONNECT, PLAN_PART_LUN);
    if (seen->link)
        add(out, slot, PLAN_UNLINK, PLAN_PART_LINK);
    if (seen->usb_link)
        add(out, slot, PLAN_UNLINK, PLAN_PART_USB_LINK);
    if (seen->config_strings)
        add(out, slot, PLAN_REMOVE_DIR, PLAN_PART_CONFIG_STRINGS);
    if (seen->config)
        add(out, slot, PLAN_REMOVE_DIR, PLAN_PART_CONFIG);
    if (seen->function)
        add(out, slot, PLAN_REMOVE_DIR, PLAN_PART_FUNCTION);
    if (seen->usb_function)
        add(out, slot, PLAN_REMOVE_DIR, PLAN_PART_USB_FUNCTION);
    if (seen->strings)
        add(out, slot, PLAN_REMOVE_DIR, PLAN_PART_STRINGS);
    if (seen->gadget)
        add(out, slot, PLAN_REMOVE_DIR, PLAN_PART_GADGET);
}
