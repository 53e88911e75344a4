// SPDX-License-Identifier: BSD-3-Clause
/* Acquire, Release, Renew and expiry, with the real rooms below: nothing of it needs a recall. */
#include "grant_rig.h"

#include "iwarp/iwarp.h"

#define MANY 10000

static struct rig rig;
static struct rig_client one, two;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

static void up(const struct rig_options *options)
{
	rig_up(&rig, options);
	rig_client_up(&rig, &one);
	rig_client_up(&rig, &two);
}

static void down(void)
{
	rig_client_down(&one);
	rig_client_down(&two);
	assert_int_equal(rig_status(&rig).grants, 0);
	rig_down(&rig);
}

static void make_full_file(void)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
}

/* The only grant of an answer, in host order. */
static struct lh_grant only(const struct grant_answer *answer)
{
	struct lh_grant g;

	assert_int_equal(answer->status, NVME_SC_SUCCESS);
	assert_int_equal(answer->count, 1);
	g = answer->grants[0];
	g.offset = le64toh(g.offset);
	g.length = le64toh(g.length);
	g.address = le64toh(g.address);
	g.rkey = le32toh(g.rkey);
	assert_int_equal(g.length, answer->covered_length);
	return g;
}

/* ---- how durable -------------------------------------------------------------------------- */

static bool declared; /* what adapters write here survives */

enum lh_durability __real_export_durability(const struct export *e);
enum lh_durability __wrap_export_durability(const struct export *e);

enum lh_durability __wrap_export_durability(const struct export *e)
{
	return declared ? LH_DURABLE_READ_AFTER_WRITE : __real_export_durability(e);
}

/* It is of adapters, and holds for nothing that the processor places. */
static void test_declared(void **state)
{
	struct grant_answer answer;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	declared = true;
	answer = rig_acquire(&one, MIB(1), KIB(64), read_write);
	declared = false;
	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	assert_int_equal(answer.durability,
			 rig_is_verbs() ? LH_DURABLE_READ_AFTER_WRITE : LH_DURABLE_COMMIT);
	down();
}

/* ---- use ------------------------------------------------------------------------------------- */

static void test_use(void **state)
{
	uint8_t bytes[1000], back[sizeof(bytes)];
	struct grant_answer answer;
	struct lh_grant g;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	answer = rig_acquire(&one, MIB(1), KIB(64), read_write);
	g = only(&answer);
	assert_int_equal(answer.generation, 1);
	assert_int_equal(answer.durability, export_durability(holding_export(rig.h)));
	assert_int_equal(g.offset, MIB(1));
	assert_int_equal(g.length, KIB(64));
	assert_int_equal(rig_status(&rig).grants, 1);
	assert_int_equal(rig_status(&rig).clients, 1);
	memset(bytes, 0xa5, sizeof(bytes));
	assert_int_equal(rig_write(&one, g.address + 333, g.rkey, bytes, sizeof(bytes)), FABRIC_OK);
	rig_read(&rig, MIB(1) + 333, back, sizeof(back));
	assert_memory_equal(bytes, back, sizeof(back));
	memset(back, 0, sizeof(back));
	assert_int_equal(rig_rdma_read(&one, g.address + 333, g.rkey, back, sizeof(back)),
			 FABRIC_OK);
	assert_memory_equal(bytes, back, sizeof(back));
	/* 6: only in its range … */
	assert_int_not_equal(rig_write(&one, g.address + KIB(64) - 4, g.rkey, bytes, 8), FABRIC_OK);
	rig_client_reconnect(&one);
	/* … only for its client … */
	assert_int_not_equal(rig_write(&two, g.address, g.rkey, bytes, 8), FABRIC_OK);
	rig_client_reconnect(&two);
	rig_read(&rig, MIB(1), back, 8);
	assert_int_equal(back[0], fill_byte(MIB(1)));
	/* … only for its access. */
	answer = rig_acquire(&two, 0, KIB(4), LH_GRANT_READ);
	g = only(&answer);
	assert_int_equal(rig_rdma_read(&two, g.address, g.rkey, back, 8), FABRIC_OK);
	assert_int_equal(back[0], fill_byte(0));
	assert_int_not_equal(rig_write(&two, g.address, g.rkey, bytes, 8), FABRIC_OK);
	rig_client_reconnect(&two);
	rig_read(&rig, 0, back, 8);
	assert_int_equal(back[0], fill_byte(0));
	down();
}

