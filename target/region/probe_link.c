// SPDX-License-Identifier: BSD-3-Clause
/*
 * The self-test's queue pairs, buffers and completions. Both ends share one completion queue, which
 * is polled here only: on the software fabric that is what moves the bytes.
 */
#include "region/probe_run.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_CQ_ENTRIES 64
#define PROBE_WRS	 8
#define PROBE_NAP_MS	 20 /* between looks at a queue whose wake-up may have been lost */

int probe_fail(struct probe_run *run, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(run->why, run->why_size, fmt, args);
	va_end(args);
	return -EILSEQ;
}

/* ---- objects --------------------------------------------------------------------------------- */

static int buffer_new(struct fabric_pd *pd, struct probe_buffer *buffer)
{
	int err;

	buffer->bytes = aligned_alloc(KIB(4), PROBE_BUFFER_BYTES);
	if (!buffer->bytes)
		return -ENOMEM;
	memset(buffer->bytes, 0, PROBE_BUFFER_BYTES);
	err = fabric_mr_reg(
		pd, buffer->bytes, PROBE_BUFFER_BYTES, (uint64_t)(uintptr_t)buffer->bytes,
		FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE,
		&buffer->mr);
	if (err) {
		free(buffer->bytes);
		buffer->bytes = NULL;
	}
	return err;
}

int probe_link_open(struct probe_run *run)
{
	int err = fabric_cq_create(run->dev, PROBE_CQ_ENTRIES, &run->cq);

	if (err) {
		run->cq = NULL;
		return err;
	}
	for (int i = 0; i < PROBE_PDS && err == 0; i++) {
		err = fabric_pd_alloc(run->dev, &run->pds[i]);
		if (err)
			run->pds[i] = NULL;
		else
			err = buffer_new(run->pds[i], &run->buffers[i]);
	}
	return err;
}

int probe_link_close(struct probe_run *run)
{
	int err = 0;

	probe_pair_free(&run->pair);
	for (int i = 0; i < PROBE_PDS; i++) {
		struct probe_buffer *buffer = &run->buffers[i];

		if (buffer->bytes && fabric_mr_dereg(buffer->mr) != 0) {
			/* Its memory may still be written to: it stays. */
			err = -EBUSY;
			continue;
		}
		free(buffer->bytes);
		if (run->pds[i] && fabric_pd_free(run->pds[i]) != 0)
			err = -EBUSY;
	}
	if (run->cq)
		fabric_cq_destroy(run->cq);
	return err;
}

int probe_pair_new(struct probe_run *run, enum probe_domain domain, struct probe_pair *pair)
{
	struct fabric_qp_attr a = {
		.pd = run->pds[PROBE_PD_PEER],
		.cq = run->cq,
		.max_send_wr = PROBE_WRS,
		.max_recv_wr = PROBE_WRS,
		.max_send_sge = 1,
		.max_recv_sge = 1,
	};
	struct fabric_qp_attr b = a;
	int err;

	b.pd = run->pds[domain];
	err = fabric_loopback_pair(run->dev, &a, &b, &pair->peer, &pair->file);
	if (err)
		*pair = (struct probe_pair){NULL, NULL};
	return err;
}

void probe_pair_free(struct probe_pair *pair)
{
	if (pair->peer)
		fabric_conn_destroy(pair->peer);
	if (pair->file)
		fabric_conn_destroy(pair->file);
	*pair = (struct probe_pair){NULL, NULL};
}

int probe_connect(struct probe_run *run, enum probe_domain domain)
{
	probe_pair_free(&run->pair);
	run->has_received = false;
	run->pair_domain = domain;
	return probe_pair_new(run, domain, &run->pair);
}

/* ---- completions ----------------------------------------------------------------------------- */

/*
 * The next completion of `conn` that is (or is not) a receive. A receive that comes before the send
 * that it answers to is kept; what else is left of broken pairs is dropped.
 */
static int wait_for(struct probe_run *run, const struct fabric_conn *conn, bool receive,
		    struct fabric_wc *wc)
{
	uint64_t end = now_ns() + PROBE_COMPLETION_MS * NS_PER_MS;

	for (;;) {
		struct pollfd pfd = {.fd = fabric_cq_fd(run->cq), .events = POLLIN};
		int n = fabric_cq_poll(run->cq, wc, 1);

		if (n == 0) {
			if (now_ns() >= end)
				return -ETIMEDOUT;
			n = fabric_cq_arm(run->cq);
			if (n == 0)
				n = fabric_cq_poll(run->cq, wc, 1);
			if (n == 0)
				(void)poll(&pfd, 1, PROBE_NAP_MS);
		}
		if (n < 0)
			return n;
		if (n > 0 && wc->conn == conn && (wc->wr_id == 1) == receive)
			return 0;
		if (n > 0 && wc->wr_id == 1) {
			run->received = *wc;
			run->has_received = true;
		}
	}
}

int probe_post(struct probe_run *run, struct fabric_conn *conn, struct fabric_send_wr *wr)
{
	struct fabric_wc wc;
	int err;

	wr->next = NULL;
	wr->wr_id = 0;
	wr->flags = FABRIC_F_SIGNALED;
	err = fabric_post_send(conn, wr, NULL);
	if (err == -ENOTCONN)
		return FABRIC_FLUSHED;
	if (err == 0)
		err = wait_for(run, conn, false, &wc);
	return err ? err : (int)wc.status;
}

int probe_receive(struct probe_run *run, struct fabric_conn *conn, uint32_t *bytes)
{
	struct fabric_wc wc;
	int err = 0;

	if (run->has_received && run->received.conn == conn)
		wc = run->received;
	else
		err = wait_for(run, conn, true, &wc);
	run->has_received = false;
	if (err)
		return err;
	*bytes = wc.byte_len;
	return (int)wc.status;
}
