// SPDX-License-Identifier: BSD-3-Clause
/*
 * What can happen to a stream of units that is all right in itself: it comes in pieces, it is cut
 * off, keys die and files are truncated in the middle of it; and noise.
 */
#include "test_iwarp_rig.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* ---- the stream ------------------------------------------------------------------------------- */

static void test_bytewise(void **state)
{
	struct rig *rig = *state;
	static const size_t sizes[] = {0, 1, 3, 4, 100, 9000};
	uint8_t *payload = malloc(9000), *unit = malloc(9100);
	uint32_t msn = 1;

	assert_true(payload && unit);
	rig_connected(rig);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct iw_tagged w = unit_write_header(rig->mr->rkey, rig_at(rig));
		struct iw_untagged s = unit_send_header(3, msn++, 0);
		size_t len, step = sizes[i] > 1000 ? 37 : 1;

		random_bytes(payload, sizes[i]);
		rig_receive(rig, 0);
		len = unit_build(rig->crc, &w, sizeof(w), payload, sizes[i], unit);
		len += unit_build(rig->crc, &s, sizeof(s), NULL, 0, unit + len);
		for (size_t off = 0; off < len; off += step) {
			rig_say(rig, unit + off, step < len - off ? step : len - off);
			if (off + step < len)
				rig_pump(rig);
		}
		assert_int_equal(rig_completion(rig).op, FABRIC_OP_RECV);
		assert_memory_equal(rig->mem, payload, sizes[i]);
	}
	free(payload);
	free(unit);
}

static void test_bytewise_crc(void **state)
{
	test_bytewise(state);
}

/* Half of a header, half of a payload, then the end. */
static void test_cut_off(void **state)
{
	static const size_t cuts[] = {1, 2, 15, 16, 60, 116, 119};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct rig *rig;
		struct iw_tagged h;
		uint8_t payload[100], unit[256];

		assert_int_equal(rig_setup((void **)&rig), 0);
		rig_connected(rig);
		memset(payload, 0xa5, sizeof(payload));
		rig_receive(rig, 100);
		h = unit_write_header(rig->mr->rkey, rig_at(rig));
		(void)unit_build(rig->crc, &h, sizeof(h), payload, sizeof(payload), unit);
		rig_say(rig, unit, cuts[i]);
		(void)close(rig->fd);
		rig->fd = -1;
		assert_int_equal(rig_completion(rig).status, FABRIC_FLUSHED);
		rig_event(rig, FABRIC_CM_DISCONNECTED);
		assert_null(fabric_conn_breach(rig->conn));
		rig_untouched(rig);
		assert_int_equal(rig_teardown((void **)&rig), 0);
	}
}

/* The window's owner invalidates what is arriving: of the rest of the segment nothing lands. */
static void test_key_dies_mid_segment(void **state)
{
	struct rig *rig = *state;
	struct fabric_mr *mr;
	struct iw_tagged h;
	uint8_t *payload = calloc(1, 60000), *unit = malloc(60100);
	size_t len;

	assert_true(payload && unit);
	rig_connected(rig);
	assert_int_equal(
		fabric_mr_reg(rig->pd, rig->mem, 60000, 0x10000, FABRIC_ACCESS_REMOTE_WRITE, &mr),
		0);
	h = unit_write_header(mr->rkey, 0x10000);
	len = unit_build(rig->crc, &h, sizeof(h), payload, 60000, unit);
	rig_say(rig, unit, 30016);
	for (int i = 0; i < 100; i++)
		rig_pump(rig);
	assert_int_equal(rig->mem[29999], 0);
	assert_int_equal(rig->mem[30000], 0xa5);
	assert_int_equal(fabric_mr_dereg(mr), 0);
	rig_say(rig, unit + 30016, len - 30016);
	rig_terminated(rig, DDP, 1, 0x00);
	for (size_t i = 30000; i < 60000; i++)
		assert_int_equal(rig->mem[i], 0xa5);
	free(payload);
	free(unit);
}