static void test_release(void **state)
{
	struct grant_answer answer;
	struct lh_grant a, b;
	uint8_t byte = 1;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	answer = rig_acquire(&one, 0, KIB(8), read_write);
	a = only(&answer);
	answer = rig_acquire(&one, KIB(8), KIB(8), read_write);
	b = only(&answer);
	/* Reaches outside the range: refused. Not held: a success. */
	assert_int_equal(rig_release(&one, 0, KIB(4), 1), LH_SC_CUT);
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	assert_int_equal(rig_release(&one, 0, KIB(8), 2), LH_SC_STALE_GENERATION);
	assert_int_equal(rig_status(&rig).grants, 2);
	assert_int_equal(rig_release(&one, 0, KIB(8), 1), NVME_SC_SUCCESS);
	assert_int_equal(rig_status(&rig).grants, 1);
	assert_int_equal(rig_write(&one, b.address, b.rkey, &byte, 1), FABRIC_OK);
	/* The key was dead before the answer. */
	assert_int_not_equal(rig_write(&one, a.address, a.rkey, &byte, 1), FABRIC_OK);
	rig_client_reconnect(&one);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	assert_int_equal(rig_status(&rig).grants, 0);
	down();
}

/* A release waits for what it kills, several batches, not for what is granted meanwhile. */
static void test_release_overtaken(void **state)
{
	const struct grant_want want = {.offset = MIB(1), .length = KIB(4), .access = read_write};
	struct grant_answer answer;
	uint16_t released;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	for (unsigned int i = 0; i < 400; i++) {
		answer = rig_acquire(&one, i % 256 * KIB(4), KIB(4), read_write);
		(void)only(&answer);
	}
	answer = rig_acquire_and_release(&one, &want, &released);
	assert_int_equal(released, NVME_SC_SUCCESS);
	(void)only(&answer);
	assert_int_equal(rig_status(&rig).grants, 1);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	assert_int_equal(rig_status(&rig).grants, 0);
	down();
}

/* Each adapter has its own rung and its own keys over the same bytes. */
static void test_two_devices(void **state)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;
	struct grant_answer answer;
	struct lh_grant a, b;
	uint8_t byte = 0x33, back = 0;

	(void)state;
	make_full_file();
	options.two_devices = true;
	rig_up(&rig, &options);
	assert_int_equal(rig_status(&rig).probes[1].rung, LH_RUNG_ODP);
	assert_int_equal(rig_status(&rig).keys, 2);
	rig_client_up(&rig, &one);
	rig_client_up_on(&rig, 1, &two);
	answer = rig_acquire(&one, 0, KIB(4), read_write);
	a = only(&answer);
	answer = rig_acquire(&two, KIB(4), KIB(4), read_write);
	b = only(&answer);
	assert_int_equal(rig_write(&one, a.address + 1, a.rkey, &byte, 1), FABRIC_OK);
	assert_int_equal(rig_write(&two, b.address + 1, b.rkey, &byte, 1), FABRIC_OK);
	rig_read(&rig, KIB(4) + 1, &back, 1);
	assert_int_equal(back, 0x33);
	assert_int_equal(rig_acquire(&two, 0, KIB(4), LH_GRANT_READ).status, LH_SC_CONFLICT);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, KIB(4));
	(void)rig_landlord_join(&landlord);
	assert_int_not_equal(rig_write(&two, b.address, b.rkey, &byte, 1), FABRIC_OK);
	rig_client_reconnect(&two);
	assert_int_equal(rig_wait(&rig, HOLDING_SERVING, 2).keys, 2);
	down();
}

