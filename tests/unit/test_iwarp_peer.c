// SPDX-License-Identifier: BSD-3-Clause
/*
 * A peer that breaks the rules of DDP and RDMAP: each breach is answered with the Terminate that the
 * RFCs give it, and changes no byte of ours.
 */
#include "test_iwarp_rig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

/* ---- one unit, one breach --------------------------------------------------------------------- */

struct breach {
	const char *what;
	uint8_t layer, etype, ecode; /* RFC 5040 §4.8, RFC 5041 §8.2 */
	void (*commit)(struct rig *rig);
};

static void write_wrong_index(struct rig *rig)
{
	rig_write(rig, rig->mr->rkey ^ 0x100, rig_at(rig), 100);
}

static void write_far_index(struct rig *rig)
{
	rig_write(rig, UINT32_MAX, rig_at(rig), 100);
}

static void write_wrong_key(struct rig *rig)
{
	rig_write(rig, rig->mr->rkey ^ 0x01, rig_at(rig), 100);
}

static void write_past_end(struct rig *rig)
{
	rig_write(rig, rig->mr->rkey, rig_at(rig) + RIG_MEM - 99, 100);
}

static void write_large_past_end(struct rig *rig)
{
	rig_write(rig, rig->mr->rkey, rig_at(rig) + RIG_MEM - 59999, 60000);
}

static void write_before_start(struct rig *rig)
{
	rig_write(rig, rig->mr->rkey, rig_at(rig) - 1, 100);
}

static void write_wraps(struct rig *rig)
{
	rig_write(rig, rig->mr->rkey, UINT64_MAX - 49, 100);
}

static void write_without_access(struct rig *rig)
{
	struct fabric_mr *mr;

	assert_int_equal(fabric_mr_reg(rig->pd, rig->mem, 4096, rig_at(rig),
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ, &mr),
			 0);
	rig_write(rig, mr->rkey, rig_at(rig), 100);
	for (int i = 0; i < 100; i++)
		rig_pump(rig);
	assert_int_equal(fabric_mr_dereg(mr), 0);
}

static void write_other_domain(struct rig *rig)
{
	struct fabric_pd *pd;
	struct fabric_mr *mr;

	assert_int_equal(fabric_pd_alloc(rig->dev, &pd), 0);
	assert_int_equal(fabric_mr_reg(pd, rig->mem, 4096, rig_at(rig),
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_WRITE, &mr),
			 0);
	rig_write(rig, mr->rkey, rig_at(rig), 100);
	for (int i = 0; i < 100; i++)
		rig_pump(rig);
	assert_int_equal(fabric_mr_dereg(mr), 0);
	assert_int_equal(fabric_pd_free(pd), 0);
}

static void say_send(struct rig *rig, const struct iw_untagged *h, size_t len)
{
	static const uint8_t payload[200];

	rig_unit(rig, h, sizeof(*h), payload, len);
}

static void send_no_receive(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 1, 0);

	say_send(rig, &h, 100);
}

static void send_too_long(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 1, 0);

	rig_receive(rig, 99);
	say_send(rig, &h, 100);
}

static void send_msn_ahead(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 2, 0);

	rig_receive(rig, 200);
	say_send(rig, &h, 100);
}

static void send_msn_zero(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 0, 0);

	rig_receive(rig, 200);
	say_send(rig, &h, 100);
}

static void send_offset(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 1, 8);

	rig_receive(rig, 200);
	say_send(rig, &h, 100);
}

static void send_gap(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 1, 0);

	rig_receive(rig, 0);
	/* Not the last; then one that leaves a hole. */
	h.ctrl.ddp = 0x01;
	say_send(rig, &h, 0);
	h = unit_send_header(3, 1, 50);
	say_send(rig, &h, 50);
}

static void send_wrong_queue(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 1, 0);

	rig_receive(rig, 200);
	h.queue = htobe32(1);
	say_send(rig, &h, 100);
}

static void send_queue_seven(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 1, 0);

	rig_receive(rig, 200);
	h.queue = htobe32(7);
	say_send(rig, &h, 100);
}

