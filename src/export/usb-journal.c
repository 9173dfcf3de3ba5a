// SPDX-License-Identifier: Apache-2.0
/*
 * The journal of a USB device, in a memfd. Each record lies there twice: a change is written into
 * the copy that does not count, and then one store makes it the one that does. A process may be
 * killed between any two instructions; memory that is shared keeps what was stored, in order. So
 * there is no torn record, and no need of a sum over it.
 *
 * A command block is the exception: the kernel puts it into `command`, on the machine's behalf,
 * even when the process that asked for it has just been killed (f_fs.c, ffs_epfile_io). Which of
 * the two places counts is the note's word; one where nothing has come is zeroes.
 *
 * What comes from another process is looked at wholly before it is used: size, seals, magic,
 * version, shape, and every field of a record when it is read.
 */
#include "export/usb-journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MAGIC   0x4c4e524a54544c50u /* "PLTTJRNL" */
#define VERSION 2u
#define SEALS   (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct drive_record {
    uint8_t kind;
    uint8_t owes;
    uint8_t length; /* 0: nothing is known */
    uint8_t note[SCSI_NOTE_MAX];
};

struct note_record {
    uint16_t packet;
    uint8_t stage, place, out, note_length;
    uint8_t status[BOT_CSW_LENGTH];
    uint8_t note[BOT_NOTE_MAX];
};

struct drive_place {
    uint32_t current; /* 0 or 1 */
    struct drive_record copies[2];
};

struct function_place {
    uint8_t command[2][USB_JOURNAL_COMMAND];
    uint32_t current;
    struct note_record copies[2];
};

struct memory {
    uint64_t magic;
    uint32_t version;
    uint32_t drives;
    struct drive_place drive[USB_JOURNAL_DRIVES_MAX];
    struct function_place function[USB_JOURNAL_DRIVES_MAX];
};

struct usb_journal {
    int fd;
    struct memory *memory;
};

static int map(struct usb_journal *j)
{
    void *memory = mmap(NULL, sizeof *j->memory, PROT_READ | PROT_WRITE, MAP_SHARED, j->fd, 0);

    if (memory == MAP_FAILED)
        return -errno;
    j->memory = memory;
    return 0;
}

int usb_journal_new(unsigned drives, struct usb_journal **out)
{
    struct usb_journal *j = calloc(1, sizeof *j);
    int result;

    if (!j)
        return -ENOMEM;
    j->fd = memfd_create("platter-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (j->fd < 0 || ftruncate(j->fd, sizeof *j->memory) < 0 ||
        fcntl(j->fd, F_ADD_SEALS, SEALS) < 0)
        result = -errno;
    else
        result = map(j);
    if (!j->memory) {
        usb_journal_free(j);
        return result;
    }
    j->memory->drives = drives;
    j->memory->version = VERSION;
    j->memory->magic = MAGIC;
    *out = j;
    return 0;
}

/* Without SEAL_SHRINK its other holders could take the memory away under this process. */
static int check_file(int fd)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0)
        return -EBADMSG;
    /* Another version may have another size. */
    return st.st_size < (off_t)sizeof(struct memory) ? -EPROTO : 0;
}

static int check_memory(const struct memory *m, unsigned drives)
{
    if (m->magic != MAGIC)
        return -EBADMSG;
    if (m->version != VERSION)
        return -EPROTO;
    return m->drives == drives ? 0 : -EBADMSG;
}

int usb_journal_open(int take_fd, unsigned drives, struct usb_journal **out)
{
    struct usb_journal *j = calloc(1, sizeof *j);
    int result;

    if (!j) {
        close(take_fd);
        return -ENOMEM;
    }
    j->fd = take_fd;
    result = check_file(j->fd);
    if (result == 0)
        result = map(j);
    if (j->memory)
        result = check_memory(j->memory, drives);
    if (result < 0) {
        usb_journal_free(j);
        return result;
    }
    *out = j;
    return 0;
}

void usb_journal_free(struct usb_journal *j)
{
    if (!j)
        return;
    if (j->memory)
        munmap(j->memory, sizeof *j->memory);
    if (j->fd >= 0)
        close(j->fd);
    free(j);
}

int usb_journal_fd(const struct usb_journal *j)
{
    return j->fd;
}

/* From here on the other copy counts; what was stored before is there before. */
static void turn(uint32_t *current, uint32_t to)
{
    __atomic_store_n(current, to, __ATOMIC_RELEASE);
}

void usb_journal_put_drive(struct usb_journal *j, unsigned drive,
                           const struct usb_journal_drive *put)
{
    struct drive_place *place = &j->memory->drive[drive];
    uint32_t other = !place->current;

    place->copies[other].kind = (uint8_t)put->kind;
    place->copies[other].owes = put->owes;
    place->copies[other].length = (uint8_t)put->length;
    memcpy(place->copies[other].note, put->note, sizeof put->note);
    turn(&place->current, other);
}

bool usb_journal_get_drive(const struct usb_journal *j, unsigned drive,
                           struct usb_journal_drive *out)
{
    const struct drive_place *place = &j->memory->drive[drive];
    struct drive_record r;
    uint32_t current = __atomic_load_n(&place->current, __ATOMIC_ACQUIRE);

    if (current > 1)
        return false;
    r = place->copies[current];
    if (r.kind > MEDIUM_CD || r.owes > 1 || r.length == 0 || r.length > sizeof r.note)
        return false;
    out->kind = (enum medium_kind)r.kind;
    out->owes = r.owes;
    out->length = r.length;
    memcpy(out->note, r.note, sizeof out->note);
    return true;
}

void usb_journal_put_note(struct usb_journal *j, unsigned function, const struct usb_note *put)
{
    struct function_place *place = &j->memory->function[function];
    uint32_t other = !place->current;
    struct note_record *r = &place->copies[other];

    *r = (struct note_record){
        .packet = (uint16_t)put->packet,
        .stage = (uint8_t)put->stage,
        .place = put->place,
        .out = put->out,
        .note_length = put->note_length,
    };
    memcpy(r->status, put->status, sizeof r->status);
    memcpy(r->note, put->note, sizeof r->note);
    turn(&place->current, other);
}

static bool is_packet(unsigned packet)
{
    return packet == 0 || packet == 64 || packet == 512 || packet == 1024;
}

bool usb_journal_get_note(const struct usb_journal *j, unsigned function, struct usb_note *out)
{
    const struct function_place *place = &j->memory->function[function];
    uint32_t current = __atomic_load_n(&place->current, __ATOMIC_ACQUIRE);
    struct note_record r;

    if (current > 1)
        return false;
    r = place->copies[current];
    if (!is_packet(r.packet) || r.stage > USB_STAGE_STATUS || r.place > 1 || r.out > 1 ||
        r.note_length > BOT_NOTE_MAX)
        return false;
    *out = (struct usb_note){
        .packet = r.packet,
        .stage = (enum usb_stage)r.stage,
        .place = r.place,
        .out = r.out,
        .note_length = r.note_length,
    };
    memcpy(out->status, r.status, sizeof out->status);
    memcpy(out->note, r.note, sizeof out->note);
    return true;
}

uint8_t *usb_journal_command(struct usb_journal *j, unsigned function, unsigned place)
{
    return j->memory->function[function].command[place];
}