/* ---- refusals -------------------------------------------------------------------------------- */

static uint16_t status_of(struct rig_client *c, uint64_t offset, uint64_t length,
			  unsigned int access)
{
	struct grant_answer answer = rig_acquire(c, offset, length, access);

	if (answer.status)
		assert_int_equal(answer.count, 0);
	return answer.status;
}

static void test_bad_requests(void **state)
{
	struct grant_want want = {.length = KIB(4), .access = LH_GRANT_READ, .generation = 2};

	(void)state;
	make_full_file();
	up(&rig_defaults);
	assert_int_equal(status_of(&one, 1, KIB(4), LH_GRANT_READ), NVME_SC_INVALID_FIELD);
	assert_int_equal(status_of(&one, 0, 100, LH_GRANT_READ), NVME_SC_INVALID_FIELD);
	assert_int_equal(status_of(&one, 0, 0, LH_GRANT_READ), NVME_SC_INVALID_FIELD);
	assert_int_equal(status_of(&one, 0, KIB(4), 0), NVME_SC_INVALID_FIELD);
	assert_int_equal(status_of(&one, 0, KIB(4), 4), NVME_SC_INVALID_FIELD);
	assert_int_equal(status_of(&one, RIG_BYTES, KIB(4), LH_GRANT_READ), NVME_SC_LBA_RANGE);
	assert_int_equal(status_of(&one, RIG_BYTES - KIB(4), KIB(8), LH_GRANT_READ),
			 NVME_SC_LBA_RANGE);
	assert_int_equal(status_of(&one, UINT64_MAX - 4095, KIB(8), LH_GRANT_READ),
			 NVME_SC_LBA_RANGE);
	assert_int_equal(status_of(&one, KIB(4), UINT64_MAX - 4095, LH_GRANT_READ),
			 NVME_SC_LBA_RANGE);
	assert_int_equal(rig_acquire_want(&one, &want).status, LH_SC_STALE_GENERATION);
	want.generation = 1;
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_SUCCESS);
	down();
}

static void test_read_only(void **state)
{
	struct rig_options options = rig_defaults;
	struct grant_want want = {.length = KIB(4), .access = read_write, .allocate = true};

	(void)state;
	make_full_file();
	options.read_only = true;
	up(&options);
	assert_int_equal(status_of(&one, 0, KIB(4), read_write), NVME_SC_ACCESS_DENIED);
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_ACCESS_DENIED);
	assert_int_equal(status_of(&one, 0, KIB(4), LH_GRANT_READ), NVME_SC_SUCCESS);
	down();
}

static void test_conflict(void **state)
{
	(void)state;
	make_full_file();
	up(&rig_defaults);
	assert_int_equal(status_of(&one, 0, KIB(64), read_write), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, KIB(60), KIB(8), read_write), LH_SC_CONFLICT);
	assert_int_equal(status_of(&two, KIB(60), KIB(8), LH_GRANT_READ), LH_SC_CONFLICT);
	assert_int_equal(status_of(&two, KIB(64), KIB(8), read_write), NVME_SC_SUCCESS);
	/* One's own may overlap, and readers may share. */
	assert_int_equal(status_of(&one, KIB(32), KIB(8), read_write), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, MIB(1), KIB(8), LH_GRANT_READ), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, MIB(1), KIB(8), LH_GRANT_READ), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, MIB(1), KIB(4), LH_GRANT_WRITE), LH_SC_CONFLICT);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, KIB(32), KIB(8), read_write), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, MIB(1), KIB(4), LH_GRANT_WRITE), NVME_SC_SUCCESS);
	down();
}