/* The peer reads what is deregistered while the socket is full: the rest is not sent. */
static void test_key_dies_mid_response(void **state)
{
	enum {
		BIG = 64 << 20
	};
	struct rig *rig = *state;
	struct iw_read_request h;
	struct fabric_mr *mr;
	uint8_t *big = mmap(NULL, BIG, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t bytes[4096];

	assert_true(big != MAP_FAILED);
	rig_connected(rig);
	assert_int_equal(fabric_mr_reg(rig->pd, big, BIG, 0x100000, FABRIC_ACCESS_REMOTE_READ, &mr),
			 0);
	h = unit_read_header(1, mr->rkey, 0x100000, BIG);
	rig_unit(rig, &h, sizeof(h), NULL, 0);
	for (int i = 0; i < 1000; i++)
		rig_pump(rig);
	assert_int_equal(fabric_mr_dereg(mr), 0);
	assert_int_equal(munmap(big, BIG), 0);
	rig_hear(rig, bytes, sizeof(bytes));
	assert_memory_equal(bytes + 2, "\x81\x42", 2);
	rig_hear_end(rig);
	rig_event(rig, FABRIC_CM_DISCONNECTED);
}

/* More Read Requests than were agreed (RFC 5040 §5.2.2: as a Send without a buffer). */
static void test_too_many_reads(void **state)
{
	struct rig *rig = *state;
	uint8_t units[17 * 52];
	size_t len = 0;

	rig_connected(rig);
	for (uint32_t i = 1; i <= 17; i++) {
		struct iw_read_request h = unit_read_header(i, rig->mr->rkey, rig_at(rig), 4);

		len += unit_build(rig->crc, &h, sizeof(h), NULL, 0, units + len);
	}
	rig_say(rig, units, len);
	rig_terminated(rig, DDP, 2, 0x02);
}

/* ---- fairness --------------------------------------------------------------------------------- */

/* A Send gets through while a long Read Response is on its way, between our own ends. */
static void test_send_overtakes_response(void **state)
{
	enum {
		BIG = 128 << 20
	};
	struct rig *rig = *state;
	struct fabric_qp_attr attr = {.pd = rig->pd,
				      .cq = rig->cq,
				      .max_send_wr = 4,
				      .max_recv_wr = 4,
				      .max_send_sge = 1,
				      .max_recv_sge = 1,
				      .max_inline = 64};
	struct fabric_sge sink = {.length = BIG}, word = {.addr = (uintptr_t)rig->buf, .length = 4};
	struct fabric_sge into = {.addr = (uintptr_t)rig->mem, .length = 4, .lkey = rig->mr->lkey};
	struct fabric_send_wr read = {
		.op = FABRIC_OP_READ, .flags = FABRIC_F_SIGNALED, .sg_list = &sink, .num_sge = 1};
	struct fabric_send_wr send = {
		.op = FABRIC_OP_SEND, .flags = FABRIC_F_INLINE, .sg_list = &word, .num_sge = 1};
	struct fabric_recv_wr recv = {.sg_list = &into, .num_sge = 1};
	uint8_t *big = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fabric_conn *a, *b;
	struct fabric_mr *mr;

	assert_true(big != MAP_FAILED);
	assert_int_equal(fabric_mr_reg(rig->pd, big, BIG, 0,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ, &mr),
			 0);
	assert_int_equal(fabric_loopback_pair(rig->dev, &attr, &attr, &a, &b), 0);
	sink.lkey = read.rkey = mr->rkey;
	assert_int_equal(fabric_post_recv(a, &recv, NULL), 0);
	assert_int_equal(fabric_post_send(a, &read, NULL), 0);
	for (int i = 0; i < 4; i++)
		rig_pump(rig);
	assert_int_equal(fabric_post_send(b, &send, NULL), 0);
	assert_int_equal(rig_completion(rig).op, FABRIC_OP_RECV);
	assert_int_equal(rig_completion(rig).op, FABRIC_OP_READ);
	fabric_conn_destroy(a);
	fabric_conn_destroy(b);
	assert_int_equal(fabric_mr_dereg(mr), 0);
	(void)munmap(big, BIG);
}

/* ---- pages that are gone ---------------------------------------------------------------------- */

static struct {
	uint8_t *from;
	size_t len;
} gone;

static int copy_guarded(void *dst, const void *src, size_t len)
{
	const uint8_t *d = dst, *s = src;

	if (range_overlaps((uintptr_t)d, len, (uintptr_t)gone.from, gone.len) ||
	    range_overlaps((uintptr_t)s, len, (uintptr_t)gone.from, gone.len))
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

static void truncated_file(bool crc, size_t write_len, bool read)
{
	struct rig *rig;
	FILE *file = tmpfile();
	struct fabric_mr *mr;
	uint8_t *map;

	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), 65536), 0);
	map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
	assert_true(map != MAP_FAILED);
	memset(map, 0x11, 65536);
	assert_int_equal((crc ? rig_setup_crc : rig_setup)((void **)&rig), 0);
	iwarp_set_copy_hook(copy_guarded);
	rig_connected(rig);
	assert_int_equal(fabric_mr_reg(rig->pd, map, 65536, 0,
				       FABRIC_ACCESS_REMOTE_WRITE | FABRIC_ACCESS_REMOTE_READ, &mr),
			 0);
	assert_int_equal(ftruncate(fileno(file), 4096), 0);
	gone.from = map + 4096;
	gone.len = 65536 - 4096;
	if (read) {
		struct iw_read_request h = unit_read_header(1, mr->rkey, 0, 60000);

		rig_unit(rig, &h, sizeof(h), NULL, 0);
		if (crc)
			rig_terminated(rig, RDMAP, 1, 0x01);
		else
			rig_hear_end(rig); /* the header has left: nothing more can be said */
	} else {
		rig_write(rig, mr->rkey, 4096 - 1000, write_len);
		rig_terminated(rig, DDP, 1, 0x01);
	}
	gone.len = 0;
	assert_int_equal(fabric_mr_dereg(mr), 0);
	assert_int_equal(rig_teardown((void **)&rig), 0);
	iwarp_set_copy_hook(NULL);
	(void)munmap(map, 65536);
	(void)fclose(file);
}

