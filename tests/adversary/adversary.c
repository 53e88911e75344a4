// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client that does one kind of harm, thoroughly; what it must not be able to do it tries, and says
 * whether it could. For tests/adversary/cases, which look after the landlord, the bystanders and the
 * bytes.
 *
 *	adversary FABRIC ADDRESS PORT NQN NSID ATTACK PREY TRIES
 *
 * PREY is where in the export a mebibyte is to be had. Prints "ready" where an attack waits for the
 * landlord to recall, "done" when it has done its worst; then it stays connected until SIGTERM.
 * Exit status: 0 everything that must be refused was, 1 it could not attack, 3 something worked that
 * must not, or failed that must work.
 */
#include "adversary.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool bad;
static volatile sig_atomic_t ended;

void must_fail(const char *what, bool worked)
{
	raw_say(worked ? "WORKED" : "refused", now_ns(), what);
	bad |= worked;
}

void must_work(const char *what, bool worked)
{
	raw_say(worked ? "fine" : "FAILED", now_ns(), what);
	bad |= !worked;
}

struct link *fresh_queue(struct adversary *a)
{
	const uint64_t end = now_ns() + RAW_STEP_NS;

	/* What happened to it may be on its way still. */
	link_turn(&a->admin, &a->direct);
	if (a->direct.conn && !a->direct.dead)
		return &a->direct;
	/* The target may have its hands full with those that died. */
	do {
		link_close(&a->direct);
		if (direct_open(&a->admin, &a->direct) >= 0)
			return &a->direct;
		usleep(20000);
	} while (now_ns() < end);
	errx(1, "no direct queue");
}

struct raw_grant fresh_grant(struct adversary *a)
{
	const uint64_t end = now_ns() + RAW_STEP_NS;
	struct raw_grant g;
	uint16_t status;

	do {
		status = acquire_try(&a->admin, fresh_queue(a), BOTH, a->prey, HALF, &g);
		if (status == 0)
			return g;
		/* Of a queue that died the grants die soon, and the queue itself is found dead. */
		usleep(10000);
	} while ((status == LH_SC_RECALLING || status == LH_SC_CONFLICT ||
		  status == LH_SC_NO_DIRECT_QUEUE) &&
		 now_ns() < end);
	errx(1, "Acquire: status %03xh", status);
}

void must_refuse_key(struct adversary *a, const char *what, uint64_t address, uint32_t rkey)
{
	char text[160];

	(void)snprintf(text, sizeof(text), "%s: write and read", what);
	must_fail(text, round_trip(&a->admin, fresh_queue(a), address, rkey, 64) == FABRIC_OK);
	(void)snprintf(text, sizeof(text), "%s: read", what);
	must_fail(text,
		  rma(&a->admin, fresh_queue(a), FABRIC_OP_READ, address, rkey, 64) == FABRIC_OK);
	link_close(&a->direct);
}

void meet_victim(struct adversary *a)
{
	struct link first = {0};

	a->neighbour.host = a->admin.host + 1;
	admin_open(&a->neighbour);
	/* Its queue's number is one that we have none of. */
	direct_must_open(&a->neighbour, &first);
	direct_must_open(&a->neighbour, &a->victim);
	link_close(&first);
	a->victims = acquire(&a->neighbour, &a->victim, BOTH, a->prey + HALF, HALF);
}

void victim_fine(struct adversary *a, const char *after)
{
	char text[160];

	(void)snprintf(text, sizeof(text), "the neighbour's grant after %s", after);
	must_work(text, round_trip(&a->neighbour, &a->victim, a->victims.address + 4096,
				   a->victims.rkey, 64) == FABRIC_OK);
}

void await_recall(struct adversary *a)
{
	const uint64_t end = now_ns() + 3 * RAW_STEP_NS;

	raw_say("ready", now_ns(), "");
	while (!a->direct.told && !a->direct.dead && now_ns() < end)
		link_turn(&a->admin, &a->direct);
	if (!a->direct.told)
		errx(1, "no recall came");
	a->direct.told = false;
	/* Who behaves gives back at once. */
	if (a->victim.conn)
		release_all(&a->neighbour, &a->victim, 0);
}

struct attack {
	const char *name;
	void (*fn)(struct adversary *a);
};

static const struct attack attacks[] = {
	{"old-keys", attack_old_keys},	   {"wrap", attack_wrap},
	{"neighbours", attack_neighbours}, {"answers", attack_answers},
	{"commits", attack_commits},	   {"tokens", attack_tokens},
	{"half-open", attack_half_open},   {"flood", attack_flood},
	{"sinks", attack_sinks},
};

static void on_term(int signal)
{
	(void)signal;
	ended = 1;
}

int main(int argc, char **argv)
{
	static struct adversary a;

	if (argc < 9)
		errx(2, "FABRIC ADDRESS PORT NQN NSID ATTACK PREY TRIES");
	(void)signal(SIGTERM, on_term);
	raw_open(argv + 1);
	a.prey = raw_number(argv[7]);
	a.tries = (unsigned int)raw_number(argv[8]);
	for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
		if (strcmp(attacks[i].name, argv[6]) != 0)
			continue;
		admin_open(&a.admin);
		attacks[i].fn(&a);
		raw_say("done", now_ns(), argv[6]);
		while (!ended) {
			link_turn(&a.admin, a.neighbour.conn ? &a.neighbour : NULL);
			usleep(1000);
		}
		return bad ? RAW_BAD_EXIT : 0;
	}
	errx(2, "what is %s?", argv[6]);
}