static void test_limit(void **state)
{
	struct rig_options options = rig_defaults;

	(void)state;
	make_full_file();
	options.max_grants = 3;
	up(&options);
	for (int i = 0; i < 3; i++)
		assert_int_equal(status_of(&one, 0, KIB(4), LH_GRANT_READ), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, 0, KIB(4), LH_GRANT_READ), LH_SC_LIMIT);
	assert_int_equal(status_of(&two, 0, KIB(4), LH_GRANT_READ), NVME_SC_SUCCESS);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, 0, KIB(4), LH_GRANT_READ), NVME_SC_SUCCESS);
	down();
}

/* ---- holes ----------------------------------------------------------------------------------- */

static void test_holes(void **state)
{
	struct grant_want want = {.length = MIB(4), .access = read_write};
	uint8_t byte = 0x77, back[2];
	struct holding_status status;
	struct grant_answer answer;
	struct lh_grant g;

	(void)state;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, MIB(1));
	fill_file("file", MIB(2), MIB(1));
	up(&rig_defaults);
	status = rig_status(&rig);
	assert_int_equal(status.backed_bytes, MIB(2));
	assert_int_equal(status.hole_bytes, RIG_BYTES - MIB(2));
	/* Up to the hole, and from inside it. */
	answer = rig_acquire_want(&one, &want);
	assert_int_equal(only(&answer).length, MIB(1));
	assert_int_equal(status_of(&one, MIB(1), MIB(2), read_write), LH_SC_NOT_BACKED);
	/* 1 MiB data, hole, 1 MiB data, hole: all filled, one grant, same generation, same size. */
	want.allocate = true;
	answer = rig_acquire_want(&one, &want);
	g = only(&answer);
	assert_int_equal(g.length, MIB(4));
	assert_int_equal(answer.generation, 1);
	status = rig_status(&rig);
	assert_int_equal(status.backed_bytes, MIB(4));
	assert_int_equal(status.size_bytes, RIG_BYTES);
	assert_int_equal(atomic_load(&rig.published), 2);
	assert_int_equal(rig_write(&one, g.address + MIB(1), g.rkey, &byte, 1), FABRIC_OK);
	rig_read(&rig, MIB(1), back, 2);
	assert_int_equal(back[0], 0x77);
	assert_int_equal(back[1], 0);
	rig_read(&rig, MIB(2), back, 1);
	assert_int_equal(back[0], fill_byte(MIB(2)));
	/* Nothing to fill: no new view. */
	answer = rig_acquire_want(&one, &want);
	assert_int_equal(only(&answer).length, MIB(4));
	assert_int_equal(atomic_load(&rig.published), 2);
	down();
}

/* ---- clones ---------------------------------------------------------------------------------- */

static bool clones; /* holes pass for what is shared, on any file system */
static int unshare_error;
static unsigned int unshares;

bool __real_view_unsharable(const struct view *view, uint64_t offset);
bool __wrap_view_unsharable(const struct view *view, uint64_t offset);
int __wrap_view_unshare(const struct view *old, uint64_t offset, uint64_t length,
			const atomic_bool *stop, struct view **view, struct errtext *err);

bool __wrap_view_unsharable(const struct view *view, uint64_t offset)
{
	if (!clones)
		return __real_view_unsharable(view, offset);
	return !view_backed(view, offset, 1);
}

int __wrap_view_unshare(const struct view *old, uint64_t offset, uint64_t length,
			const atomic_bool *stop, struct view **view, struct errtext *err)
{
	unshares++;
	if (unshare_error)
		return errtext_set(err, unshare_error, "no, says the test");
	return view_allocate(old, offset, length, stop, view, err);
}