static void test_write_past_file(void **state)
{
	(void)state;
	truncated_file(false, 2000, false);
	truncated_file(false, 50000, false);
	truncated_file(true, 2000, false);
	truncated_file(true, 50000, false);
}

static void test_read_past_file(void **state)
{
	(void)state;
	truncated_file(false, 0, true);
	truncated_file(true, 0, true);
}

/* ---- a flood, and a key that dies in it -------------------------------------------------------- */

struct flood {
	struct rig *rig;
	int fd;
	uint32_t stag;
	uint64_t to;
	size_t len;
	atomic_bool stop;
};

/* Says nothing but writes, as fast as it can. */
static void *flood_main(void *arg)
{
	struct flood *flood = arg;
	struct iw_tagged h = unit_write_header(flood->stag, flood->to);
	uint8_t *payload = calloc(1, flood->len), *unit = malloc(flood->len + 64);
	size_t len = payload && unit
			     ? unit_build(flood->rig->crc, &h, sizeof(h), payload, flood->len, unit)
			     : 0;

	while (len > 0 && !atomic_load(&flood->stop)) {
		size_t off = 0;

		while (off < len && !atomic_load(&flood->stop)) {
			ssize_t n =
				send(flood->fd, unit + off, len - off, MSG_DONTWAIT | MSG_NOSIGNAL);

			if (n < 0 && errno != EAGAIN)
				goto out;
			off += n > 0 ? (size_t)n : 0;
		}
	}
out:
	free(payload);
	free(unit);
	return NULL;
}

static void *poll_main(void *arg)
{
	struct flood *flood = arg;

	while (!atomic_load(&flood->stop))
		rig_pump(flood->rig);
	return NULL;
}

/* Dereg returns; from this moment on the memory is ours alone: what we put there stays. */
static void flood_round(bool crc, size_t len)
{
	struct flood flood = {.len = len};
	struct fabric_mr *mr;
	pthread_t writer, poller;
	struct rig *rig;
	uint64_t until;

	assert_int_equal((crc ? rig_setup_crc : rig_setup)((void **)&rig), 0);
	rig_connected(rig);
	assert_int_equal(
		fabric_mr_reg(rig->pd, rig->mem, len, rig_at(rig), FABRIC_ACCESS_REMOTE_WRITE, &mr),
		0);
	flood.rig = rig;
	flood.fd = rig->fd;
	flood.stag = mr->rkey;
	flood.to = rig_at(rig);
	assert_int_equal(pthread_create(&poller, NULL, poll_main, &flood), 0);
	assert_int_equal(pthread_create(&writer, NULL, flood_main, &flood), 0);
	until = now_ns() + 10 * NS_PER_MS + now_ns() % (5 * NS_PER_MS);
	while (now_ns() < until)
		sched_yield();
	assert_int_equal(fabric_mr_dereg(mr), 0);
	memset(rig->mem, 0xa5, len);
	until = now_ns() + 10 * NS_PER_MS;
	while (now_ns() < until)
		sched_yield();
	rig_untouched(rig);
	atomic_store(&flood.stop, true);
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_equal(pthread_join(poller, NULL), 0);
	rig_untouched(rig);
	assert_int_equal(rig_teardown((void **)&rig), 0);
}

static void test_flood(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		flood_round(false, 512);
		flood_round(false, 60000);
		flood_round(true, 512);
		flood_round(true, 60000);
	}
}

/* ---- who kills a key waits for who is using it ------------------------------------------------ */

static atomic_bool copying, copy_may_end;

/* A copy that takes as long as the test wants. */
static int copy_slowly(void *dst, const void *src, size_t len)
{
	atomic_store(&copying, true);
	while (!atomic_load(&copy_may_end))
		sched_yield();
	memcpy(dst, src, len);
	return 0;
}

struct killing {
	struct rig *rig;
	struct fabric_mr *mr;
	int (*kill)(struct killing *killing);
	atomic_bool done;
};

static int kill_dereg(struct killing *killing)
{
	return fabric_mr_dereg(killing->mr);
}

static int kill_fence(struct killing *killing)
{
	return fabric_conn_fence(killing->rig->conn);
}

