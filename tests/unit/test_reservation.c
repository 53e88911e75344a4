// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reservations, the pure part: the conflict table, each command's actions against a state that the
 * test builds by commands, and the text that is kept on disk, whole and damaged.
 */
#include "test_dirs.h"

#include <stdlib.h>

#include "nvme/reservation.h"

#define CONFLICT (NVME_SC_RESERVATION_CONFLICT | NVME_SC_DNR)
#define INVALID	 (NVME_SC_INVALID_FIELD | NVME_SC_DNR)
#define WE	 NVME_RESV_WRITE_EXCLUSIVE
#define EA	 NVME_RESV_EXCLUSIVE_ACCESS
#define WERO	 NVME_RESV_WRITE_EXCLUSIVE_REGISTRANTS
#define EARO	 NVME_RESV_EXCLUSIVE_ACCESS_REGISTRANTS
#define WEAR	 NVME_RESV_WRITE_EXCLUSIVE_ALL
#define EAAR	 NVME_RESV_EXCLUSIVE_ACCESS_ALL

static struct resv_state now;
static struct resv_outcome outcome;

static int setup(void **state)
{
	(void)state;
	memset(&now, 0, sizeof(now));
	return 0;
}

static uint16_t step(struct resv_event *e, unsigned int host)
{
	struct resv_state before = now, next;

	memset(&next, 0xee, sizeof(next));
	e->hostid[7] = (uint8_t)host;
	resv_step(&now, e, true, &next, &outcome);
	assert_memory_equal(&before, &now, sizeof(now));
	if (outcome.changed)
		now = next;
	assert_true(resv_valid(&now));
	return outcome.status;
}

static uint16_t reg(unsigned int host, uint64_t key)
{
	return step(&(struct resv_event){.kind = RESV_REGISTER, .key = key}, host);
}

static uint16_t regx(unsigned int host, unsigned int action, bool ignore, uint64_t crkey,
		     uint64_t nrkey)
{
	return step(&(struct resv_event){.kind = RESV_REGISTER,
					 .action = (uint8_t)action,
					 .ignore_key = ignore,
					 .crkey = crkey,
					 .key = nrkey},
		    host);
}

static uint16_t acquire(unsigned int host, uint64_t crkey, unsigned int type)
{
	return step(
		&(struct resv_event){.kind = RESV_ACQUIRE, .crkey = crkey, .type = (uint8_t)type},
		host);
}

static uint16_t preempt(unsigned int host, uint64_t crkey, uint64_t prkey, unsigned int type,
			bool abort)
{
	return step(&(struct resv_event){.kind = RESV_ACQUIRE,
					 .action = abort ? NVME_RACQA_PREEMPT_ABORT
							 : NVME_RACQA_PREEMPT,
					 .crkey = crkey,
					 .key = prkey,
					 .type = (uint8_t)type},
		    host);
}

static uint16_t rel(unsigned int host, unsigned int action, uint64_t crkey, unsigned int type)
{
	return step(&(struct resv_event){.kind = RESV_RELEASE,
					 .action = (uint8_t)action,
					 .crkey = crkey,
					 .type = (uint8_t)type},
		    host);
}

static bool allowed(unsigned int host, bool writes)
{
	uint8_t hostid[RESV_HOSTID_BYTES] = {[7] = (uint8_t)host};

	return resv_allows(&now, hostid, writes);
}

static bool registered(unsigned int host)
{
	uint8_t hostid[RESV_HOSTID_BYTES] = {[7] = (uint8_t)host};

	return resv_find(&now, hostid) >= 0;
}

static bool holds(unsigned int host)
{
	uint8_t hostid[RESV_HOSTID_BYTES] = {[7] = (uint8_t)host};
	int i = resv_find(&now, hostid);

	return i >= 0 && resv_holds(&now, (unsigned int)i);
}

/* What that host was told by the last command. */
static enum nvme_resv_notice told(unsigned int host)
{
	enum nvme_resv_notice what = NVME_RESV_NOTICE_NONE;

	for (unsigned int i = 0; i < outcome.nr_notices; i++) {
		if (outcome.notices[i].hostid[7] != host)
			continue;
		assert_int_equal(what, NVME_RESV_NOTICE_NONE); /* one each */
		what = outcome.notices[i].what;
	}
	return what;
}

