// SPDX-License-Identifier: BSD-3-Clause
/* The bench of the iwarp tests: our end and a raw socket, in one thread. */
#include "test_iwarp_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define CANARY 0xa5

void rig_open(struct rig *rig, const struct iwarp_options *options)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	assert_int_equal(iwarp_fabric_open(options, &rig->f, NULL), 0);
	rig->dev = fabric_device_at(rig->f, 0);
	assert_int_equal(fabric_pd_alloc(rig->dev, &rig->pd), 0);
	assert_int_equal(fabric_cq_create(rig->dev, 256, &rig->cq), 0);
	assert_int_equal(fabric_cm_open(rig->f, &rig->cm), 0);
	assert_int_equal(fabric_listen(rig->cm, (struct sockaddr *)&any, 16, rig, &rig->listener),
			 0);
	assert_int_equal(fabric_listener_addr(rig->listener, &rig->addr), 0);
	rig->buf = aligned_alloc(4096, RIG_BYTES);
	assert_non_null(rig->buf);
	memset(rig->buf, CANARY, RIG_BYTES);
	rig->mem = rig->buf + RIG_BYTES / 4;
	assert_int_equal(fabric_mr_reg(rig->pd, rig->mem, RIG_MEM, (uintptr_t)rig->mem,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
					       FABRIC_ACCESS_REMOTE_WRITE,
				       &rig->mr),
			 0);
	rig->param = (struct fabric_conn_param){.responder_resources = 16, .initiator_depth = 16};
	rig->fd = -1;
}

void rig_close(struct rig *rig)
{
	if (rig->fd >= 0)
		(void)close(rig->fd);
	if (rig->conn)
		fabric_conn_destroy(rig->conn);
	fabric_listener_destroy(rig->listener);
	fabric_cm_close(rig->cm);
	(void)fabric_mr_dereg(rig->mr);
	fabric_cq_destroy(rig->cq);
	(void)fabric_pd_free(rig->pd);
	fabric_close(rig->f);
	free(rig->buf);
}

static int setup(void **state, bool crc)
{
	struct iwarp_options options = {.crc = crc ? IWARP_CRC_ON : IWARP_CRC_AUTO};
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!rig || leaks_setup((void **)&rig->leaks))
		return -1;
	rig->crc = crc;
	rig_open(rig, &options);
	*state = rig;
	return 0;
}

int rig_setup(void **state)
{
	return setup(state, false);
}

int rig_setup_crc(void **state)
{
	return setup(state, true);
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;
	int bad;

	rig_close(rig);
	bad = leaks_teardown((void **)&rig->leaks);
	free(rig);
	return bad;
}

/* ---- our end --------------------------------------------------------------------------------- */

void rig_pump(struct rig *rig)
{
	struct fabric_wc wc;

	/* Completions that nobody asked for are no test's business. */
	while (fabric_cq_poll(rig->cq, &wc, 1) > 0)
		;
}

void rig_event(struct rig *rig, enum fabric_cm_type type)
{
	uint64_t deadline = now_ns() + RIG_WAIT;
	int found = 0;

	while (!found && now_ns() < deadline) {
		rig_pump(rig);
		found = fabric_cm_poll(rig->cm, &rig->event);
	}
	assert_int_equal(found, 1);
	assert_int_equal(rig->event.type, type);
}

struct fabric_wc rig_completion(struct rig *rig)
{
	uint64_t deadline = now_ns() + RIG_WAIT;
	struct fabric_wc wc;

	while (now_ns() < deadline)
		if (fabric_cq_poll(rig->cq, &wc, 1) == 1)
			return wc;
	fail_msg("no completion");
	return wc;
}

void rig_qp(struct rig *rig)
{
	struct fabric_qp_attr attr = {
		.pd = rig->pd,
		.cq = rig->cq,
		.max_send_wr = 64,
		.max_recv_wr = 64,
		.max_send_sge = 4,
		.max_recv_sge = 4,
		.max_inline = 128,
	};

	assert_int_equal(fabric_qp_create(rig->conn, &attr), 0);
}

/* ---- the test's end --------------------------------------------------------------------------- */

int rig_dial(struct rig *rig)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&rig->addr, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return fd;
}

void rig_say(struct rig *rig, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		ssize_t n = send(rig->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		/* Our end may have ended it: what we say then goes nowhere. */
		if (n < 0 && errno != EAGAIN)
			return;
		rig_pump(rig);
	}
}

/* 1: bytes, 0: the end, -1: nothing now. */
static int hear_some(struct rig *rig, uint8_t *bytes, size_t len, size_t *got)
{
	ssize_t n;

	rig_pump(rig);
	n = recv(rig->fd, bytes, len, MSG_DONTWAIT);
	if (n > 0) {
		*got = (size_t)n;
		return 1;
	}
	return n < 0 && errno == EAGAIN ? -1 : 0;
}

void rig_hear(struct rig *rig, void *bytes, size_t len)
{
	uint64_t deadline = now_ns() + RIG_WAIT;
	uint8_t *p = bytes;

	while (len > 0) {
		size_t got = 0;

		if (hear_some(rig, p, len, &got) == 0)
			fail_msg("the connection ended %zu bytes early", len);
		p += got;
		len -= got;
		if (now_ns() > deadline)
			fail_msg("%zu bytes did not come", len);
	}
}

bool rig_silent(struct rig *rig, unsigned int ms)
{
	uint64_t deadline = now_ns() + ms * NS_PER_MS;
	uint8_t byte;
	size_t got;

	do {
		if (hear_some(rig, &byte, 1, &got) != -1)
			return false;
	} while (now_ns() < deadline);
	return true;
}

