// SPDX-License-Identifier: BSD-3-Clause
/*
 * The simulated fabric: work requests and packets. A queue pair's requests go out in order, a packet
 * at a time; its packets arrive in order, after a delay that the seed draws; completions come in
 * order. What has been checked may take a moment to land, also behind a fence: only the end of the
 * registration waits for it.
 */
#include "fabric.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RNR_NS	      (50 * NS_PER_US)
#define RNR_TRIES     100000u
#define MESSAGE_BYTES 2048u /* the longest of the target's */

enum packet_kind {
	PACKET_SEND,
	PACKET_WRITE,
	PACKET_READ, /* the request */
	PACKET_DATA, /* of the response */
	PACKET_ACK,
	PACKET_NAK,
};

struct packet {
	struct list link;
	uint64_t due, seq;
	enum packet_kind kind;
	bool last;
	enum fabric_status status;
	uint64_t address; /* WRITE, READ */
	uint32_t key;
	uint32_t inv_key; /* SEND that kills one; 0 */
	uint32_t offset;  /* DATA: in the request */
	uint32_t length;
	unsigned int tries;
	uint8_t data[];
};

/* Checked bytes on the way into memory. */
struct landing {
	struct list link; /* sim_mr.landing */
	struct sim_conn *conn;
	struct sim_mr *mr;
	uint64_t key_offset;
	uint8_t *to;
	struct packet *packet;
	bool over;
};

static void inbox_run(void *arg);
static void tx_kick(struct sim_conn *c);

static struct sim_conn *conn_get(struct sim_conn *c)
{
	c->refs++;
	return c;
}

void conn_put(struct sim_conn *c)
{
	assert(c->refs > 0);
	if (--c->refs > 0)
		return;
	assert(c->destroyed);
	free(c);
}

/* ---- completions ---- */

static void push_wc(const struct sim_conn *c, uint64_t wr_id, enum fabric_op op,
		    enum fabric_status status, uint32_t bytes)
{
	struct fabric_wc wc = {
		.wr_id = wr_id,
		.conn = (struct fabric_conn *)&c->base,
		.status = status,
		.op = op == FABRIC_OP_SEND_INV ? FABRIC_OP_SEND : op,
		.byte_len = bytes,
	};

	cq_push(c->cq, &wc);
}

static struct sim_send *send_find(struct sim_conn *c, uint64_t seq)
{
	struct list *l;

	list_for_each (l, &c->sends) {
		struct sim_send *s = list_entry(l, struct sim_send, link);

		if (s->seq == seq)
			return s;
	}
	return NULL;
}

static void complete(struct sim_conn *c)
{
	while (!list_empty(&c->sends)) {
		struct sim_send *s = list_entry(c->sends.next, struct sim_send, link);

		if (!s->done)
			return;
		list_del(&s->link);
		c->nr_sends--;
		if (s->status != FABRIC_OK || (s->flags & FABRIC_F_SIGNALED))
			push_wc(c, s->wr_id, s->op, s->status, 0);
		free(s);
	}
}

static void finish(struct sim_conn *c, uint64_t seq)
{
	struct sim_send *s = send_find(c, seq);

	if (!s)
		return;
	s->done = true;
	complete(c);
}

/* ---- the end of a queue pair ---- */

static void inbox_drop(struct sim_conn *c)
{
	struct list *l;

	while ((l = list_pop(&c->inbox)))
		free(list_entry(l, struct packet, link));
}

static void flush(void *arg)
{
	struct sim_conn *c = arg;
	struct list *l;

	while ((l = list_pop(&c->sends))) {
		struct sim_send *s = list_entry(l, struct sim_send, link);

		if (!c->destroyed)
			push_wc(c, s->wr_id, s->op,
				s->status == FABRIC_OK ? FABRIC_FLUSHED : s->status, 0);
		free(s);
	}
	while ((l = list_pop(&c->recvs))) {
		struct sim_recv *r = list_entry(l, struct sim_recv, link);

		if (!c->destroyed)
			push_wc(c, r->wr_id, FABRIC_OP_RECV, FABRIC_FLUSHED, 0);
		free(r);
	}
	c->nr_sends = c->nr_recvs = 0;
	conn_put(c);
}

