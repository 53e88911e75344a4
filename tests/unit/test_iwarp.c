// SPDX-License-Identifier: BSD-3-Clause
/*
 * The iwarp room by itself: the checksum, the start-up frames as bytes, the handshake with a peer
 * that is a plain socket, and the kinds of adapter that it can present itself as.
 */
#include "test_iwarp_rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "iwarp/iwarp_internal.h"

/* ---- checksum --------------------------------------------------------------------------------- */

static void test_crc_vectors(void **state)
{
	/* RFC 3720 §B.4; the check value of the CRC catalogue. */
	static const uint8_t read_pdu[48] = {
		0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
		0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
		0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0,
	};
	uint8_t block[32];

	(void)state;
	memset(block, 0, sizeof(block));
	assert_int_equal(crc32c(0, block, 32), 0x8a9136aa);
	memset(block, 0xff, sizeof(block));
	assert_int_equal(crc32c(0, block, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		block[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, block, 32), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		block[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, block, 32), 0x113fdb5c);
	assert_int_equal(crc32c(0, read_pdu, sizeof(read_pdu)), 0xd9963a56);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void test_crc_ways_agree(void **state)
{
	enum {
		LEN = 20000
	};
	uint8_t *buf = malloc(LEN);

	(void)state;
	assert_non_null(buf);
	random_bytes(buf, LEN);
	for (size_t len = 0; len < LEN; len += len < 200 ? 1 : 257) {
		size_t off = len % 7 < LEN - len ? len % 7 : 0;
		size_t cut = len / 3;
		uint32_t whole = crc32c_table(0, buf + off, len);

		assert_int_equal(crc32c(0, buf + off, len), whole);
		assert_int_equal(crc32c(crc32c(0, buf + off, cut), buf + off + cut, len - cut),
				 whole);
	}
	free(buf);
}

/* ---- frames ----------------------------------------------------------------------------------- */

static void test_frame_bytes(void **state)
{
	/* RFC 5044 §7.1.1: revision 1, CRC wanted, four bytes of private data. */
	static const char plain[] = "MPA ID Req Frame\x40\x01\x00\x04"
				    "data";
	/* RFC 6581 §9.1: revision 2, enhanced, peer to peer, IRD 5, ORD 300, Write as RTR. */
	static const char enhanced[] = "MPA ID Req Frame\x10\x02\x00\x06\x80\x05\x81\x2c"
				       "xy";
	/* A reply that refuses. */
	static const char refusal[] = "MPA ID Rep Frame\x20\x01\x00\x00";
	struct iw_mpa m = {.crc = true, .revision = 1, .private_len = 4, .private_data = "data"};
	struct iw_mpa parsed;
	uint8_t frame[IW_MPA_FRAME_MAX];

	(void)state;
	assert_int_equal(iw_mpa_build(&m, frame), 24);
	assert_memory_equal(frame, plain, 24);
	assert_int_equal(iw_mpa_parse(frame, 24, false, &parsed), 24);
	assert_true(parsed.crc && !parsed.enhanced && !parsed.markers && !parsed.reject);
	assert_int_equal(parsed.private_len, 4);

	m = (struct iw_mpa){.revision = 2,
			    .enhanced = true,
			    .ird = 5,
			    .ord = 300,
			    .peer_to_peer = true,
			    .rtr_write = true,
			    .private_len = 2,
			    .private_data = "xy"};
	assert_int_equal(iw_mpa_build(&m, frame), 26);
	assert_memory_equal(frame, enhanced, 26);
	/* Its length is known from byte 20 on, its contents only when all is there. */
	for (size_t have = 0; have < 20; have++)
		assert_int_equal(iw_mpa_parse(frame, have, false, &parsed), 0);
	assert_int_equal(iw_mpa_parse(frame, 20, false, &parsed), 26);
	assert_int_equal(iw_mpa_parse(frame, 26, false, &parsed), 26);
	assert_int_equal(parsed.ird, 5);
	assert_int_equal(parsed.ord, 300);
	assert_true(parsed.peer_to_peer && parsed.rtr_write && !parsed.rtr_read);
	assert_memory_equal(parsed.private_data, "xy", 2);

	m = (struct iw_mpa){.reply = true, .reject = true, .revision = 1};
	assert_int_equal(iw_mpa_build(&m, frame), 20);
	assert_memory_equal(frame, refusal, 20);
	assert_int_equal(iw_mpa_parse(frame, 20, true, &parsed), 20);
	assert_true(parsed.reject);
}

static void test_frame_errors(void **state)
{
	static const struct {
		const char *what, *bytes;
		size_t len;
		bool reply;
	} bad[] = {
		{"first byte", "X", 1, false},
		{"a reply for a request", "MPA ID Rep", 10, false},
		{"a request for a reply", "MPA ID Req", 10, true},
		{"revision 0", "MPA ID Req Frame\0\0\0\0", 20, false},
		{"revision 3", "MPA ID Req Frame\0\3\0\0", 20, false},
		{"too much private data", "MPA ID Req Frame\0\1\x02\x01", 20, false},
		{"no depths", "MPA ID Req Frame\x10\2\0\3", 20, false},
		{"a request that refuses", "MPA ID Req Frame\x20\1\0\0", 20, false},
	};
	struct iw_mpa m;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		print_message("%s\n", bad[i].what);
		assert_int_equal(
			iw_mpa_parse((const uint8_t *)bad[i].bytes, bad[i].len, bad[i].reply, &m),
			-EPROTO);
	}
}

/* What a Terminate means for the request that it is about. */
static void test_terminate_meaning(void **state)
{
	static const struct {
		const char *what;
		uint8_t control[4];
		enum fabric_status status;
	} said[] = {
		{"RDMAP, invalid STag", {0x01, 0x00, 0xe0}, FABRIC_REMOTE_ACCESS},
		{"RDMAP, access", {0x01, 0x02, 0x00}, FABRIC_REMOTE_ACCESS},
		{"DDP tagged, bounds", {0x11, 0x01, 0xc0}, FABRIC_REMOTE_ACCESS},
		{"DDP tagged, version", {0x11, 0x04, 0xc0}, FABRIC_REMOTE_OPERATION},
		{"DDP untagged, no buffer", {0x12, 0x02, 0xc0}, FABRIC_RNR_EXCEEDED},
		{"DDP untagged, too long", {0x12, 0x05, 0xc0}, FABRIC_REMOTE_OPERATION},
		{"RDMAP, opcode", {0x02, 0x06, 0x00}, FABRIC_REMOTE_OPERATION},
		{"MPA, CRC", {0x20, 0x02, 0x00}, FABRIC_GENERAL_ERROR},
		{"RDMAP, invalid STag, by siw", {0x10, 0x00, 0x07}, FABRIC_REMOTE_ACCESS},
		{"DDP untagged, no buffer, by siw", {0x21, 0x02, 0x03}, FABRIC_RNR_EXCEEDED},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
		print_message("%s\n", said[i].what);
		assert_int_equal(iw_term_status(said[i].control, 4), said[i].status);
	}
	assert_int_equal(iw_term_status(said[0].control, 3), FABRIC_GENERAL_ERROR);
}

/* ---- accepting -------------------------------------------------------------------------------- */

static void request_and_reply(struct rig *rig, const char *request, size_t request_len,
			      const char *reply, size_t reply_len)
{
	uint8_t heard[64];

	rig->fd = rig_dial(rig);
	rig_say(rig, request, request_len);
	rig_event(rig, FABRIC_CM_CONNECT_REQUEST);
	rig->conn = rig->event.conn;
	rig_qp(rig);
	rig->param.private_data = "srv";
	rig->param.private_data_len = 3;
	assert_int_equal(fabric_accept(rig->conn, &rig->param), 0);
	rig_hear(rig, heard, reply_len);
	assert_memory_equal(heard, reply, reply_len);
	assert_true(rig_silent(rig, 20));
}

static void test_accept_plain(void **state)
{
	struct rig *rig = *state;

	request_and_reply(rig, "MPA ID Req Frame\x40\1\0\3cli", 23, "MPA ID Rep Frame\x40\1\0\3srv",
			  23);
	assert_int_equal(rig->event.private_data_len, 3);
	assert_memory_equal(rig->event.private_data, "cli", 3);
}

static void test_accept_enhanced(void **state)
{
	struct rig *rig = *state;

	/* It offers IRD 5 and ORD 7, we have 16 of each: our IRD 7, our ORD 5. */
	request_and_reply(rig, "MPA ID Req Frame\x10\2\0\7\0\5\0\7cli", 27,
			  "MPA ID Rep Frame\x10\2\0\7\0\7\0\5srv", 27);
	assert_int_equal(rig->event.responder_resources, 7);
	assert_int_equal(rig->event.initiator_depth, 5);
	assert_int_equal(fabric_conn_read_depth(rig->conn), 5);
}

/* RFC 6581 §9.2: of the kinds of ready-to-receive that are offered, one is chosen. */
static void test_accept_rtr_write(void **state)
{
	struct rig *rig = *state;
	struct iw_tagged rtr = unit_write_header(0, 0);
	struct fabric_send_wr wr = {.op = FABRIC_OP_SEND};

	request_and_reply(rig, "MPA ID Req Frame\x10\2\0\4\x80\5\xc0\7", 24,
			  "MPA ID Rep Frame\x10\2\0\7\x80\7\x80\5srv", 27);
	rig_event(rig, FABRIC_CM_ESTABLISHED);
	/* The accepting side holds its tongue until the first unit (RFC 5044 §7.1.2). */
	assert_int_equal(fabric_post_send(rig->conn, &wr, NULL), 0);
	assert_true(rig_silent(rig, 50));
	rig_unit(rig, &rtr, sizeof(rtr), NULL, 0);
	{
		uint8_t unit[24];

		rig_hear(rig, unit, sizeof(unit));
		assert_memory_equal(unit, "\0\x12\x41\x43", 4);
	}
}

static void test_accept_rtr_read(void **state)
{
	struct rig *rig = *state;
	struct iw_read_request rtr = unit_read_header(1, 0, 0, 0);
	uint8_t unit[20];

	request_and_reply(rig, "MPA ID Req Frame\x10\2\0\4\x80\5\x40\7", 24,
			  "MPA ID Rep Frame\x10\2\0\7\x80\7\x40\5srv", 27);
	rig_event(rig, FABRIC_CM_ESTABLISHED);
	rig_unit(rig, &rtr, sizeof(rtr), NULL, 0);
	rig_hear(rig, unit, sizeof(unit));
	/* A Read Response of no bytes, to the sink that was named. */
	assert_memory_equal(unit, "\0\x0e\xc1\x42\0\0\x12\x34\0\0\0\0\0\0\x56\x78", 16);
}

/* A request that can only be rejected says why, and cannot be accepted. */
static void hopeless(struct rig *rig, const void *request, size_t len, int error)
{
	uint8_t reply[20];

	rig->fd = rig_dial(rig);
	rig_say(rig, request, len);
	rig_event(rig, FABRIC_CM_CONNECT_REQUEST);
	assert_int_equal(rig->event.error, error);
	assert_int_equal(rig->event.private_data_len, 0);
	assert_non_null(fabric_refusal_text(error));
	rig->conn = rig->event.conn;
	rig_qp(rig);
	assert_int_equal(fabric_accept(rig->conn, &rig->param), error);
	assert_int_equal(fabric_reject(rig->conn, NULL, 0), 0);
	rig_hear(rig, reply, sizeof(reply));
	assert_memory_equal(reply, "MPA ID Rep Frame\x20\1\0\0", 20);
	rig_hear_end(rig);
}

static void test_accept_markers(void **state)
{
	hopeless(*state, "MPA ID Req Frame\x80\1\0\0", 20, -EPROTONOSUPPORT);
}

static void test_accept_private_data(void **state)
{
	uint8_t request[20 + 256] = "MPA ID Req Frame\x00\1\1\0";

	hopeless(*state, request, sizeof(request), -EMSGSIZE);
}

static in_port_t port_of(int fd)
{
	struct sockaddr_in addr = {0};
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return addr.sin_port;
}

/* The owner hears of one who was shown out, from that port. */
static void shown_out(struct rig *rig, in_port_t port, int error, const char *why)
{
	const struct sockaddr_in *peer = (const struct sockaddr_in *)&rig->event.peer;

	rig_event(rig, FABRIC_CM_SHOWN_OUT);
	assert_null(rig->event.conn);
	assert_ptr_equal(rig->event.listener, rig->listener);
	assert_int_equal(rig->event.error, error);
	assert_string_equal(rig->event.why, why);
	assert_int_equal(peer->sin_family, AF_INET);
	assert_int_equal(peer->sin_port, port);
	assert_int_equal(peer->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

static void test_accept_garbage(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *why;
	} garbage[] = {
		{"GET / HTTP/1.0\r\n\r\n", 18, "its first bytes are no MPA request"},
		{"\x16\x03\x01", 3, "its first bytes are no MPA request"},
		{"MPA ID Req Gramf", 16, "its first bytes are no MPA request"},
		{"MPA ID Req Frame\0\0\0\0", 20,
		 "its MPA request makes no sense: flags 00h, revision 0, 20 bytes long"},
		{"MPA ID Req Frame\x40\2\xff\xff", 20,
		 "its MPA request makes no sense: flags 40h, revision 2, 65555 bytes long"},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		rig->fd = rig_dial(rig);
		rig_say(rig, garbage[i].bytes, garbage[i].len);
		shown_out(rig, port_of(rig->fd), -EPROTO, garbage[i].why);
		rig_hear_end(rig);
		(void)close(rig->fd);
		rig->fd = -1;
	}
	rig_connected(rig);
}

/* Closed, or reset, in the middle of the request. */
static void test_accept_broken_off(void **state)
{
	static const struct {
		size_t len;
		bool reset;
		const char *why;
	} cases[] = {
		{0, false, "closed after 0 of the 20 bytes of an MPA request"},
		{9, false, "closed after 9 of the 20 bytes of an MPA request"},
		{9, true, "closed after 9 of the 20 bytes of an MPA request"},
		{23, false, "closed after 23 of the 24 bytes of an MPA request"},
	};
	static const char request[] = "MPA ID Req Frame\x10\x02\x00\x04\x00\x10\x00\x10";
	const struct linger hard = {.l_onoff = 1};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		in_port_t port;

		rig->fd = rig_dial(rig);
		rig_say(rig, request, cases[i].len);
		/* So that it is taken before the end comes. */
		assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
		assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
		port = port_of(rig->fd);
		if (cases[i].reset) {
			assert_int_equal(
				setsockopt(rig->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
			(void)close(rig->fd);
			rig->fd = -1;
		} else {
			assert_int_equal(shutdown(rig->fd, SHUT_WR), 0);
		}
		/* Where it came from is known, also when the socket knows it no longer. */
		shown_out(rig, port, -ECONNRESET, cases[i].why);
		if (rig->fd >= 0)
			(void)close(rig->fd);
		rig->fd = -1;
	}
	rig_connected(rig);
}

/* A request comes in two pieces, whatever their lengths; what lies behind it is not taken with it. */
static void test_accept_pieces(void **state)
{
	static const char request[] = "MPA ID Req Frame\x10\x02\x00\x04\x00\x10\x00\x10";
	const size_t len = sizeof(request) - 1;
	uint8_t rest[sizeof(request) + KIB(4)] = {0};
	struct rig *rig = *state;

	for (size_t cut = 1; cut < len; cut++) {
		memcpy(rest, request + cut, len - cut);
		rig->fd = rig_dial(rig);
		rig_say(rig, request, cut);
		/* So that it is taken before the rest comes. */
		assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
		assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
		rig_say(rig, rest, len - cut + KIB(4));
		rig_event(rig, FABRIC_CM_CONNECT_REQUEST);
		assert_int_equal(rig->event.error, 0);
		assert_int_equal(rig->event.private_data_len, 0);
		fabric_conn_destroy(rig->event.conn);
		(void)close(rig->fd);
		rig->fd = -1;
	}
	rig_connected(rig);
}

/* One that was shown out, and not told of yet, goes with the listener. */
static void test_accept_untold(void **state)
{
	struct rig *rig = *state;
	int first = rig_dial(rig);

	rig->fd = rig_dial(rig);
	rig_say(rig, "x", 1);
	(void)shutdown(first, SHUT_WR);
	rig_event(rig, FABRIC_CM_SHOWN_OUT);
	fabric_listener_destroy(rig->listener);
	rig->listener = NULL;
	assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
	(void)close(first);
}

/* The 129th half-open connection costs the oldest its place; no other. */
static void test_accept_limit(void **state)
{
	enum {
		MANY = IW_MAX_PENDING_HANDSHAKES + 1
	};
	struct rig *rig = *state;
	int fds[MANY];

	for (int i = 0; i < MANY; i++) {
		fds[i] = rig_dial(rig);
		if (i < MANY - 1)
			assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
	}
	shown_out(rig, port_of(fds[0]), -ENOBUFS,
		  "0 of the 20 bytes of an MPA request had come when its place was needed; 128 may "
		  "wait at a time");
	for (int i = 0; i < MANY; i++) {
		struct pollfd p = {.fd = fds[i], .events = POLLIN};

		assert_int_equal(poll(&p, 1, i == 0 ? 1000 : 0), i == 0);
	}
	/* The last is as good as the first. */
	rig->fd = fds[MANY - 1];
	rig_say(rig, "MPA ID Req Frame\x10\1\0\0", 20);
	rig_event(rig, FABRIC_CM_CONNECT_REQUEST);
	fabric_conn_destroy(rig->event.conn);
	rig->fd = -1;
	for (int i = 0; i < MANY; i++)
		(void)close(fds[i]);
}

/* Who says nothing, or half a frame, is cut off after ten seconds. */
static void test_accept_timeout(void **state)
{
	struct rig *rig = *state;
	uint64_t start = now_ns(), took;
	struct pollfd p[2] = {{.events = POLLIN}, {.events = POLLIN}};
	int found;

	p[0].fd = rig->fd = rig_dial(rig);
	rig_say(rig, "MPA ID Req", 10);
	p[1].fd = fabric_cm_fd(rig->cm);
	do {
		assert_true(poll(p, 2, 20000) > 0);
		found = fabric_cm_poll(rig->cm, &rig->event);
	} while (!found);
	took = now_ns() - start;
	assert_in_range(took / NS_PER_MS, 9900, 13000);
	assert_int_equal(rig->event.type, FABRIC_CM_SHOWN_OUT);
	assert_int_equal(rig->event.error, -ETIMEDOUT);
	assert_string_equal(rig->event.why, "10 of the 20 bytes of an MPA request came in 10 s");
	rig_hear_end(rig);
}

/* ---- connecting ------------------------------------------------------------------------------- */

static int plain_accept(struct rig *rig, int listener)
{
	uint64_t deadline = now_ns() + RIG_WAIT;
	int fd;

	do {
		assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && now_ns() < deadline);
	assert_true(fd >= 0);
	assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
	return fd;
}

static void hear_request(struct rig *rig, const char *bytes, size_t len)
{
	uint8_t heard[64];

	assert_int_equal(fabric_cm_poll(rig->cm, &rig->event), 0);
	rig_hear(rig, heard, len);
	assert_memory_equal(heard, bytes, len);
}

static void test_connect_enhanced(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_storage addr;
	int listener = rig_listen_plain(&addr);

	rig->param.private_data = "cli";
	rig->param.private_data_len = 3;
	rig->param.responder_resources = 9;
	rig->param.initiator_depth = 11;
	rig_start_out(rig, listener, &addr);
	hear_request(rig,
		     "MPA ID Req Frame\x10\2\0\7\0\x09\0\x0b"
		     "cli",
		     27);
	rig_say(rig, "MPA ID Rep Frame\x10\2\0\7\0\4\0\x09srv", 27);
	rig_event(rig, FABRIC_CM_ESTABLISHED);
	assert_int_equal(rig->event.private_data_len, 3);
	assert_memory_equal(rig->event.private_data, "srv", 3);
	/* It holds four of our READs. */
	assert_int_equal(fabric_conn_read_depth(rig->conn), 4);
	assert_int_equal(rig->event.responder_resources, 9);
	(void)close(listener);
}

/* A peer of revision 1 closes what it does not understand, and is asked again. */
static void test_connect_falls_back(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_storage addr;
	int listener = rig_listen_plain(&addr);

	rig->param.private_data = "cli";
	rig->param.private_data_len = 3;
	rig_start_out(rig, listener, &addr);
	hear_request(rig,
		     "MPA ID Req Frame\x10\2\0\7\0\x10\0\x10"
		     "cli",
		     27);
	(void)close(rig->fd);
	rig->fd = plain_accept(rig, listener);
	hear_request(rig, "MPA ID Req Frame\0\1\0\3cli", 23);
	rig_say(rig, "MPA ID Rep Frame\0\1\0\0", 20);
	rig_event(rig, FABRIC_CM_ESTABLISHED);
	assert_int_equal(fabric_conn_read_depth(rig->conn), 16);
	(void)close(listener);
}

static void test_connect_refused_plain(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_storage addr;
	int listener = rig_listen_plain(&addr);

	rig_start_out(rig, listener, &addr);
	hear_request(rig, "MPA ID Req Frame\x10\2\0\4\0\x10\0\x10", 24);
	rig_say(rig, "MPA ID Rep Frame\x20\1\0\0", 20);
	{
		int first = rig->fd;

		rig->fd = plain_accept(rig, listener);
		(void)close(first);
	}
	hear_request(rig, "MPA ID Req Frame\0\1\0\0", 20);
	rig_say(rig, "MPA ID Rep Frame\x20\1\0\3why", 23);
	rig_event(rig, FABRIC_CM_REJECTED);
	assert_int_equal(rig->event.private_data_len, 3);
	assert_memory_equal(rig->event.private_data, "why", 3);
	(void)close(listener);
}

static void connect_fails(struct rig *rig, const char *reply, size_t len, int error)
{
	struct sockaddr_storage addr;
	int listener = rig_listen_plain(&addr);

	rig_start_out(rig, listener, &addr);
	hear_request(rig, "MPA ID Req Frame\x10\2\0\4\0\x10\0\x10", 24);
	rig_say(rig, reply, len);
	rig_event(rig, FABRIC_CM_FAILED);
	assert_int_equal(rig->event.error, error);
	(void)close(listener);
}

static void test_connect_markers(void **state)
{
	connect_fails(*state, "MPA ID Rep Frame\x90\2\0\4\0\4\0\4", 24, -EPROTONOSUPPORT);
}

static void test_connect_garbage(void **state)
{
	connect_fails(*state, "HTTP/1.0 400 Bad Request", 24, -EPROTO);
}

/* ---- presenting itself ------------------------------------------------------------------------ */

static void test_kinds_of_memory(void **state)
{
	const unsigned int pinned = FABRIC_ACCESS_LOCAL_WRITE;
	const unsigned int odp = FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_ON_DEMAND;
	static const struct {
		enum iwarp_memory memory;
		bool odp;
		int file_pinned, file_odp, anon_pinned, anon_odp;
	} kinds[] = {
		{IWARP_MEMORY_ANY, true, 0, 0, 0, 0},
		{IWARP_MEMORY_PINNED, false, 0, -EOPNOTSUPP, 0, -EOPNOTSUPP},
		{IWARP_MEMORY_ODP, true, -EOPNOTSUPP, 0, 0, 0},
		{IWARP_MEMORY_NONE, false, -EOPNOTSUPP, -EOPNOTSUPP, 0, -EOPNOTSUPP},
	};
	FILE *file = tmpfile();
	void *map, *anon;

	(void)state;
	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), 8192), 0);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
	anon = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(map != MAP_FAILED && anon != MAP_FAILED);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct iwarp_options options = {.memory = kinds[i].memory};
		const struct {
			void *addr;
			unsigned int access;
			int result;
		} tries[] = {
			{map, pinned, kinds[i].file_pinned},
			{map, odp, kinds[i].file_odp},
			{anon, pinned, kinds[i].anon_pinned},
			{anon, odp, kinds[i].anon_odp},
		};
		struct fabric *f;
		struct fabric_pd *pd;

		assert_int_equal(iwarp_fabric_open(&options, &f, NULL), 0);
		assert_int_equal(fabric_device_info(fabric_device_at(f, 0))->odp, kinds[i].odp);
		assert_int_equal(fabric_pd_alloc(fabric_device_at(f, 0), &pd), 0);
		for (size_t t = 0; t < ARRAY_SIZE(tries); t++) {
			struct fabric_mr *mr = NULL;

			assert_int_equal(
				fabric_mr_reg(pd, tries[t].addr, 8192, 0, tries[t].access, &mr),
				tries[t].result);
			assert_int_equal(fabric_mr_dereg(mr), 0);
		}
		assert_int_equal(fabric_pd_free(pd), 0);
		fabric_close(f);
	}
	(void)munmap(map, 8192);
	(void)munmap(anon, 8192);
	(void)fclose(file);
}