static void send_tagged(struct rig *rig)
{
	struct iw_tagged h = unit_write_header(rig->mr->rkey, rig_at(rig));

	h.ctrl.rdmap = 0x43;
	rig_unit(rig, &h, sizeof(h), "abcd", 4);
}

static void write_untagged(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(0, 1, 0);

	rig_receive(rig, 200);
	say_send(rig, &h, 100);
}

static void send_invalidates_region(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(4, 1, 0);

	rig_receive(rig, 0);
	h.inv_stag = htobe32(rig->mr->rkey);
	say_send(rig, &h, 0);
}

static void send_invalidates_nothing(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(6, 1, 0);

	rig_receive(rig, 0);
	h.inv_stag = htobe32(0x77777777);
	say_send(rig, &h, 0);
}

static void say_read(struct rig *rig, struct iw_read_request h)
{
	rig_unit(rig, &h, sizeof(h), NULL, 0);
}

static void read_wrong_key(struct rig *rig)
{
	say_read(rig, unit_read_header(1, rig->mr->rkey ^ 1, rig_at(rig), 100));
}

static void read_past_end(struct rig *rig)
{
	say_read(rig, unit_read_header(1, rig->mr->rkey, rig_at(rig) + RIG_MEM - 99, 100));
}

static void read_wraps(struct rig *rig)
{
	say_read(rig, unit_read_header(1, rig->mr->rkey, UINT64_MAX - 49, 100));
}

static void read_without_access(struct rig *rig)
{
	struct fabric_mr *mr;

	assert_int_equal(fabric_mr_reg(rig->pd, rig->mem, 4096, rig_at(rig),
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_WRITE, &mr),
			 0);
	say_read(rig, unit_read_header(1, mr->rkey, rig_at(rig), 100));
	for (int i = 0; i < 100; i++)
		rig_pump(rig);
	assert_int_equal(fabric_mr_dereg(mr), 0);
}

static void read_msn_ahead(struct rig *rig)
{
	say_read(rig, unit_read_header(2, rig->mr->rkey, rig_at(rig), 100));
}

static void read_offset(struct rig *rig)
{
	struct iw_read_request h = unit_read_header(1, rig->mr->rkey, rig_at(rig), 100);

	h.u.mo = htobe32(4);
	say_read(rig, h);
}

static void read_on_send_queue(struct rig *rig)
{
	struct iw_read_request h = unit_read_header(1, rig->mr->rkey, rig_at(rig), 100);

	h.u.queue = 0;
	say_read(rig, h);
}

static void read_with_payload(struct rig *rig)
{
	struct iw_read_request h = unit_read_header(1, rig->mr->rkey, rig_at(rig), 100);

	rig_unit(rig, &h, sizeof(h), "more", 4);
}

static void response_unasked(struct rig *rig)
{
	struct iw_tagged h = unit_write_header(rig->mr->rkey, rig_at(rig));

	h.ctrl.rdmap = 0x42;
	rig_unit(rig, &h, sizeof(h), "abcd", 4);
}

static void ddp_version(struct rig *rig)
{
	struct iw_tagged h = unit_write_header(rig->mr->rkey, rig_at(rig));

	h.ctrl.ddp = 0xc2;
	rig_unit(rig, &h, sizeof(h), "abcd", 4);
}

static void ddp_version_untagged(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(3, 1, 0);

	h.ctrl.ddp = 0x40;
	say_send(rig, &h, 4);
}

static void rdmap_version(struct rig *rig)
{
	struct iw_tagged h = unit_write_header(rig->mr->rkey, rig_at(rig));

	h.ctrl.rdmap = 0x80;
	rig_unit(rig, &h, sizeof(h), "abcd", 4);
}

static void opcode_eight(struct rig *rig)
{
	struct iw_untagged h = unit_send_header(8, 1, 0);

	say_send(rig, &h, 4);
}

static void unit_too_short(struct rig *rig)
{
	/* Thirteen bytes cannot hold a DDP header. */
	rig_say(rig, "\0\x0d\xc1\x40...................", 20);
}