void conn_break(struct sim_conn *c)
{
	if (c->error)
		return;
	c->error = true;
	sim_log("connection %llu, %s's end: in error", (unsigned long long)c->id,
		c->server ? "the target" : "the host");
	inbox_drop(c);
	sim_after(sim_delay(100 * NS_PER_US), flush, conn_get(c));
}

static void fail_send(struct sim_conn *c, uint64_t seq, enum fabric_status status)
{
	struct sim_send *s = send_find(c, seq);

	if (!s || c->error)
		return;
	s->status = status;
	sim_log("connection %llu: %s", (unsigned long long)c->id, fabric_status_text(status));
	(void)sim_disconnect(&c->base);
}

bool wire_names(uint32_t lkey)
{
	struct list *l, *m;

	list_for_each (l, &sf.conns) {
		const struct sim_conn *c = list_entry(l, struct sim_conn, link);

		if (c->error)
			continue;
		list_for_each (m, &c->sends) {
			const struct sim_send *s = list_entry(m, struct sim_send, link);

			for (unsigned int i = 0; i < s->num_sge; i++)
				if (s->sge[i].lkey == lkey && !s->done)
					return true;
		}
	}
	return false;
}

/* ---- landing ---- */

static void land(struct landing *l)
{
	struct sim_conn *c = l->conn;
	struct packet *p = l->packet;

	if (l->over)
		return;
	l->over = true;
	list_del(&l->link);
	c->landing = NULL;
	if (l->mr->file)
		/* -EFAULT: it was truncated meanwhile; the queue learns that soon enough. */
		(void)file_dma(l->to, l->mr->blocks, l->key_offset, p->data, p->length, true,
			       c->server ? "a Read of ours" : "a Write");
	else
		memcpy(l->to, p->data, p->length);
}

static void packet_done(struct sim_conn *c, const struct packet *p);

static void on_land(void *arg)
{
	struct landing *l = arg;
	struct sim_conn *c = l->conn;

	land(l);
	if (!c->error)
		packet_done(c, l->packet);
	free(l->packet);
	free(l);
	if (!c->error)
		inbox_run(conn_get(c));
	conn_put(c);
}

void wire_land_all(struct sim_mr *mr)
{
	while (!list_empty(&mr->landing))
		land(list_entry(mr->landing.next, struct landing, link));
}

void wire_land_later(struct sim_mr *mr, struct sim_mr *slab)
{
	struct list *l;

	while ((l = list_pop(&mr->landing))) {
		struct landing *landing = list_entry(l, struct landing, link);

		landing->mr = slab;
		landing->key_offset = (uint64_t)(landing->to - (uint8_t *)slab->base.addr);
		list_push(&slab->landing, l);
	}
}

/* ---- packets arrive ---- */

static void put(struct sim_conn *to, struct packet *p, uint64_t more_ns)
{
	uint64_t due = sim_now + 200 + sim_delay(w.wire_ns) + more_ns;

	if (!to || to->error || to->destroyed) {
		free(p);
		return;
	}
	p->due = max_u64(due, to->last_due);
	to->last_due = p->due;
	list_push(&to->inbox, &p->link);
	sim_after(p->due - sim_now, inbox_run, conn_get(to));
}

static struct packet *packet_new(enum packet_kind kind, uint64_t seq, uint32_t length)
{
	struct packet *p = malloc(sizeof(*p) + length);

	assert(p);
	*p = (struct packet){
		.kind = kind, .seq = seq, .length = length}; /* what it carries follows */
	return p;
}

