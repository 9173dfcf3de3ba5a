/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive doubly linked list. The head is a `struct list` that links to itself when empty; a
 * member is a `struct list` inside the thing that is listed. The list owns nothing.
 *
 * A member that is in no list links to itself too, so list_remove() may be called on it again.
 */
#ifndef PLATTER_BASE_LIST_H
#define PLATTER_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define list_entry(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* Takes the first member out of the list; NULL if there is none. */
static inline struct list *list_take_first(struct list *head)
{
    struct list *first = head->next;

    if (first == head)
        return NULL;
    list_remove(first);
    return first;
}

/* Moves every member of `from` to the end of `to`. */
static inline void list_move_all(struct list *from, struct list *to)
{
    struct list *link;

    while ((link = list_take_first(from)))
        list_append(to, link);
}

/* The body must not remove any member but through list_for_each_safe, and there only `it`. */
#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_each_safe(it, head)                                                               \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#endif