static void send_too_short(struct rig *rig)
{
	/* Enough for a tagged header, not for an untagged one. */
	rig_say(rig, "\0\x0e\x41\x43................", 20);
}

static const struct breach breaches[] = {
	{"write with a key of another index", DDP, 1, 0x00, write_wrong_index},
	{"write with an index beyond the table", DDP, 1, 0x00, write_far_index},
	{"write with another key byte", DDP, 1, 0x00, write_wrong_key},
	{"write past the end", DDP, 1, 0x01, write_past_end},
	{"large write past the end", DDP, 1, 0x01, write_large_past_end},
	{"write before the start", DDP, 1, 0x01, write_before_start},
	{"write that wraps", DDP, 1, 0x03, write_wraps},
	{"write into what is read only", RDMAP, 1, 0x02, write_without_access},
	{"write into another domain", DDP, 1, 0x02, write_other_domain},
	{"send without a receive", DDP, 2, 0x02, send_no_receive},
	{"send longer than the receive", DDP, 2, 0x05, send_too_long},
	{"send with the next MSN but one", DDP, 2, 0x03, send_msn_ahead},
	{"send with MSN 0", DDP, 2, 0x03, send_msn_zero},
	{"send that begins at 8", DDP, 2, 0x04, send_offset},
	{"send with a hole", DDP, 2, 0x04, send_gap},
	{"send on the queue of Read Requests", DDP, 2, 0x01, send_wrong_queue},
	{"send on queue 7", DDP, 2, 0x01, send_queue_seven},
	{"send, tagged", RDMAP, 2, 0x06, send_tagged},
	{"write, untagged", RDMAP, 2, 0x06, write_untagged},
	{"send that invalidates a region", RDMAP, 1, 0x09, send_invalidates_region},
	{"send that invalidates nothing", RDMAP, 1, 0x09, send_invalidates_nothing},
	{"read with another key byte", RDMAP, 1, 0x00, read_wrong_key},
	{"read past the end", RDMAP, 1, 0x01, read_past_end},
	{"read that wraps", RDMAP, 1, 0x04, read_wraps},
	{"read from what is write only", RDMAP, 1, 0x02, read_without_access},
	{"read with the next MSN but one", DDP, 2, 0x03, read_msn_ahead},
	{"read that begins at 4", DDP, 2, 0x04, read_offset},
	{"read on the queue of Sends", DDP, 2, 0x01, read_on_send_queue},
	{"read with a payload", DDP, 2, 0x05, read_with_payload},
	{"response that nobody asked for", RDMAP, 2, 0x06, response_unasked},
	{"DDP version 2", DDP, 1, 0x04, ddp_version},
	{"DDP version 0, untagged", DDP, 2, 0x06, ddp_version_untagged},
	{"RDMAP version 2", RDMAP, 2, 0x05, rdmap_version},
	{"opcode 8", RDMAP, 2, 0x06, opcode_eight},
	{"unit without room for a header", MPA, 0, 0x03, unit_too_short},
};

static void commit_all(bool crc)
{
	for (size_t i = 0; i < ARRAY_SIZE(breaches); i++) {
		const struct breach *b = &breaches[i];
		struct rig *rig;

		print_message("%s\n", b->what);
		assert_int_equal((crc ? rig_setup_crc : rig_setup)((void **)&rig), 0);
		rig_connected(rig);
		b->commit(rig);
		rig_terminated(rig, b->layer, b->etype, b->ecode);
		assert_non_null(fabric_conn_breach(rig->conn));
		rig_untouched(rig);
		assert_int_equal(rig_teardown((void **)&rig), 0);
	}
}

static void test_breaches(void **state)
{
	(void)state;
	commit_all(false);
}

static void test_breaches_crc(void **state)
{
	(void)state;
	commit_all(true);
}

/* Without CRC only: with it the sum is wrong first. */
static void test_short_send(void **state)
{
	struct rig *rig = *state;

	rig_connected(rig);
	send_too_short(rig);
	rig_terminated(rig, MPA, 0, 0x03);
	rig_untouched(rig);
}