static void answer(struct sim_conn *c, const struct packet *p, enum fabric_status status)
{
	struct packet *a = packet_new(status ? PACKET_NAK : PACKET_ACK, p->seq, 0);

	a->status = status;
	if (status)
		sim_log("connection %llu: a packet is refused: %s", (unsigned long long)c->id,
			fabric_status_text(status));
	put(c->peer, a, 0);
	if (status)
		(void)sim_disconnect(&c->base);
}

/* Bytes between a list of local buffers and a packet. Returns false: an lkey was refused. */
static bool gather(const struct sim_conn *c, const struct sim_send *s, uint32_t at, uint8_t *data,
		   uint32_t length)
{
	for (unsigned int i = 0; i < s->num_sge && length > 0; i++) {
		uint32_t n = s->sge[i].length;
		struct sim_mr *mr;
		uint8_t *from;

		if (at >= n) {
			at -= n;
			continue;
		}
		n = (uint32_t)min_u64(n - at, length);
		from = key_address(s->sge[i].lkey, c, s->sge[i].addr + at, n, 0, &mr);
		if (!from)
			return false;
		if (!mr->file)
			memcpy(data, from, n);
		else if (file_dma(from, mr->blocks, (uint64_t)(from - (uint8_t *)mr->base.addr),
				  data, n, false, "a Write of ours") < 0)
			return false;
		data += n;
		length -= n;
		at = 0;
	}
	return length == 0;
}

/* Where a packet goes; it ends inside one buffer of the list, since buffers are whole sectors. */
static uint8_t *scatter_to(const struct sim_conn *c, const struct fabric_sge *sge,
			   unsigned int num_sge, uint32_t at, uint32_t length, struct sim_mr **mr)
{
	for (unsigned int i = 0; i < num_sge; i++) {
		if (at >= sge[i].length) {
			at -= sge[i].length;
			continue;
		}
		if (length > sge[i].length - at)
			return NULL;
		return key_address(sge[i].lkey, c, sge[i].addr + at, length,
				   FABRIC_ACCESS_LOCAL_WRITE, mr);
	}
	return NULL;
}

/* The most that a packet can carry from `at` on without crossing a buffer. */
static uint32_t room_at(const struct sim_send *s, uint32_t at)
{
	for (unsigned int i = 0; i < s->num_sge; i++) {
		if (at < s->sge[i].length)
			return (uint32_t)min_u64(s->sge[i].length - at, w.mtu);
		at -= s->sge[i].length;
	}
	return 0;
}

static void begin_landing(struct sim_conn *c, struct sim_mr *mr, uint8_t *to, struct packet *p)
{
	struct landing *l = calloc(1, sizeof(*l));
	uint64_t ns = sim_chance(300) ? sim_delay(5 * NS_PER_US) : 0;

	assert(l);
	*l = (struct landing){
		.conn = conn_get(c),
		.mr = mr,
		.key_offset = (uint64_t)(to - (uint8_t *)mr->base.addr),
		.to = to,
		.packet = p,
	};
	list_push(&mr->landing, &l->link);
	c->landing = l;
	if (ns > 0) {
		sim_after(ns, on_land, l);
		return;
	}
	land(l);
	packet_done(c, p);
	free(p);
	free(l);
	conn_put(c);
}

/* Its bytes are in memory, if it had any. */
static void packet_done(struct sim_conn *c, const struct packet *p)
{
	struct sim_send *s;

	if (p->kind == PACKET_WRITE) {
		if (p->last && !w.early_done)
			answer(c, p, FABRIC_OK);
		return;
	}
	s = send_find(c, p->seq);
	if (!s)
		return;
	s->got += p->length;
	if (s->got == s->length)
		finish(c, p->seq);
}