void rig_hear_end(struct rig *rig)
{
	uint64_t deadline = now_ns() + RIG_WAIT;
	uint8_t bytes[4096];
	size_t got;

	while (hear_some(rig, bytes, sizeof(bytes), &got) != 0)
		if (now_ns() > deadline)
			fail_msg("the connection does not end");
}

/* ---- shaking hands ---------------------------------------------------------------------------- */

void rig_connected(struct rig *rig)
{
	/* RFC 5044 §7.1.1, RFC 6581 §9.1: key, flags, revision, length; IRD 16, ORD 16. */
	static const uint8_t request[] = "MPA ID Req Frame\x10\x02\x00\x04\x00\x10\x00\x10";
	uint8_t frame[sizeof(request) - 1], reply[24];

	memcpy(frame, request, sizeof(frame));
	if (rig->crc)
		frame[16] |= 0x40;
	rig->fd = rig_dial(rig);
	rig_say(rig, frame, sizeof(frame));
	rig_event(rig, FABRIC_CM_CONNECT_REQUEST);
	rig->conn = rig->event.conn;
	rig_qp(rig);
	assert_int_equal(fabric_accept(rig->conn, &rig->param), 0);
	rig_event(rig, FABRIC_CM_ESTABLISHED);
	rig_hear(rig, reply, sizeof(reply));
	assert_memory_equal(reply, "MPA ID Rep Frame", 16);
	assert_int_equal(reply[16], rig->crc ? 0x50 : 0x10);
}

int rig_listen_plain(struct sockaddr_storage *addr)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*addr);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return fd;
}

void rig_start_out(struct rig *rig, int listener, const struct sockaddr_storage *addr)
{
	uint64_t deadline = now_ns() + RIG_WAIT;
	struct fabric_cm_event event;

	assert_int_equal(
		fabric_resolve(rig->cm, (const struct sockaddr *)addr, 1000, rig, &rig->conn), 0);
	rig_event(rig, FABRIC_CM_RESOLVED);
	rig_qp(rig);
	assert_int_equal(fabric_connect(rig->conn, &rig->param), 0);
	do {
		assert_int_equal(fabric_cm_poll(rig->cm, &event), 0);
		rig->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (rig->fd < 0 && now_ns() < deadline);
	assert_true(rig->fd >= 0);
	assert_int_equal(fabric_cm_poll(rig->cm, &event), 0);
}

void rig_connected_out(struct rig *rig)
{
	static const uint8_t reply[] = "MPA ID Rep Frame\x10\x02\x00\x04\x00\x10\x00\x10";
	struct sockaddr_storage addr;
	int listener = rig_listen_plain(&addr);
	uint8_t request[24], frame[sizeof(reply) - 1];

	rig_start_out(rig, listener, &addr);
	rig_hear(rig, request, sizeof(request));
	memcpy(frame, reply, sizeof(frame));
	if (rig->crc)
		frame[16] |= 0x40;
	rig_say(rig, frame, sizeof(frame));
	rig_event(rig, FABRIC_CM_ESTABLISHED);
	(void)close(listener);
}

/* ---- units ------------------------------------------------------------------------------------ */

void rig_unit(struct rig *rig, const void *header, size_t header_len, const void *payload,
	      size_t len)
{
	uint8_t *unit = malloc(header_len + len + 8);
	size_t total;

	assert_non_null(unit);
	total = unit_build(rig->crc, header, header_len, payload, len, unit);
	rig_say(rig, unit, total);
	free(unit);
}

void rig_receive(struct rig *rig, uint32_t len)
{
	struct fabric_sge sge = {.addr = (uintptr_t)rig->mem, .length = len, .lkey = rig->mr->lkey};
	struct fabric_recv_wr wr = {.sg_list = &sge, .num_sge = 1};

	assert_int_equal(fabric_post_recv(rig->conn, &wr, NULL), 0);
}

void rig_write(struct rig *rig, uint32_t stag, uint64_t to, size_t len)
{
	struct iw_tagged h = unit_write_header(stag, to);
	uint8_t *payload = calloc(1, len);

	assert_non_null(payload);
	rig_unit(rig, &h, sizeof(h), payload, len);
	free(payload);
}

void rig_terminated(struct rig *rig, uint8_t layer, uint8_t etype, uint8_t ecode)
{
	uint8_t head[20], rest[96], unit[128];
	uint16_t ulpdu;
	size_t len;

	rig_hear(rig, head, sizeof(head));
	memcpy(&ulpdu, head, sizeof(ulpdu));
	ulpdu = be16toh(ulpdu);
	/* Untagged, last; opcode 7 on queue 2, the first message there. */
	assert_memory_equal(head + 2, "\x41\x47\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\0", 18);
	len = ((size_t)ulpdu + 2 + 3) / 4 * 4 + 4 - sizeof(head);
	assert_in_range(len, 8, sizeof(rest));
	rig_hear(rig, rest, len);
	if (rest[0] != (layer << 4 | etype) || rest[1] != ecode)
		fail_msg("Terminate %x/%x/%02x where %x/%x/%02x should be", rest[0] >> 4,
			 rest[0] & 15, rest[1], layer, etype, ecode);
	if (rig->crc) {
		uint32_t crc;

		memcpy(unit, head, sizeof(head));
		memcpy(unit + sizeof(head), rest, len);
		memcpy(&crc, rest + len - 4, 4);
		assert_int_equal(le32toh(crc), unit_crc32c(unit, sizeof(head) + len - 4));
	}
	rig_hear_end(rig);
	rig_event(rig, FABRIC_CM_DISCONNECTED);
}

void rig_untouched(struct rig *rig)
{
	for (size_t i = 0; i < RIG_BYTES; i++)
		if (rig->buf[i] != CANARY)
			fail_msg("byte %zu changed", i);
}
