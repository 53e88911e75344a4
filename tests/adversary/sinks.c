// SPDX-License-Identifier: BSD-3-Clause
/*
 * The sink keys of Read Requests. A block write over iWARP makes the target send one, and with it a
 * key of its own, good for one Read Response. A host that is nothing but a TCP connection and a grudge
 * uses it for everything else. Over IB and RoCE a READ names no key of ours: there is nothing to try.
 */
#include "adversary.h"

#include "raw/units.h"

#include <err.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE	   4096u
#define UNIT_MAX   (PAGE + 1024)
#define GOOD	   0xa1 /* what we may write, and do */
#define EVIL	   0xee /* what must never be in the file */
#define HEAR_MS	   20000
#define OWN_KEY	   0x51515151u
#define OWN_AT	   0x100000u
#define OP_REQUEST 1u
#define OP_SEND	   3u /* and the other kinds of Send behind it */

/** A queue of the controller, on a plain socket. */
struct tcp {
	int fd;
	uint32_t msn;
	uint8_t unit[UNIT_MAX];		/* the last one heard */
	size_t bytes;			/* of it, without padding and sum */
	struct iw_read_request request; /* the last Read Request */
};

/* ---- the socket ------------------------------------------------------------------------------- */

static bool hear(struct tcp *t, void *bytes, size_t len)
{
	uint8_t *p = bytes;

	while (len > 0) {
		struct pollfd pfd = {.fd = t->fd, .events = POLLIN};
		ssize_t n;

		if (poll(&pfd, 1, HEAR_MS) != 1)
			return false;
		n = recv(t->fd, p, len, 0);
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void tell(struct tcp *t, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		ssize_t n = send(t->fd, p, len, MSG_NOSIGNAL);

		/* It may have hung up: then what we say goes nowhere. */
		if (n <= 0)
			return;
		p += n;
		len -= (size_t)n;
	}
}

static void tell_unit(struct tcp *t, const void *header, size_t header_len, const void *payload,
		      size_t len)
{
	uint8_t unit[UNIT_MAX];

	tell(t, unit, unit_build(false, header, header_len, payload, len, unit));
}

static bool hear_unit(struct tcp *t)
{
	uint16_t ulpdu;

	if (!hear(t, t->unit, sizeof(ulpdu)))
		return false;
	memcpy(&ulpdu, t->unit, sizeof(ulpdu));
	t->bytes = (size_t)be16toh(ulpdu) + sizeof(ulpdu);
	return align_up(t->bytes, 4) + 4 <= sizeof(t->unit) &&
	       hear(t, t->unit + sizeof(ulpdu), align_up(t->bytes, 4) + 4 - sizeof(ulpdu));
}

static unsigned int heard_opcode(const struct tcp *t)
{
	return t->unit[3] & 15;
}

static bool hear_request(struct tcp *t)
{
	if (!hear_unit(t) || heard_opcode(t) != OP_REQUEST)
		return false;
	memcpy(&t->request, t->unit, sizeof(t->request));
	return be32toh(t->request.source_stag) == OWN_KEY;
}

/* The target has hung up, or does now; what it said before is dropped. */
static bool is_over(struct tcp *t)
{
	uint8_t bytes[1024];

	for (;;) {
		struct pollfd pfd = {.fd = t->fd, .events = POLLIN};

		if (poll(&pfd, 1, HEAR_MS) != 1)
			return false;
		if (recv(t->fd, bytes, sizeof(bytes), 0) <= 0)
			return true;
	}
}

/* ---- a queue ---------------------------------------------------------------------------------- */

static void capsule(struct tcp *t, const void *sqe)
{
	const struct iw_untagged h = unit_send_header(OP_SEND, ++t->msn, 0);

	tell_unit(t, &h, sizeof(h), sqe, sizeof(struct nvme_command));
}

/* A response of `len` bytes of `byte` to the request at hand. */
static void respond(struct tcp *t, const struct iw_read_request *to, int64_t offset, uint8_t byte,
		    uint32_t len)
{
	const struct iw_tagged h = unit_response_header(
		be32toh(to->sink_stag), be64toh(to->sink_to) + (uint64_t)offset, true);
	uint8_t payload[PAGE + 64];

	memset(payload, byte, len);
	tell_unit(t, &h, sizeof(h), payload, len);
}

static bool completed(struct tcp *t)
{
	struct nvme_completion cqe;

	if (!hear_unit(t) || heard_opcode(t) < OP_SEND || t->bytes < 20 + sizeof(cqe))
		return false;
	memcpy(&cqe, t->unit + 20, sizeof(cqe));
	return raw_status_of(&cqe) == 0;
}

static void shake_hands(struct tcp *t, const struct adversary *a, uint16_t qid)
{
	/* RFC 5044 §7.1.1, RFC 6581 §9.1: key, flags, revision, length; IRD 16, ORD 16. */
	static const uint8_t head[] = "MPA ID Req Frame\x10\x02\x00\x24\x00\x10\x00\x10";
	const struct nvmf_rdma_cm_request private_data = queue_request(qid, a->admin.cntlid);
	uint8_t reply[24 + 32];

	static_assert(sizeof(private_data) == 32, "0x24 is that and the depths");
	tell(t, head, sizeof(head) - 1);
	tell(t, &private_data, sizeof(private_data));
	if (!hear(t, reply, sizeof(reply)) || memcmp(reply, "MPA ID Rep Frame", 16) != 0 ||
	    (reply[16] & 0x20))
		errx(1, "no connection");
}

static struct tcp *tcp_open(const struct adversary *a, uint16_t qid)
{
	struct nvmf_connect_command command = {0};
	struct nvmf_connect_data data;
	struct tcp *t = calloc(1, sizeof(*t));
	struct iw_tagged h;

	if (!t)
		err(1, "memory");
	t->fd = socket(raw.dst.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->fd < 0 || connect(t->fd, (const struct sockaddr *)&raw.dst,
				 raw.dst.ss_family == AF_INET ? sizeof(struct sockaddr_in)
							      : sizeof(struct sockaddr_in6)) < 0)
		err(1, "no TCP connection");
	shake_hands(t, a, qid);
	connect_build(&command, &data, qid, a->admin.host, a->admin.cntlid);
	nvme_keyed_sgl_set(&command.sgl, OWN_AT, sizeof(data), OWN_KEY, NVME_SGL_ADDRESS);
	capsule(t, &command);
	if (!hear_request(t))
		errx(1, "no Read Request for the Connect data");
	h = unit_response_header(be32toh(t->request.sink_stag), be64toh(t->request.sink_to), true);
	tell_unit(t, &h, sizeof(h), &data, sizeof(data));
	if (!completed(t))
		errx(1, "Connect failed");
	return t;
}

static void tcp_close(struct tcp *t)
{
	(void)close(t->fd);
	free(t);
}

/* Asks for a page of the prey to be written; the target asks for the bytes. */
static void ask_write(struct tcp *t, const struct adversary *a, unsigned int page)
{
	const uint64_t lba = a->prey / PAGE + page;
	struct nvme_command cmd = {
		.opcode = NVME_IO_WRITE,
		.flags = NVME_FLAGS_SGL,
		.cid = htole16(77),
		.nsid = htole32(raw.nsid),
		.cdw10 = htole32((uint32_t)lba),
		.cdw11 = htole32((uint32_t)(lba >> 32)),
	};

	nvme_keyed_sgl_set(&cmd.sgl, OWN_AT, PAGE, OWN_KEY, NVME_SGL_ADDRESS);
	capsule(t, &cmd);
	if (!hear_request(t) || be32toh(t->request.length) != PAGE)
		errx(1, "no Read Request for a page to be written");
}

static void good_write(struct tcp *t, const struct adversary *a, unsigned int page)
{
	ask_write(t, a, page);
	respond(t, &t->request, 0, GOOD, PAGE);
	must_work("a write that is well-behaved", completed(t));
}

/* ---- what is done with the key ----------------------------------------------------------------- */

static void evil_write(struct tcp *t, const struct iw_read_request *to)
{
	const struct iw_tagged h = unit_write_header(be32toh(to->sink_stag), be64toh(to->sink_to));
	uint8_t payload[PAGE];

	memset(payload, EVIL, sizeof(payload));
	tell_unit(t, &h, sizeof(h), payload, sizeof(payload));
}

static void write_before(struct tcp *t)
{
	evil_write(t, &t->request);
}

static void too_long(struct tcp *t)
{
	respond(t, &t->request, 0, EVIL, PAGE + 4);
}

static void elsewhere(struct tcp *t)
{
	respond(t, &t->request, PAGE, EVIL, PAGE);
}

static void other_key(struct tcp *t)
{
	t->request.sink_stag ^= htobe32(1);
	respond(t, &t->request, 0, EVIL, PAGE);
}

static void other_index(struct tcp *t)
{
	t->request.sink_stag = htobe32(be32toh(t->request.sink_stag) + 256);
	respond(t, &t->request, 0, EVIL, PAGE);
}

static void read_sink(struct tcp *t)
{
	const struct iw_read_request h =
		unit_read_header(1, be32toh(t->request.sink_stag), be64toh(t->request.sink_to), 64);

	tell_unit(t, &h, sizeof(h), NULL, 0);
}

static void own_key(struct tcp *t)
{
	t->request.sink_stag = htobe32(OWN_KEY);
	respond(t, &t->request, 0, EVIL, PAGE);
}

static void second_response(struct tcp *t)
{
	respond(t, &t->request, 0, EVIL, PAGE);
}

static void invalidate(struct tcp *t)
{
	struct iw_untagged h = unit_send_header(4, ++t->msn, 0);
	const struct nvme_command sqe = {0};

	h.inv_stag = t->request.sink_stag;
	tell_unit(t, &h, sizeof(h), &sqe, sizeof(sqe));
}

struct misuse {
	const char *what;
	void (*fn)(struct tcp *t);
	bool consumed; /* after the one good response; otherwise instead of it */
};

static const struct misuse misuses[] = {
	{"a Write to the sink of a Read Request", write_before, false},
	{"a Read Response that is too long", too_long, false},
	{"a Read Response elsewhere", elsewhere, false},
	{"a Read Response to another key", other_key, false},
	{"a Read Response to another index", other_index, false},
	{"a Read Response to our own key", own_key, false},
	{"a Read of the sink", read_sink, false},
	{"a Send that invalidates the sink", invalidate, false},
	{"a Write to a sink that was used", write_before, true},
	{"a second Read Response", second_response, true},
	{"a Read of a sink that was used", read_sink, true},
};

/* No byte of it in the page: read by a connection that is sound. */
static void must_not_show(const struct adversary *a, unsigned int page, const char *what)
{
	struct link io = {.host = a->admin.host, .cntlid = a->admin.cntlid};
	const uint8_t *data;
	bool evil = false;

	queue_open(&io, 2);
	if (block_io(&io, NVME_IO_READ, a->prey + (uint64_t)page * PAGE) != 0)
		errx(1, "the page cannot be read");
	data = link_data(&io);
	for (unsigned int i = 0; i < PAGE; i++)
		evil |= data[i] == EVIL;
	must_fail(what, evil);
	link_close(&io);
}

static void misuse_sink(struct adversary *a, const struct misuse *m, unsigned int page)
{
	struct tcp *t = tcp_open(a, 1);

	if (m->consumed)
		good_write(t, a, page);
	else
		ask_write(t, a, page);
	m->fn(t);
	must_work("the connection is ended for it", is_over(t));
	tcp_close(t);
	must_not_show(a, page, m->what);
}

/* A key that was sent on one connection, used on others. */
static void other_connections(struct adversary *a, unsigned int page)
{
	struct tcp *t = tcp_open(a, 1), *other = tcp_open(a, 3);

	ask_write(t, a, page);
	evil_write(other, &t->request);
	must_work("a Write on another block queue ends that", is_over(other));
	tcp_close(other);
	must_fail("a Write to it on a direct queue",
		  round_trip(&a->admin, fresh_queue(a), be64toh(t->request.sink_to),
			     be32toh(t->request.sink_stag), 64) == FABRIC_OK);
	respond(t, &t->request, 0, GOOD, PAGE);
	must_work("the one good response after that", completed(t));
	must_not_show(a, page, "a Write on other connections");
	tcp_close(t);
}

void attack_sinks(struct adversary *a)
{
	struct iw_read_request late;
	struct tcp *t;

	for (unsigned int i = 0; i < ARRAY_SIZE(misuses); i++)
		misuse_sink(a, &misuses[i], i);
	other_connections(a, ARRAY_SIZE(misuses));
	/* Asked for a page, it never answers; long after the landlord has gone on it does. */
	t = tcp_open(a, 1);
	ask_write(t, a, ARRAY_SIZE(misuses) + 1);
	late = t->request;
	raw_say("ready", now_ns(), "");
	must_work("who does not answer a Read Request is cut off", is_over(t));
	evil_write(t, &late);
	respond(t, &late, 0, EVIL, PAGE);
	must_not_show(a, ARRAY_SIZE(misuses) + 1, "a Read Response after the recall");
	tcp_close(t);
}