static bool take_send(struct sim_conn *c, struct packet *p)
{
	struct fabric_wc wc = {.conn = &c->base, .op = FABRIC_OP_RECV};
	struct sim_recv *r;
	struct sim_mr *mr;
	uint8_t *to;

	if (list_empty(&c->recvs)) {
		if (++p->tries > RNR_TRIES) {
			answer(c, p, FABRIC_RNR_EXCEEDED);
			return true;
		}
		sim_after(RNR_NS, inbox_run, conn_get(c));
		return false;
	}
	r = list_entry(list_pop(&c->recvs), struct sim_recv, link);
	c->nr_recvs--;
	to = p->length ? scatter_to(c, r->sge, r->num_sge, 0, p->length, &mr) : NULL;
	wc.wr_id = r->wr_id;
	wc.byte_len = p->length;
	free(r);
	if (p->length && !to) {
		wc.status = FABRIC_LENGTH;
		cq_push(c->cq, &wc);
		answer(c, p, FABRIC_REMOTE_OPERATION);
		return true;
	}
	if (p->length)
		memcpy(to, p->data, p->length);
	if (p->inv_key) {
		wc.flags = FABRIC_WC_WITH_INV;
		wc.inv_rkey = p->inv_key;
	}
	cq_push(c->cq, &wc);
	if (!w.early_done)
		answer(c, p, FABRIC_OK);
	return true;
}

/* The responder of a READ: a packet of the response at a time. */
struct reading {
	struct sim_conn *conn;
	uint64_t seq, address;
	uint32_t key, offset, length;
};

static void read_on(void *arg)
{
	struct reading *r = arg;
	struct sim_conn *c = r->conn;
	const struct sim_send *s = c->peer ? send_find(c->peer, r->seq) : NULL;
	uint32_t n;
	struct packet *p;
	struct sim_mr *mr;
	uint8_t *from;

	if (c->error || c->destroyed || !s)
		goto over;
	/* A packet never crosses a buffer of its reader's: simpler, and no order is lost. */
	n = room_at(s, r->offset);
	p = packet_new(PACKET_DATA, r->seq, n);
	p->offset = r->offset;
	from = key_address(r->key, c, r->address + r->offset, n, FABRIC_ACCESS_REMOTE_READ, &mr);
	if (!from ||
	    (mr->file && file_dma(from, mr->blocks, (uint64_t)(from - (uint8_t *)mr->base.addr),
				  p->data, n, false, "a Read") < 0)) {
		answer(c, p, FABRIC_REMOTE_ACCESS);
		free(p);
		goto over;
	}
	if (!mr->file)
		memcpy(p->data, from, n);
	put(c->peer, p, 0);
	r->offset += n;
	if (r->offset < r->length) {
		sim_after(sim_delay(w.wire_ns / 4 + 1), read_on, r);
		return;
	}
over:
	free(r);
	conn_put(c);
}

static void take_read(struct sim_conn *c, const struct packet *p)
{
	struct reading *r = calloc(1, sizeof(*r));
	struct sim_mr *mr;

	assert(r);
	if (!key_address(p->key, c, p->address, p->offset, FABRIC_ACCESS_REMOTE_READ, &mr)) {
		free(r);
		answer(c, p, FABRIC_REMOTE_ACCESS);
		return;
	}
	*r = (struct reading){
		.conn = conn_get(c),
		.seq = p->seq,
		.address = p->address,
		.key = p->key,
		.length = p->offset,
	};
	sim_after(c->slow_ns ? sim_delay(c->slow_ns) : sim_below(200), read_on, r);
}

