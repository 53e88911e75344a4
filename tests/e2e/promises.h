/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The scene of tests/e2e/promises: one client, one export whose file is on this machine, so that it can be
 * opened (which recalls) and changed behind the client's back. A fence is made here: the keeper is kept in
 * its event for a recall until the target's patience has ended. The main thread's.
 */
#ifndef LEASEHOLD_PROMISES_H
#define LEASEHOLD_PROMISES_H

#include "leasehold.h"

#include "util/util.h"

#include <semaphore.h>

#define PIECE	KIB(64)
#define AT	KIB(256) /* of what is written */
#define WAIT_NS (20 * NS_PER_S)

extern const char *uri, *path;
extern struct lh_client *client;
extern struct lh_export *ex;
extern struct lh_error err;
extern uint8_t written[PIECE], got[PIECE];
extern sem_t go;	  /* the keeper may go on */
extern _Atomic bool keep; /* it is to wait for that, when it is told of a recall */

/** Ends the program. */
_Noreturn void broken(const char *file, int line, const char *what);

#define must(what)                                              \
	do {                                                    \
		if (!(what))                                    \
			broken(__FILE_NAME__, __LINE__, #what); \
	} while (0)

/** Of each export that is opened. On the keeper's thread. */
void on_event(const struct lh_event *event, void *user);
void begin(struct lh_options options);
/** Returns what closing the export did. */
int end(void);

uint64_t stat_of(size_t field);
#define STAT(field) stat_of(offsetof(struct lh_stats, field))
/** Whatever confirmed. */
uint64_t confirmations(void);
void wait_stat(size_t field, uint64_t least, const char *name);
#define WAIT_STAT(field, least) wait_stat(offsetof(struct lh_stats, field), least, #field)

/** Bytes that are nowhere else, and in the caller's memory only until they have left. */
void write_directly(uint64_t offset);
bool is_there(uint64_t offset);
/**
 * The grant dies with what was not confirmed: opening the file recalls, the keeper does not answer, the
 * target fences. Then what did arrive is taken out of the file again, before the keeper hears of it:
 * zeros in its place.
 */
void fence_and_lose(uint64_t offset);
void go_on(void);
struct lh_hold *hold(uint64_t offset, uint64_t length);
void wait_granted(struct lh_hold *h);

/* promises_confirm.c: what makes direct writes durable */

void test_by_read(void);
void test_not_by_read(void);
void test_by_flush(void);
void test_not_by_flush(void);

#endif