/* Who asks for what is shared gets it; what cannot be unshared is not backed, nothing worse. */
static void test_clones(void **state)
{
	struct grant_want want = {.length = MIB(4), .access = LH_GRANT_READ};
	struct grant_answer answer;

	(void)state;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, MIB(1));
	clones = true;
	unshares = 0;
	up(&rig_defaults);
	/* What is backed before it waits for nothing. */
	answer = rig_acquire_want(&one, &want);
	assert_int_equal(only(&answer).length, MIB(1));
	assert_int_equal(unshares, 0);
	want.offset = MIB(1);
	answer = rig_acquire_want(&one, &want);
	assert_int_equal(only(&answer).length, MIB(4));
	assert_int_equal(answer.generation, 1);
	assert_int_equal(unshares, 1);
	assert_int_equal(atomic_load(&rig.published), 2);
	want.offset = MIB(8);
	want.access = read_write;
	unshare_error = -ENOSPC;
	assert_int_equal(rig_acquire_want(&one, &want).status, LH_SC_NOT_BACKED);
	unshare_error = -EIO;
	assert_int_equal(rig_acquire_want(&one, &want).status, LH_SC_NOT_BACKED);
	assert_int_equal(rig_status(&rig).state, HOLDING_SERVING);
	unshare_error = 0;
	answer = rig_acquire_want(&one, &want);
	assert_int_equal(only(&answer).length, MIB(4));
	assert_int_equal(unshares, 4);
	clones = false;
	down();
}

struct parallel {
	struct rig_client *c;
	struct grant_want want;
	struct grant_answer answer;
	pthread_t thread;
};

static void *parallel_main(void *arg)
{
	struct parallel *p = arg;

	p->answer = rig_acquire_want(p->c, &p->want);
	return NULL;
}

/* Several at once, and a publication that takes its time: the old view stays while it is used. */
static void test_holes_in_parallel(void **state)
{
	struct parallel p[8];

	(void)state;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, KIB(4));
	up(&rig_defaults);
	atomic_store(&rig.hold_publish, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = (struct parallel){.c = i % 2 ? &one : &two};
		p[i].want.offset = MIB(2) * i;
		p[i].want.length = MIB(2);
		p[i].want.access = read_write;
		p[i].want.allocate = true;
		assert_int_equal(pthread_create(&p[i].thread, NULL, parallel_main, &p[i]), 0);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(p); i++) {
		(void)pthread_join(p[i].thread, NULL);
		assert_int_equal(only(&p[i].answer).length, MIB(2));
	}
	assert_int_equal(rig_status(&rig).backed_bytes, RIG_BYTES);
	rig_release_publish(&rig);
	down();
}

/* ---- time ------------------------------------------------------------------------------------ */

struct renewing {
	struct rig_client *c;
	uint16_t status;
	uint32_t life_ms;
};

static void do_renew(void *arg)
{
	struct renewing *r = arg;

	r->status = grant_renew(r->c->grants, &r->life_ms);
}

static void test_expiry(void **state)
{
	struct rig_options options = rig_defaults;
	struct renewing renewing = {.c = &one};
	struct grant_answer answer;
	struct lh_grant g;
	uint8_t byte = 1;
	uint64_t begin;

	(void)state;
	make_full_file();
	options.expiry_ms = 2000;
	up(&options);
	answer = rig_acquire(&one, 0, KIB(4), read_write);
	assert_int_equal(answer.expiry_ms, 2000);
	g = only(&answer);
	for (int i = 0; i < 6; i++) {
		(void)usleep(450000);
		rig_call(&rig, do_renew, &renewing);
		assert_int_equal(renewing.status, NVME_SC_SUCCESS);
		assert_int_equal(renewing.life_ms, 2000);
	}
	assert_int_equal(rig_status(&rig).grants, 1);
	begin = now_ns();
	while (rig_status(&rig).grants > 0 && now_ns() - begin < 10 * NS_PER_S)
		(void)usleep(1000);
	assert_true(now_ns() - begin >= 200 * NS_PER_MS);
	assert_int_equal(rig_status(&rig).grants, 0);
	/* Counted when the killing begins; the key is dead when others get its bytes. */
	while (status_of(&two, 0, KIB(4), read_write) == LH_SC_CONFLICT)
		;
	assert_int_not_equal(rig_write(&one, g.address, g.rkey, &byte, 1), FABRIC_OK);
	rig_client_reconnect(&one);
	down();
}