/* Hosts 1, 2, 3 with keys 0x11, 0x22, 0x33; host 2 holds the reservation. */
static void three(unsigned int type)
{
	memset(&now, 0, sizeof(now));
	assert_int_equal(reg(3, 0x33), 0);
	assert_int_equal(reg(1, 0x11), 0);
	assert_int_equal(reg(2, 0x22), 0);
	if (type)
		assert_int_equal(acquire(2, 0x22, type), 0);
	assert_int_equal(now.generation, 3);
}

/* ---- the conflict table (NVMe base 2.0 figure 417 and NVM command set 1.0 figure 4) ------------- */

static void test_conflicts(void **state)
{
	static const struct {
		uint8_t type;
		/* holder, registrant, other: read, write */
		bool allowed[3][2];
	} table[] = {
		{NVME_RESV_NONE, {{1, 1}, {1, 1}, {1, 1}}},
		{WE, {{1, 1}, {1, 0}, {1, 0}}},
		{EA, {{1, 1}, {0, 0}, {0, 0}}},
		{WERO, {{1, 1}, {1, 1}, {1, 0}}},
		{EARO, {{1, 1}, {1, 1}, {0, 0}}},
		{WEAR, {{1, 1}, {1, 1}, {1, 0}}},
		{EAAR, {{1, 1}, {1, 1}, {0, 0}}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		three(table[i].type);
		for (unsigned int writes = 0; writes < 2; writes++) {
			assert_int_equal(allowed(2, writes), table[i].allowed[0][writes]);
			assert_int_equal(allowed(1, writes), table[i].allowed[1][writes]);
			assert_int_equal(allowed(3, writes), table[i].allowed[1][writes]);
			assert_int_equal(allowed(9, writes), table[i].allowed[2][writes]);
			assert_int_equal(allowed(0, writes), table[i].allowed[2][writes]);
		}
	}
}

/* ---- Register --------------------------------------------------------------------------------- */

static void test_register(void **state)
{
	(void)state;
	assert_int_equal(reg(1, 0x11), 0);
	assert_int_equal(now.generation, 1);
	/* Again with the same key: fine. With another: that takes a replace. */
	assert_int_equal(reg(1, 0x11), 0);
	assert_int_equal(reg(1, 0x12), CONFLICT);
	assert_int_equal(now.generation, 2);
	/* Two hosts may have the same key. */
	assert_int_equal(reg(2, 0x11), 0);
	assert_int_equal(regx(1, NVME_RREGA_REPLACE, false, 0x99, 0x12), CONFLICT);
	assert_int_equal(regx(1, NVME_RREGA_REPLACE, false, 0x11, 0x12), 0);
	assert_int_equal(acquire(1, 0x11, WE), CONFLICT);
	assert_int_equal(acquire(1, 0x12, WE), 0);
	/* Who holds keeps what it holds. */
	assert_int_equal(regx(1, NVME_RREGA_REPLACE, true, 0x99, 0x13), 0);
	assert_true(holds(1));
	assert_int_equal(regx(3, NVME_RREGA_REPLACE, false, 0, 0x33), CONFLICT);
	assert_int_equal(regx(3, NVME_RREGA_REPLACE, true, 0, 0x33), 0);
	assert_true(registered(3));
	assert_int_equal(regx(3, NVME_RREGA_UNREGISTER, false, 0x32, 0), CONFLICT);
	assert_int_equal(regx(3, NVME_RREGA_UNREGISTER, false, 0x33, 0), 0);
	assert_false(registered(3));
	assert_int_equal(regx(3, NVME_RREGA_UNREGISTER, true, 0, 0), CONFLICT);
	for (unsigned int action = 3; action < 8; action++)
		assert_int_equal(regx(1, action, false, 0x13, 0), INVALID);
	assert_int_equal(outcome.fault, 41);
}

static void test_persistence(void **state)
{
	struct resv_event e = {.kind = RESV_REGISTER, .key = 5, .cptpl = 1};
	struct resv_state next;

	(void)state;
	assert_int_equal(step(&e, 1), INVALID);
	assert_int_equal(outcome.fault, 1 + 43 + (6 << 8));
	e.cptpl = NVME_CPTPL_SET;
	resv_step(&now, &e, false, &next, &outcome);
	assert_int_equal(outcome.status, INVALID);
	assert_int_equal(step(&e, 1), 0);
	assert_true(now.ptpl);
	e.cptpl = NVME_CPTPL_KEEP;
	assert_int_equal(step(&e, 1), 0);
	assert_true(now.ptpl);
	/* A command that fails changes nothing. */
	e.cptpl = NVME_CPTPL_CLEAR;
	e.key = 6;
	assert_int_equal(step(&e, 1), CONFLICT);
	assert_true(now.ptpl);
	e.key = 5;
	assert_int_equal(step(&e, 1), 0);
	assert_false(now.ptpl);
	e = (struct resv_event){.kind = RESV_PERSIST, .ptpl = true};
	assert_int_equal(step(&e, 0), 0);
	assert_true(now.ptpl && outcome.changed);
	assert_int_equal(step(&e, 0), 0);
	assert_false(outcome.changed);
	resv_step(&now, &e, false, &next, &outcome);
	assert_int_equal(outcome.status, INVALID);
	/* Clearing all reservations leaves it. */
	assert_int_equal(rel(1, NVME_RRELA_CLEAR, 5, 0), 0);
	assert_true(now.ptpl);
}

static void test_unregister_holder(void **state)
{
	(void)state;
	for (unsigned int type = WE; type <= EAAR; type++) {
		bool all = type == WEAR || type == EAAR, only = type == WERO || type == EARO;

		three(type);
		assert_int_equal(regx(2, NVME_RREGA_UNREGISTER, false, 0x22, 0), 0);
		assert_int_equal(now.type, all ? type : NVME_RESV_NONE);
		assert_int_equal(told(1), only ? NVME_RESV_RESERVATION_RELEASED : 0);
		assert_int_equal(told(3), told(1));
		assert_int_equal(told(2), 0);
		assert_int_equal(holds(1), all);
		assert_int_equal(regx(1, NVME_RREGA_UNREGISTER, true, 0, 0), 0);
		assert_int_equal(outcome.nr_notices, 0);
		/* The last of all registrants takes the reservation along. */
		assert_int_equal(regx(3, NVME_RREGA_UNREGISTER, true, 0, 0), 0);
		assert_int_equal(now.type, NVME_RESV_NONE);
		assert_int_equal(now.nr, 0);
	}
	/* The index of the holder follows. */
	three(EA);
	assert_int_equal(regx(1, NVME_RREGA_UNREGISTER, false, 0x11, 0), 0);
	assert_true(holds(2) && !holds(3));
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(reg(0, 1), 0);
	assert_true(holds(2) && !holds(3) && !holds(1) && !holds(0));
}

static void test_full(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < RESV_MAX_REGISTRANTS; i++)
		assert_int_equal(reg((i * 37) % 128, 1), 0);
	assert_int_equal(now.nr, RESV_MAX_REGISTRANTS);
	assert_int_equal(reg(200, 1), NVME_SC_INTERNAL);
	assert_int_equal(reg(100, 1), 0);
	assert_int_equal(acquire(100, 1, EARO), 0);
	assert_int_equal(preempt(100, 1, 1, WE, false), 0);
	assert_int_equal(now.nr, 1);
	assert_int_equal(outcome.nr_notices, RESV_MAX_REGISTRANTS - 1);
}