/* What a Terminate quotes: the length of the segment and its headers (RFC 5040 §4.8). */
static void test_terminate_quotes(void **state)
{
	struct rig *rig = *state;
	struct iw_read_request h = unit_read_header(1, rig->mr->rkey ^ 1, rig_at(rig), 100);
	uint8_t unit[20 + 4 + 48 + 4];

	rig_connected(rig);
	rig_unit(rig, &h, sizeof(h), NULL, 0);
	h.u.ctrl.ulpdu_len = htobe16(46);
	rig_hear(rig, unit, sizeof(unit));
	assert_memory_equal(unit + 20, "\x01\x00\xe0\x00", 4);
	assert_memory_equal(unit + 24, &h, sizeof(h));
}

/* ---- CRC -------------------------------------------------------------------------------------- */

static void test_bad_sum(void **state)
{
	/* Every part of the unit is covered: header, payload, padding, the sum itself. */
	static const size_t flipped[] = {1, 3, 9, 16, 100, 117, 120, 123};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flipped); i++) {
		struct rig *rig;
		struct iw_tagged h;
		uint8_t payload[101] = {0}, unit[256];
		size_t len;

		print_message("byte %zu\n", flipped[i]);
		assert_int_equal(rig_setup_crc((void **)&rig), 0);
		rig_connected(rig);
		h = unit_write_header(rig->mr->rkey, rig_at(rig));
		len = unit_build(rig->crc, &h, sizeof(h), payload, sizeof(payload), unit);
		assert_int_equal(len, 124);
		unit[flipped[i]] ^= 0x10;
		/* A wrong length makes it wait for more: give it more. */
		rig_say(rig, unit, sizeof(unit));
		rig_terminated(rig, MPA, 0, 0x02);
		rig_untouched(rig);
		assert_int_equal(rig_teardown((void **)&rig), 0);
	}
}

/* ---- the sink of our READ --------------------------------------------------------------------- */

/* Our READ of `len` bytes is out; what its request said. */
static struct iw_read_request read_out(struct rig *rig, uint32_t len)
{
	struct fabric_sge sge = {.addr = (uintptr_t)rig->mem, .length = len, .lkey = rig->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = 77,
				    .op = FABRIC_OP_READ,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1,
				    .remote_addr = 0xabcdef,
				    .rkey = 0x4242};
	struct iw_read_request h;
	uint32_t crc;

	assert_int_equal(fabric_post_send(rig->conn, &wr, NULL), 0);
	rig_hear(rig, &h, sizeof(h));
	rig_hear(rig, &crc, sizeof(crc));
	assert_int_equal(be32toh(h.length), len);
	assert_int_equal(be32toh(h.source_stag), 0x4242);
	return h;
}

static struct iw_tagged response(const struct iw_read_request *request, uint64_t off, bool last)
{
	return unit_response_header(be32toh(request->sink_stag), be64toh(request->sink_to) + off,
				    last);
}

enum sink_attack {
	SINK_WRITE,
	SINK_OTHER_KEY,
	SINK_OTHER_OFFSET,
	SINK_TOO_LONG,
	SINK_TOO_SHORT,
	SINK_NOT_LAST,
	SINK_TWICE,
	SINK_KEY_OF_REGION,
};

static const struct {
	const char *what;
	uint8_t layer, etype, ecode;
} sink_attacks[] = {
	[SINK_WRITE] = {"a write to the sink", DDP, 1, 0x00},
	[SINK_OTHER_KEY] = {"a response to another key", DDP, 1, 0x00},
	[SINK_OTHER_OFFSET] = {"a response out of sequence", DDP, 1, 0x01},
	[SINK_TOO_LONG] = {"a response that is too long", DDP, 1, 0x01},
	[SINK_TOO_SHORT] = {"a response that ends early", DDP, 1, 0x01},
	[SINK_NOT_LAST] = {"a response that does not end", DDP, 1, 0x01},
	[SINK_TWICE] = {"a second response", RDMAP, 2, 0x06},
	[SINK_KEY_OF_REGION] = {"a response to the region itself", DDP, 1, 0x00},
};