/* Returns true if the packet is now somebody else's. */
static bool take(struct sim_conn *c, struct packet *p)
{
	const struct sim_send *s;
	struct sim_mr *mr = NULL;
	uint8_t *to;

	switch (p->kind) {
	case PACKET_WRITE:
		to = key_address(p->key, c, p->address, p->length, FABRIC_ACCESS_REMOTE_WRITE, &mr);
		if (!to) {
			answer(c, p, FABRIC_REMOTE_ACCESS);
			return false;
		}
		begin_landing(c, mr, to, p);
		return true;
	case PACKET_READ:
		take_read(c, p);
		return false;
	case PACKET_DATA:
		s = send_find(c, p->seq);
		to = s ? scatter_to(c, s->sge, s->num_sge, p->offset, p->length, &mr) : NULL;
		if (!to) {
			fail_send(c, p->seq, FABRIC_LOCAL_PROTECTION);
			return false;
		}
		begin_landing(c, mr, to, p);
		return true;
	case PACKET_ACK:
		finish(c, p->seq);
		return false;
	case PACKET_NAK:
		fail_send(c, p->seq, p->status);
		return false;
	case PACKET_SEND:
		break;
	}
	return false;
}

static void inbox_run(void *arg)
{
	struct sim_conn *c = arg;

	while (!list_empty(&c->inbox) && !c->landing && !c->frozen && !c->error) {
		struct packet *p = list_entry(c->inbox.next, struct packet, link);

		if (p->due > sim_now)
			break;
		/* Before the other side has a queue pair, or says so. */
		if (c->state != CONN_OPEN) {
			sim_after(RNR_NS, inbox_run, conn_get(c));
			break;
		}
		if (p->kind == PACKET_SEND && !take_send(c, p))
			break;
		if (c->error) /* and the packet is gone with it */
			break;
		list_del(&p->link);
		if (p->kind == PACKET_SEND || !take(c, p))
			free(p);
	}
	conn_put(c);
}

void sim_conn_freeze(struct fabric_conn *conn, bool frozen)
{
	struct sim_conn *c = OF(conn, conn);

	c->frozen = frozen;
	if (!frozen)
		inbox_run(conn_get(c));
}

void sim_conn_slow(struct fabric_conn *conn, uint64_t read_ns)
{
	OF(conn, conn)->slow_ns = read_ns;
}

void sim_conn_on_post(struct fabric_conn *conn,
		      void (*fn)(void *user, const void *bytes, uint32_t length), void *user)
{
	OF(conn, conn)->on_post = fn;
	OF(conn, conn)->on_post_user = user;
}

/* ---- packets leave ---- */

static bool tx_one(struct sim_conn *c, struct sim_send *s)
{
	uint32_t n = 0;
	struct packet *p;

	if (s->op == FABRIC_OP_BIND_MW) {
		if (fabric_fault(5) || !window_bind(c, &s->bind, s->rkey)) {
			fail_send(c, s->seq, FABRIC_MW_BIND_ERROR);
			return false;
		}
		finish(c, s->seq);
		return true;
	}
	if (s->op == FABRIC_OP_READ) {
		p = packet_new(PACKET_READ, s->seq, 0);
		p->offset = s->length;
		p->address = s->remote_addr;
		p->key = s->rkey;
		put(c->peer, p, 0);
		return true;
	}
	if (s->op == FABRIC_OP_WRITE)
		n = room_at(s, s->sent);
	else
		n = s->length;
	p = packet_new(s->op == FABRIC_OP_WRITE ? PACKET_WRITE : PACKET_SEND, s->seq, n);
	if (!gather(c, s, s->sent, p->data, n)) {
		free(p);
		fail_send(c, s->seq, FABRIC_LOCAL_PROTECTION);
		return false;
	}
	p->address = s->remote_addr + s->sent;
	p->key = s->rkey;
	p->inv_key = s->op == FABRIC_OP_SEND_INV ? s->rkey : 0;
	s->sent += n;
	p->last = s->sent == s->length;
	put(c->peer, p, 0);
	return s->sent == s->length;
}

static void tx_run(void *arg)
{
	struct sim_conn *c = arg;
	struct sim_send *s;
	uint64_t seq = 0;
	bool early = false;

	c->tx_scheduled = false;
	s = c->error || c->destroyed ? NULL : send_find(c, c->tx_seq);
	if (s) {
		/* A bind may be over, and gone, at once. */
		seq = s->seq;
		early = w.early_done && s->op != FABRIC_OP_READ && s->op != FABRIC_OP_BIND_MW;
	}
	if (s && !c->frozen && tx_one(c, s)) {
		c->tx_seq++;
		if (early)
			finish(c, seq);
	}
	if (s && !c->error)
		tx_kick(c);
	conn_put(c);
}