/* ---- Acquire ---------------------------------------------------------------------------------- */

static void test_acquire(void **state)
{
	struct resv_event ignore = {.kind = RESV_ACQUIRE, .ignore_key = true, .type = WE};

	(void)state;
	three(0);
	assert_int_equal(acquire(9, 0, WE), CONFLICT);
	assert_int_equal(acquire(2, 0x11, WE), CONFLICT);
	assert_int_equal(acquire(2, 0x22, 0), INVALID);
	assert_int_equal(outcome.fault, 42);
	assert_int_equal(acquire(2, 0x22, 7), INVALID);
	assert_int_equal(step(&ignore, 2), INVALID);
	assert_int_equal(outcome.fault, 41 + (3 << 8));
	for (unsigned int type = WE; type <= EAAR; type++) {
		bool all = type == WEAR || type == EAAR;

		three(type);
		assert_int_equal(acquire(2, 0x22, type), 0);
		assert_false(outcome.changed);
		assert_int_equal(acquire(2, 0x22, type == WE ? EA : WE), CONFLICT);
		assert_int_equal(acquire(1, 0x11, type), all ? 0 : CONFLICT);
		/* Acquiring is no registration. */
		assert_int_equal(now.generation, 3);
		assert_int_equal(outcome.nr_notices, 0);
	}
}