static void test_gone(void **state)
{
	struct grant_answer answer;
	struct lh_grant g;
	uint8_t byte = 1;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	for (unsigned int i = 0; i < 200; i++) {
		answer = rig_acquire(&one, KIB(4) * i, KIB(4), read_write);
		g = only(&answer);
	}
	assert_int_equal(rig_status(&rig).grants, 200);
	rig_client_gone(&one);
	assert_int_equal(rig_status(&rig).grants, 0);
	assert_int_equal(rig_status(&rig).clients, 0);
	/* The queue is in error, and a new one of the same domain finds the key dead. */
	assert_int_not_equal(rig_write(&one, g.address, g.rkey, &byte, 1), FABRIC_OK);
	rig_client_reconnect(&one);
	assert_int_not_equal(rig_write(&one, g.address, g.rkey, &byte, 1), FABRIC_OK);
	assert_int_equal(status_of(&two, 0, RIG_BYTES, read_write), NVME_SC_SUCCESS);
	down();
}

/* The client goes while its acquires are under way: each is answered, no key is left. */
struct going {
	struct rig_client *c;
	atomic_uint answers, granted;
	struct grant_want want;
};

static void count_answer(void *arg, const struct grant_answer *answer)
{
	struct going *g = arg;

	atomic_fetch_add(&g->answers, 1);
	atomic_fetch_add(&g->granted, answer->status == NVME_SC_SUCCESS);
}

static void acquire_some(void *arg)
{
	struct going *g = arg;

	for (unsigned int i = 0; i < 50; i++) {
		g->want = (struct grant_want){
			.offset = KIB(8) * i,
			.length = KIB(8),
			.access = read_write,
			.allocate = true,
		};
		grant_acquire(g->c->rig->h, g->c->grants, &g->want, count_answer, g);
	}
}

static void test_gone_meanwhile(void **state)
{
	struct going going = {.c = &one};

	(void)state;
	make_file("file", RIG_BYTES);
	fill_file("file", MIB(8), MIB(1));
	up(&rig_defaults);
	rig_call(&rig, acquire_some, &going);
	rig_client_gone(&one);
	assert_int_equal(atomic_load(&going.answers), 50);
	assert_int_equal(rig_status(&rig).grants, 0);
	down();
}

/* ---- many ------------------------------------------------------------------------------------ */

static void test_many(void **state)
{
	struct rig_options options = rig_defaults;
	uint64_t begin, acquired, released;

	(void)state;
	make_file("file", MIB(64));
	fill_file("file", 0, MIB(64));
	options.max_grants = MANY + 1;
	up(&options);
	begin = now_ns();
	for (unsigned int i = 0; i < MANY; i++) {
		/* In no order. */
		uint64_t at = (uint64_t)i * 7919 % MANY * 4096;

		assert_int_equal(status_of(&one, at, KIB(4), read_write), NVME_SC_SUCCESS);
	}
	acquired = now_ns() - begin;
	assert_int_equal(rig_status(&rig).grants, MANY);
	assert_int_equal(status_of(&two, 0, MIB(16), LH_GRANT_READ), LH_SC_CONFLICT);
	begin = now_ns();
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	released = now_ns() - begin;
	assert_int_equal(rig_status(&rig).grants, 0);
	print_message("[          ] %d grants: acquired in %llu ms, released in %llu ms\n", MANY,
		      (unsigned long long)(acquired / NS_PER_MS),
		      (unsigned long long)(released / NS_PER_MS));
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_use),
		leaks_test(test_declared),
		leaks_test(test_release),
		leaks_test(test_release_overtaken),
		leaks_test(test_two_devices),
		leaks_test(test_bad_requests),
		leaks_test(test_read_only),
		leaks_test(test_conflict),
		leaks_test(test_limit),
		leaks_test(test_holes),
		leaks_test(test_holes_in_parallel),
		leaks_test(test_clones),
		leaks_test(test_expiry),
		leaks_test(test_gone),
		leaks_test(test_gone_meanwhile),
		leaks_test(test_many),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