static void test_no_windows(void **state)
{
	const struct iwarp_options options = {.no_windows = true};
	uint8_t byte;
	struct fabric *f;
	struct fabric_pd *pd;
	struct fabric_mr *mr;
	struct fabric_mw *mw;

	(void)state;
	assert_int_equal(iwarp_fabric_open(&options, &f, NULL), 0);
	assert_false(fabric_device_info(fabric_device_at(f, 0))->windows_type2);
	assert_int_equal(fabric_pd_alloc(fabric_device_at(f, 0), &pd), 0);
	assert_int_equal(fabric_mw_alloc(pd, &mw), -EOPNOTSUPP);
	assert_int_equal(fabric_mr_reg(pd, &byte, 1, 0, FABRIC_ACCESS_MW_BIND, &mr), -EOPNOTSUPP);
	assert_int_equal(fabric_pd_free(pd), 0);
	fabric_close(f);
}

/* A key is not used again soon, and its low byte is another when it is. */
static void test_keys_differ(void **state)
{
	struct rig *rig = *state;
	uint32_t first = 0, last = 0;

	for (int i = 0; i < 3000; i++) {
		struct fabric_mr *mr;

		assert_int_equal(fabric_mr_reg(rig->pd, rig->mem, 1, 0, 0, &mr), 0);
		assert_int_not_equal(mr->rkey, last);
		assert_int_not_equal(mr->rkey, first);
		last = mr->rkey;
		if (i == 0)
			first = last;
		assert_int_equal(fabric_mr_dereg(mr), 0);
	}
}

#define with_rig(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc_vectors),
		cmocka_unit_test(test_crc_ways_agree),
		cmocka_unit_test(test_frame_bytes),
		cmocka_unit_test(test_frame_errors),
		cmocka_unit_test(test_terminate_meaning),
		with_rig(test_accept_plain),
		with_rig(test_accept_enhanced),
		with_rig(test_accept_rtr_write),
		with_rig(test_accept_rtr_read),
		with_rig(test_accept_markers),
		with_rig(test_accept_private_data),
		with_rig(test_accept_garbage),
		with_rig(test_accept_broken_off),
		with_rig(test_accept_pieces),
		with_rig(test_accept_untold),
		with_rig(test_accept_limit),
		with_rig(test_accept_timeout),
		with_rig(test_connect_enhanced),
		with_rig(test_connect_falls_back),
		with_rig(test_connect_refused_plain),
		with_rig(test_connect_markers),
		with_rig(test_connect_garbage),
		cmocka_unit_test(test_kinds_of_memory),
		cmocka_unit_test(test_no_windows),
		with_rig(test_keys_differ),
	};

	return cmocka_run_group_tests_name("iwarp", tests, NULL, NULL);
}