static void tx_kick(struct sim_conn *c)
{
	if (c->tx_scheduled || c->tx_seq == c->next_seq)
		return;
	c->tx_scheduled = true;
	sim_after(c->frozen ? NS_PER_MS : sim_delay(NS_PER_US), tx_run, conn_get(c));
}

static void tell_posted(const struct sim_conn *c, const struct sim_send *s)
{
	const struct sim_conn *to = c->peer;
	uint8_t bytes[MESSAGE_BYTES];

	if (!to || to->destroyed || !to->on_post || s->length > sizeof(bytes) ||
	    (s->op != FABRIC_OP_SEND && s->op != FABRIC_OP_SEND_INV))
		return;
	if (gather(c, s, 0, bytes, s->length))
		to->on_post(to->on_post_user, bytes, s->length);
}

int sim_post_send(struct fabric_conn *base, struct fabric_send_wr *wr, struct fabric_send_wr **bad)
{
	struct sim_conn *c = OF(conn, base);

	for (; wr; wr = wr->next) {
		struct sim_send *s;

		if (bad)
			*bad = wr;
		if (!c->has_qp || c->error || c->destroyed)
			return -ENOTCONN;
		if (wr->op > FABRIC_OP_READ && wr->op != FABRIC_OP_BIND_MW)
			return -EOPNOTSUPP;
		if (c->server && fabric_fault(1)) {
			tx_kick(c);
			return -ENOMEM;
		}
		if (c->nr_sends >= c->attr.max_send_wr)
			sim_fail(P_ROOM, "more sends are posted than the queue pair has room for");
		assert(wr->num_sge <= c->attr.max_send_sge);
		s = calloc(1, sizeof(*s));
		assert(s);
		*s = (struct sim_send){
			.seq = c->next_seq++,
			.wr_id = wr->wr_id,
			.op = wr->op,
			.flags = wr->flags,
			.num_sge = wr->num_sge,
			.remote_addr = wr->remote_addr,
			.rkey = wr->rkey,
		};
		if (wr->op == FABRIC_OP_BIND_MW) {
			s->rkey = wr->rkey = window_next_key(wr->bind.mw);
			s->bind = *wr;
		}
		if (wr->num_sge > 0)
			memcpy(s->sge, wr->sg_list, wr->num_sge * sizeof(*s->sge));
		for (unsigned int i = 0; i < wr->num_sge; i++)
			s->length += wr->sg_list[i].length;
		list_push(&c->sends, &s->link);
		c->nr_sends++;
		tell_posted(c, s);
		if (c->server && fabric_fault(1))
			conn_break(c);
	}
	tx_kick(c);
	return 0;
}

int sim_post_recv(struct fabric_conn *base, struct fabric_recv_wr *wr, struct fabric_recv_wr **bad)
{
	struct sim_conn *c = OF(conn, base);

	for (; wr; wr = wr->next) {
		struct sim_recv *r;

		if (bad)
			*bad = wr;
		if (!c->has_qp || c->error || c->destroyed)
			return -ENOTCONN;
		if (c->nr_recvs >= c->attr.max_recv_wr)
			sim_fail(P_ROOM,
				 "more receives are posted than the queue pair has room for");
		r = calloc(1, sizeof(*r));
		assert(r && wr->num_sge <= FABRIC_MAX_SGE);
		r->wr_id = wr->wr_id;
		r->num_sge = wr->num_sge;
		memcpy(r->sge, wr->sg_list, wr->num_sge * sizeof(*r->sge));
		list_push(&c->recvs, &r->link);
		c->nr_recvs++;
	}
	return 0;
}