static void test_preempt_none_held(void **state)
{
	(void)state;
	three(0);
	assert_int_equal(reg(4, 0x33), 0);
	assert_int_equal(preempt(9, 0, 0x33, WE, false), CONFLICT);
	assert_int_equal(preempt(1, 0x11, 0x99, WE, false), CONFLICT);
	assert_int_equal(preempt(1, 0x11, 0x33, WE, true), 0);
	assert_true(outcome.abort);
	assert_int_equal(now.type, NVME_RESV_NONE);
	assert_false(registered(3) || registered(4));
	assert_true(registered(1) && registered(2));
	assert_int_equal(told(3), NVME_RESV_REGISTRATION_PREEMPTED);
	assert_int_equal(told(4), NVME_RESV_REGISTRATION_PREEMPTED);
	assert_int_equal(told(2), 0);
	assert_int_equal(now.generation, 5);
	/* One's own key too. */
	assert_int_equal(preempt(1, 0x11, 0x11, WE, false), 0);
	assert_false(registered(1));
	assert_int_equal(outcome.nr_notices, 0);
	assert_false(outcome.abort);
}

static void test_preempt_one_holder(void **state)
{
	static const uint8_t types[] = {WE, EA, WERO, EARO};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		for (unsigned int next = WE; next <= EAAR; next++) {
			/* The holder's key: what it held is the issuer's. */
			three(types[i]);
			assert_int_equal(reg(4, 0x22), 0);
			assert_int_equal(preempt(1, 0x11, 0x22, next, false), 0);
			assert_int_equal(now.type, next);
			assert_true(holds(1));
			assert_false(registered(2) || registered(4));
			assert_true(registered(3));
			assert_int_equal(told(2), NVME_RESV_REGISTRATION_PREEMPTED);
			assert_int_equal(told(4), NVME_RESV_REGISTRATION_PREEMPTED);
			assert_int_equal(told(3),
					 next == types[i] ? 0 : NVME_RESV_RESERVATION_RELEASED);
			assert_int_equal(told(1), 0);
			assert_int_equal(now.generation, 5);
		}
		/* Another's key: the reservation stays. */
		three(types[i]);
		assert_int_equal(preempt(1, 0x11, 0x33, EAAR, true), 0);
		assert_true(outcome.abort);
		assert_int_equal(now.type, types[i]);
		assert_true(holds(2) && registered(1) && !registered(3));
		assert_int_equal(told(3), NVME_RESV_REGISTRATION_PREEMPTED);
		assert_int_equal(outcome.nr_notices, 1);
		assert_int_equal(preempt(1, 0x11, 0x99, WE, false), CONFLICT);
		assert_int_equal(preempt(1, 0x11, 0, WE, false), INVALID);
		assert_int_equal(preempt(1, 0x12, 0x22, WE, false), CONFLICT);
		/* The holder itself: another type, and it stays registered. */
		three(types[i]);
		assert_int_equal(reg(4, 0x22), 0);
		assert_int_equal(preempt(2, 0x22, 0x22, EAAR, false), 0);
		assert_int_equal(now.type, EAAR);
		assert_true(registered(2) && !registered(4));
		assert_int_equal(told(4), NVME_RESV_REGISTRATION_PREEMPTED);
		assert_int_equal(told(1), NVME_RESV_RESERVATION_RELEASED);
	}
	/* A key of 0 is a key like others. */
	memset(&now, 0, sizeof(now));
	assert_int_equal(reg(1, 0x11), 0);
	assert_int_equal(reg(2, 0), 0);
	assert_int_equal(acquire(2, 0, EA), 0);
	assert_int_equal(preempt(1, 0x11, 0, EA, false), 0);
	assert_true(holds(1) && !registered(2));
}

static void test_preempt_all_holders(void **state)
{
	static const uint8_t types[] = {WEAR, EAAR};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		for (unsigned int next = WE; next <= EAAR; next++) {
			three(types[i]);
			assert_int_equal(preempt(3, 0x33, 0, next, false), 0);
			assert_int_equal(now.type, next);
			assert_int_equal(now.nr, 1);
			assert_true(holds(3));
			assert_int_equal(told(1), NVME_RESV_REGISTRATION_PREEMPTED);
			assert_int_equal(told(2), NVME_RESV_REGISTRATION_PREEMPTED);
			assert_int_equal(now.generation, 4);
		}
		three(types[i]);
		assert_int_equal(preempt(3, 0x33, 0x11, WE, false), 0);
		assert_int_equal(now.type, types[i]);
		assert_true(holds(2) && holds(3) && !registered(1));
		assert_int_equal(preempt(3, 0x33, 0x99, WE, false), CONFLICT);
		/* All of them, the issuer included: nobody is left to hold it. */
		assert_int_equal(regx(2, NVME_RREGA_REPLACE, true, 0, 0x33), 0);
		assert_int_equal(preempt(3, 0x33, 0x33, WE, false), 0);
		assert_int_equal(now.nr, 0);
		assert_int_equal(now.type, NVME_RESV_NONE);
	}
}