static void *kill_main(void *arg)
{
	struct killing *killing = arg;

	assert_int_equal(killing->kill(killing), 0);
	atomic_store(&killing->done, true);
	return NULL;
}

static void killing_waits(struct rig *rig, int (*kill)(struct killing *killing))
{
	struct killing killing = {.rig = rig, .kill = kill};
	struct flood flood = {.rig = rig};
	pthread_t killer, poller;

	rig_connected(rig);
	assert_int_equal(fabric_mr_reg(rig->pd, rig->mem, 4096, rig_at(rig),
				       FABRIC_ACCESS_REMOTE_WRITE, &killing.mr),
			 0);
	atomic_store(&copying, false);
	atomic_store(&copy_may_end, false);
	iwarp_set_copy_hook(copy_slowly);
	rig_write(rig, killing.mr->rkey, rig_at(rig), 100);
	assert_int_equal(pthread_create(&poller, NULL, poll_main, &flood), 0);
	while (!atomic_load(&copying))
		sched_yield();
	assert_int_equal(pthread_create(&killer, NULL, kill_main, &killing), 0);
	(void)usleep(50000);
	assert_false(atomic_load(&killing.done));
	rig_untouched(rig);
	atomic_store(&copy_may_end, true);
	assert_int_equal(pthread_join(killer, NULL), 0);
	/* It was let finish, and that was all. */
	assert_int_equal(rig->mem[99], 0);
	atomic_store(&flood.stop, true);
	assert_int_equal(pthread_join(poller, NULL), 0);
	iwarp_set_copy_hook(NULL);
	if (kill != kill_dereg)
		assert_int_equal(fabric_mr_dereg(killing.mr), 0);
}

static void test_dereg_waits(void **state)
{
	killing_waits(*state, kill_dereg);
}

static void test_fence_waits(void **state)
{
	killing_waits(*state, kill_fence);
}

/* ---- noise ------------------------------------------------------------------------------------ */

/* Headers with random fields behind an honest frame: whatever comes of it, no byte of ours changes. */
static void test_noise(void **state)
{
	uint32_t random;

	(void)state;
	for (int i = 0; i < 300; i++) {
		uint8_t bytes[64 + 4];
		struct rig *rig;
		size_t len;

		assert_int_equal(rig_setup((void **)&rig), 0);
		rig_connected(rig);
		random_bytes(&random, sizeof(random));
		random_bytes(bytes, sizeof(bytes));
		bytes[0] = 0;
		if (random & 1)
			bytes[1] &= 0x3f;
		if (random & 2)
			bytes[2] = (bytes[2] & 0xc0) | 1;
		if (random & 4)
			bytes[3] = 0x40 | (bytes[3] & 7);
		if (random & 8)
			memset(bytes + 8, 0, 7);
		len = random >> 8 & 63;
		rig_say(rig, bytes, len + 4);
		for (int n = 0; n < 20; n++)
			rig_pump(rig);
		rig_untouched(rig);
		assert_int_equal(rig_teardown((void **)&rig), 0);
	}
}

/* Who polls is told of bytes that make no completion, once, and of nothing else. */
static void test_moved(void **state)
{
	const uint64_t end = now_ns() + RIG_WAIT;
	struct rig *rig = *state;
	struct fabric_wc wc;

	rig_connected(rig);
	(void)rig_silent(rig, 20);
	(void)fabric_cq_moved(rig->cq);
	for (int i = 0; i < 100; i++)
		rig_pump(rig);
	assert_false(fabric_cq_moved(rig->cq));
	rig_write(rig, rig->mr->rkey, rig_at(rig), 512);
	do {
		assert_int_equal(fabric_cq_poll(rig->cq, &wc, 1), 0);
		assert_true(now_ns() < end);
	} while (!fabric_cq_moved(rig->cq));
	(void)rig_silent(rig, 20);
	(void)fabric_cq_moved(rig->cq);
	for (int i = 0; i < 100; i++)
		rig_pump(rig);
	assert_false(fabric_cq_moved(rig->cq));
}

#define with_rig(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)
#define with_crc(fn) cmocka_unit_test_setup_teardown(fn, rig_setup_crc, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_rig(test_bytewise),
		with_crc(test_bytewise_crc),
		cmocka_unit_test(test_cut_off),
		with_rig(test_key_dies_mid_segment),
		with_rig(test_key_dies_mid_response),
		with_rig(test_too_many_reads),
		with_rig(test_send_overtakes_response),
		cmocka_unit_test(test_write_past_file),
		cmocka_unit_test(test_read_past_file),
		cmocka_unit_test(test_flood),
		with_rig(test_dereg_waits),
		with_rig(test_fence_waits),
		cmocka_unit_test(test_noise),
		with_rig(test_moved),
	};

	return cmocka_run_group_tests_name("iwarp_stream", tests, NULL, NULL);
}
