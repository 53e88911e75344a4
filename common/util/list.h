/* SPDX-License-Identifier: BSD-3-Clause */
/* An intrusive, circular, doubly linked list. The owner's thread only. */
#ifndef LEASEHOLD_LIST_H
#define LEASEHOLD_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

#define LIST_INIT(head) {&(head), &(head)}

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_insert_between(struct list *l, struct list *prev, struct list *next)
{
	l->prev = prev;
	l->next = next;
	prev->next = l;
	next->prev = l;
}

/** Puts `l` first. */
static inline void list_push_front(struct list *head, struct list *l)
{
	list_insert_between(l, head, head->next);
}

/** Puts `l` last. */
static inline void list_push(struct list *head, struct list *l)
{
	list_insert_between(l, head->prev, head);
}

/** Takes `l` out of whatever list it is in; harmless on one that list_init() made. */
static inline void list_del(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

/** Takes the first element out, or NULL. */
static inline struct list *list_pop(struct list *head)
{
	struct list *l = head->next;

	if (l == head)
		return NULL;
	head->next = l->next;
	l->next->prev = head;
	list_init(l);
	return l;
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)

/** Loops over the links of a list; the body must not take `pos` out (use the _safe form). */
#define list_for_each(pos, head) for (pos = (head)->next; pos != (head); pos = pos->next)

#define list_for_each_safe(pos, tmp, head) \
	for (pos = (head)->next, tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)

#endif