/* ---- Release ---------------------------------------------------------------------------------- */

static void test_release(void **state)
{
	struct resv_event ignore = {.kind = RESV_RELEASE, .ignore_key = true};

	(void)state;
	for (unsigned int type = WE; type <= EAAR; type++) {
		bool all = type == WEAR || type == EAAR, alone = type == WE || type == EA;

		three(type);
		assert_int_equal(rel(9, NVME_RRELA_RELEASE, 0, type), CONFLICT);
		assert_int_equal(rel(2, NVME_RRELA_RELEASE, 0x23, type), CONFLICT);
		assert_int_equal(rel(2, NVME_RRELA_RELEASE, 0x22, type == WE ? EA : WE), INVALID);
		assert_int_equal(outcome.fault, 42);
		assert_int_equal(step(&ignore, 2), INVALID);
		for (unsigned int action = 2; action < 8; action++)
			assert_int_equal(rel(2, action, 0x22, type), INVALID);
		assert_int_equal(now.type, type);
		/* Who does not hold it releases nothing. */
		assert_int_equal(rel(1, NVME_RRELA_RELEASE, 0x11, type), 0);
		assert_int_equal(now.type, all ? NVME_RESV_NONE : type);
		if (!all)
			assert_int_equal(rel(2, NVME_RRELA_RELEASE, 0x22, type), 0);
		assert_int_equal(now.type, NVME_RESV_NONE);
		assert_int_equal(told(3), alone ? 0 : NVME_RESV_RESERVATION_RELEASED);
		assert_int_equal(told(all ? 1 : 2), 0);
		assert_int_equal(now.nr, 3);
		assert_int_equal(now.generation, 3);
		assert_int_equal(rel(2, NVME_RRELA_RELEASE, 0x22, type), 0);
		assert_false(outcome.changed);
	}
}

static void test_clear(void **state)
{
	(void)state;
	for (unsigned int type = NVME_RESV_NONE; type <= EAAR; type++) {
		three(type);
		assert_int_equal(rel(9, NVME_RRELA_CLEAR, 0x11, 0), CONFLICT);
		assert_int_equal(rel(1, NVME_RRELA_CLEAR, 0x12, 0), CONFLICT);
		assert_int_equal(rel(1, NVME_RRELA_CLEAR, 0x11, 0), 0);
		assert_int_equal(now.nr, 0);
		assert_int_equal(now.type, NVME_RESV_NONE);
		assert_int_equal(now.generation, 4);
		assert_int_equal(told(1), 0);
		assert_int_equal(told(2), NVME_RESV_RESERVATION_PREEMPTED);
		assert_int_equal(told(3), NVME_RESV_RESERVATION_PREEMPTED);
	}
}

/* ---- on disk ---------------------------------------------------------------------------------- */

static const uint8_t uuid[16] = {0x12, 0x34, 0x56, 0x78, [15] = 9};

static int parse(const char *text, struct resv_state *s)
{
	size_t length = strlen(text);
	char copy[RESV_FILE_BYTES];
	struct errtext err = {""};
	int ret;

	assert_true(length < sizeof(copy));
	memcpy(copy, text, length + 1);
	ret = resv_parse(copy, uuid, "/state/reservations/a", s, &err);
	if (ret)
		assert_non_null(strstr(err.text, "/state/reservations/a"));
	return ret;
}

/* Any commands in any order: the state makes sense and comes back from its text as it was. */
static void test_walk(void **state)
{
	uint32_t dice = 12345;
	char text[RESV_FILE_BYTES];
	unsigned int changes = 0;

	(void)state;
	for (unsigned int i = 0; i < 60000; i++) {
		struct resv_event e;
		struct resv_state back;

		dice = dice * 1664525 + 1013904223;
		e = (struct resv_event){
			.kind = (enum resv_kind)(dice >> 30),
			.action = (dice >> 28) % 4,
			.ignore_key = (dice >> 26) % 4 == 0,
			.type = (dice >> 22) % 8,
			.cptpl = (dice >> 20) & 3,
			.ptpl = true,
			.crkey = (dice >> 18) & 3,
			.key = (dice >> 16) & 3,
		};
		if (step(&e, (dice >> 12) % 7) || !outcome.changed)
			continue;
		changes++;
		resv_format(&now, uuid, text);
		now.ptpl = true;
		assert_int_equal(parse(text, &back), 0);
		assert_memory_equal(&back, &now, sizeof(now));
	}
	assert_true(changes > 1000);
}