static void attack_sink(struct rig *rig, enum sink_attack attack)
{
	static const uint8_t zeros[200];
	struct iw_read_request request = read_out(rig, 100);
	struct iw_tagged h = response(&request, 0, true);
	size_t len = 100;

	switch (attack) {
	case SINK_WRITE:
		h.ctrl.rdmap = 0x40;
		break;
	case SINK_OTHER_KEY:
		h.stag ^= htobe32(1);
		break;
	case SINK_OTHER_OFFSET:
		h = response(&request, 4, true);
		len = 96;
		break;
	case SINK_TOO_LONG:
		len = 101;
		break;
	case SINK_TOO_SHORT:
		len = 99;
		break;
	case SINK_NOT_LAST:
		h = response(&request, 0, false);
		break;
	case SINK_TWICE:
		memset(rig->mem, 0, 100);
		rig_unit(rig, &h, sizeof(h), zeros, len);
		assert_int_equal(rig_completion(rig).status, FABRIC_OK);
		memset(rig->mem, 0xa5, 100);
		break;
	case SINK_KEY_OF_REGION:
		h.stag = htobe32(rig->mr->rkey);
		h.to = htobe64((uintptr_t)rig->mem);
		break;
	}
	rig_unit(rig, &h, sizeof(h), zeros, len);
	rig_terminated(rig, sink_attacks[attack].layer, sink_attacks[attack].etype,
		       sink_attacks[attack].ecode);
	rig_untouched(rig);
}

static void test_sink(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sink_attacks); i++) {
		struct rig *rig;

		print_message("%s\n", sink_attacks[i].what);
		assert_int_equal(rig_setup((void **)&rig), 0);
		rig_connected_out(rig);
		attack_sink(rig, (enum sink_attack)i);
		assert_int_equal(rig_teardown((void **)&rig), 0);
	}
}

/* Sink keys cannot be told from one another. */
static void test_sink_keys_random(void **state)
{
	struct rig *rig = *state;
	uint32_t keys[10];

	rig_connected_out(rig);
	for (unsigned int i = 0; i < ARRAY_SIZE(keys); i++) {
		keys[i] = be32toh(read_out(rig, 4).sink_stag);
		for (unsigned int j = 0; j < i; j++)
			assert_true((keys[i] >> 8) - (keys[j] >> 8) > 1);
	}
}

/* A response in two parts, with one of our receives filled between them. */
static void test_response_in_parts(void **state)
{
	struct rig *rig = *state;
	struct iw_read_request request;
	struct iw_untagged send = unit_send_header(3, 1, 0);
	struct iw_tagged h;
	struct fabric_wc wc;

	rig_connected_out(rig);
	rig_receive(rig, 4);
	request = read_out(rig, 8);
	h = response(&request, 0, false);
	rig_unit(rig, &h, sizeof(h), "0123", 4);
	rig_unit(rig, &send, sizeof(send), "send", 4);
	wc = rig_completion(rig);
	assert_int_equal(wc.status, FABRIC_OK);
	assert_int_equal(wc.op, FABRIC_OP_RECV);
	h = response(&request, 4, true);
	rig_unit(rig, &h, sizeof(h), "4567", 4);
	wc = rig_completion(rig);
	assert_int_equal(wc.status, FABRIC_OK);
	assert_int_equal(wc.wr_id, 77);
	assert_memory_equal(rig->mem + 4, "4567", 4);
}

#define with_rig(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_breaches), cmocka_unit_test(test_breaches_crc),
		with_rig(test_short_send),	 with_rig(test_terminate_quotes),
		cmocka_unit_test(test_bad_sum),	 cmocka_unit_test(test_sink),
		with_rig(test_sink_keys_random), with_rig(test_response_in_parts),
	};

	return cmocka_run_group_tests_name("iwarp_peer", tests, NULL, NULL);
}