static void test_damage(void **state)
{
	char text[RESV_FILE_BYTES], bad[2 * RESV_FILE_BYTES];
	struct resv_state s;
	size_t length;
	char *at;

	(void)state;
	three(EARO);
	resv_format(&now, uuid, text);
	length = strlen(text);
	assert_int_equal(parse(text, &s), 0);
	for (size_t i = 0; i < length; i++) {
		for (unsigned int bit = 0; bit < 8; bit++) {
			memcpy(bad, text, length + 1);
			bad[i] ^= (char)(1u << bit);
			if (bad[i] == '\0')
				bad[i] = '?';
			assert_int_equal(parse(bad, &s), -EBADMSG);
		}
		memcpy(bad, text, length + 1);
		bad[i] = '\0';
		assert_int_equal(parse(bad, &s), -EBADMSG);
	}
	(void)snprintf(bad, sizeof(bad), "%sx", text);
	assert_int_equal(parse(bad, &s), -EBADMSG);
	(void)snprintf(bad, sizeof(bad), "%s%s", text, text);
	assert_int_equal(parse(bad, &s), -EBADMSG);
	/* Another namespace's. */
	resv_format(&now, (const uint8_t[16]){1}, text);
	assert_int_equal(parse(text, &s), -ESTALE);
	/* Right sums, but nonsense. */
	now.holder = 3;
	resv_format(&now, uuid, text);
	assert_int_equal(parse(text, &s), -EBADMSG);
	now.holder = 0;
	at = (char *)&now.registrants[0];
	memcpy(at, &now.registrants[1], sizeof(now.registrants[0]));
	resv_format(&now, uuid, text);
	assert_int_equal(parse(text, &s), -EBADMSG);
}

static void test_files(void **state)
{
	struct resv_state s;
	struct errtext err;
	const char *path;
	int fd;

	(void)state;
	three(WEAR);
	now.ptpl = true;
	assert_int_equal(resv_load(in_dir("state"), "a", uuid, &s, &err), 0);
	assert_int_equal(s.nr, 0);
	assert_int_equal(resv_store(in_dir("state"), "a", uuid, &now), 0);
	assert_int_equal(resv_load(in_dir("state"), "a", uuid, &s, &err), 0);
	assert_memory_equal(&s, &now, sizeof(s));
	assert_int_equal(resv_load(in_dir("state"), "b", uuid, &s, &err), 0);
	assert_int_equal(s.nr, 0);
	path = in_dir("state/reservations/a");
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "#", 1), 1);
	assert_int_equal(resv_load(in_dir("state"), "a", uuid, &s, &err), -EBADMSG);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, "checksum"));
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(resv_load(in_dir("state"), "a", uuid, &s, &err), -EBADMSG);
	assert_int_equal(ftruncate(fd, MIB(1)), 0);
	assert_int_equal(resv_load(in_dir("state"), "a", uuid, &s, &err), -EBADMSG);
	(void)close(fd);
	/* What does not persist is not kept. */
	now.ptpl = false;
	assert_int_equal(resv_store(in_dir("state"), "a", uuid, &now), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(resv_store(in_dir("state"), "a", uuid, &now), 0);
	assert_int_equal(resv_load("", "a", uuid, &s, &err), 0);
}

static int group(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_conflicts, setup),
		cmocka_unit_test_setup(test_register, setup),
		cmocka_unit_test_setup(test_persistence, setup),
		cmocka_unit_test_setup(test_unregister_holder, setup),
		cmocka_unit_test_setup(test_full, setup),
		cmocka_unit_test_setup(test_acquire, setup),
		cmocka_unit_test_setup(test_preempt_none_held, setup),
		cmocka_unit_test_setup(test_preempt_one_holder, setup),
		cmocka_unit_test_setup(test_preempt_all_holders, setup),
		cmocka_unit_test_setup(test_release, setup),
		cmocka_unit_test_setup(test_clear, setup),
		cmocka_unit_test_setup(test_walk, setup),
		cmocka_unit_test_setup(test_damage, setup),
		cmocka_unit_test_setup(test_files, setup),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return for_each_dir(group);
}
