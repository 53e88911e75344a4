// SPDX-License-Identifier: BSD-3-Clause
/* The suite: connections through the CM. */
#include "fabric_suite_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint16_t port_of(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET ? ((const struct sockaddr_in *)addr)->sin_port
					  : ((const struct sockaddr_in6 *)addr)->sin6_port;
}

/* Data of an event begins with ours; a transport may pad it with zeros. */
static void data_is(const struct fabric_cm_event *event, const uint8_t *data, size_t len)
{
	assert_in_range(event->private_data_len, len, sizeof(event->private_data));
	assert_memory_equal(event->private_data, data, len);
	for (size_t i = len; i < event->private_data_len; i++)
		assert_int_equal(event->private_data[i], 0);
}

void test_private_data(void **state)
{
	struct rig *rig = *state;
	uint8_t hello[FABRIC_PRIVATE_DATA_MAX], answer[32], long_data[255] = {0};
	struct fabric_conn_param too_long = {.private_data = long_data, .private_data_len = 57};

	pattern_fill(hello, sizeof(hello), 1);
	pattern_fill(answer, sizeof(answer), 2);
	rig_listen(rig, suite->addr);
	rig->client.private_data = hello;
	rig->client.private_data_len = sizeof(hello);
	rig->server.private_data = answer;
	rig->server.private_data_len = sizeof(answer);
	rig_request(rig, 0);
	data_is(&rig->event, hello, sizeof(hello));
	rig_qp(rig, &rig->b, 0);
	assert_int_equal(fabric_accept(rig->b.conn[0], &too_long), -EINVAL);
	assert_int_equal(fabric_accept(rig->b.conn[0], &rig->server), 0);
	data_is(rig_event(rig, &rig->a, FABRIC_CM_ESTABLISHED), answer, sizeof(answer));
	assert_int_equal(
		rig_try(rig, 0, FABRIC_OP_WRITE, 4097, addr_of(rig->b.buf) + 1, rig->b.mr->rkey),
		FABRIC_OK);
	(void)rig_event(rig, &rig->b, FABRIC_CM_ESTABLISHED);

	/* Without any. */
	rig->client.private_data_len = rig->server.private_data_len = 0;
	rig_connect(rig, 1);
	assert_int_equal(
		rig_try(rig, 1, FABRIC_OP_WRITE, 100, addr_of(rig->b.buf), rig->b.mr->rkey),
		FABRIC_OK);
}

void test_addresses(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_storage listening, peer, local;

	rig_listen(rig, suite->addr);
	assert_int_equal(fabric_listener_addr(rig->listener, &listening), 0);
	assert_int_not_equal(port_of(&listening), 0);
	rig_connect(rig, 0);
	assert_int_equal(fabric_conn_peer(rig->a.conn[0], &peer), 0);
	assert_int_equal(port_of(&peer), port_of(&listening));
	assert_int_equal(fabric_conn_local(rig->a.conn[0], &local), 0);
	assert_int_equal(fabric_conn_peer(rig->b.conn[0], &peer), 0);
	assert_int_equal(peer.ss_family, AF_INET);
	assert_int_equal(((struct sockaddr_in *)&peer)->sin_addr.s_addr,
			 ((struct sockaddr_in *)&local)->sin_addr.s_addr);
	assert_true(fabric_conn_returns(rig->b.conn[0]));
	assert_int_equal(fabric_conn_local(rig->b.conn[0], &local), 0);
	assert_int_equal(port_of(&local), port_of(&listening));
	assert_ptr_equal(fabric_conn_user(rig->b.conn[0]), NULL);
	fabric_conn_set_user(rig->b.conn[0], &peer);
	assert_ptr_equal(fabric_conn_user(rig->b.conn[0]), &peer);
}

void test_reject(void **state)
{
	struct rig *rig = *state;
	uint8_t reason[32], none[FABRIC_REJECT_DATA_MAX + 1] = {0};

	pattern_fill(reason, sizeof(reason), 3);
	rig_listen(rig, suite->addr);
	rig_request(rig, 0);
	assert_int_equal(fabric_reject(rig->b.conn[0], none, sizeof(none)), -EINVAL);
	assert_int_equal(fabric_reject(rig->b.conn[0], reason, sizeof(reason)), 0);
	data_is(rig_event(rig, &rig->a, FABRIC_CM_REJECTED), reason, sizeof(reason));
	assert_ptr_equal(rig->event.conn, rig->a.conn[0]);
	rig_unpair(rig, 0);

	/* The listener has taken no harm, and a rejection needs no queue pair on the client. */
	rig_connect(rig, 1);
}

void test_closed_port(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_storage to;
	int rc;

	rig_listen(rig, suite->addr);
	assert_int_equal(fabric_listener_addr(rig->listener, &to), 0);
	fabric_listener_destroy(rig->listener);
	rig->listener = NULL;
	assert_int_equal(
		fabric_resolve(rig->a.cm, (struct sockaddr *)&to, 5000, NULL, &rig->a.conn[0]), 0);
	/* A fabric that connects to resolve finds out at once. */
	while (rig->a.event_count == 0)
		rig_pump(rig);
	if (rig->a.events[0].type == FABRIC_CM_RESOLVED) {
		(void)rig_event(rig, &rig->a, FABRIC_CM_RESOLVED);
		rig_qp(rig, &rig->a, 0);
		rc = fabric_connect(rig->a.conn[0], &rig->client);
		assert_true(rc == 0 || rc == -ECONNREFUSED);
		if (rc) /* siw connects at once */
			return;
	}
	(void)rig_event(rig, &rig->a, FABRIC_CM_FAILED);
	assert_int_equal(rig->event.error, -ECONNREFUSED);
	assert_ptr_equal(rig->event.conn, rig->a.conn[0]);
}

/* The server goes away, or does not answer: the client hears of it, and nothing hangs. */
void test_unanswered(void **state)
{
	struct rig *rig = *state;
	int rc;

	rig_listen(rig, suite->addr);
	rig_request(rig, 0);
	fabric_conn_destroy(rig->b.conn[0]);
	rig->b.conn[0] = NULL;
	while (rig->a.event_count == 0)
		rig_pump(rig);
	assert_true(rig->a.events[0].type == FABRIC_CM_REJECTED ||
		    rig->a.events[0].type == FABRIC_CM_FAILED);
	rig->a.event_count = 0;

	/* The client goes, before the server answered and before it has a queue pair. */
	rig_request(rig, 1);
	fabric_conn_destroy(rig->a.conn[1]);
	rig->a.conn[1] = NULL;
	rc = rig_qp_try(rig, &rig->b, 1);
	assert_true(rc == 0 || rc == -ENOTCONN);
	if (rc == 0) {
		rc = fabric_accept(rig->b.conn[1], &rig->server);
		assert_true(rc <= 0);
	}
	rig_unpair(rig, 1);

	/* Nobody asked. */
	rig_request(rig, 2);
	rig_unpair(rig, 2);
}

void test_disconnect(void **state)
{
	struct rig *rig = *state;
	struct fabric_wc wc;

	rig_listen(rig, suite->addr);
	for (unsigned int i = 0; i < 2; i++) {
		struct side *first = i == 0 ? &rig->a : &rig->b;
		struct side *second = i == 0 ? &rig->b : &rig->a;

		rig_connect(rig, i);
		(void)rig_recv(rig, first->conn[i], rig_sge(first, 0, 100));
		(void)rig_recv(rig, second->conn[i], rig_sge(second, 0, 100));
		assert_int_equal(fabric_disconnect(first->conn[i]), 0);
		wc = rig_wait(rig, first->conn[i]);
		assert_int_equal(wc.status, FABRIC_FLUSHED);
		assert_int_equal(wc.op, FABRIC_OP_RECV);
		assert_int_equal(fabric_post_send(first->conn[i],
						  &(struct fabric_send_wr){.op = FABRIC_OP_SEND},
						  NULL),
				 -ENOTCONN);
		(void)rig_event(rig, second, FABRIC_CM_DISCONNECTED);
		assert_ptr_equal(rig->event.conn, second->conn[i]);
		wc = rig_wait(rig, second->conn[i]);
		assert_int_equal(wc.status, FABRIC_FLUSHED);
		assert_int_equal(wc.op, FABRIC_OP_RECV);
		assert_int_equal(fabric_post_send(second->conn[i],
						  &(struct fabric_send_wr){.op = FABRIC_OP_SEND},
						  NULL),
				 -ENOTCONN);
		(void)fabric_disconnect(second->conn[i]); /* late, harmless */
		rig_unpair(rig, i);
	}
}

void test_destroy_connected(void **state)
{
	struct rig *rig = *state;

	rig_listen(rig, suite->addr);
	rig_connect(rig, 0);
	rig_connect(rig, 1);
	fabric_conn_destroy(rig->a.conn[0]);
	rig->a.conn[0] = NULL;
	(void)rig_event(rig, &rig->b, FABRIC_CM_DISCONNECTED);
	assert_ptr_equal(rig->event.conn, rig->b.conn[0]);
	assert_int_equal(
		rig_try(rig, 1, FABRIC_OP_WRITE, 100, addr_of(rig->b.buf), rig->b.mr->rkey),
		FABRIC_OK);
	/* A fenced connection still disconnects. */
	assert_int_equal(fabric_conn_fence(rig->b.conn[1]), 0);
	(void)fabric_disconnect(rig->b.conn[1]);
	(void)rig_event(rig, &rig->a, FABRIC_CM_DISCONNECTED);
	assert_ptr_equal(rig->event.conn, rig->a.conn[1]);
}

void test_read_depth(void **state)
{
	enum {
		READS = 40
	};
	struct rig *rig = *state;

	rig_listen(rig, suite->addr);
	rig->client.initiator_depth = 4;
	rig->client.responder_resources = 3;
	rig->server.initiator_depth = 8;
	rig->server.responder_resources = 2;
	rig_request(rig, 0);
	/* From here: what the peer wants to read of us, and what it lets us read. */
	assert_int_equal(rig->event.responder_resources, 4);
	assert_int_equal(rig->event.initiator_depth, 3);
	rig_qp(rig, &rig->b, 0);
	assert_int_equal(fabric_accept(rig->b.conn[0], &rig->server), 0);
	(void)rig_event(rig, &rig->a, FABRIC_CM_ESTABLISHED);
	assert_int_equal(rig->event.initiator_depth, fabric_conn_read_depth(rig->a.conn[0]));
	if (adapter_iwarp(rig)) /* whose answer need not say */
		assert_in_range(fabric_conn_read_depth(rig->a.conn[0]), 1, 4);
	else
		assert_int_equal(fabric_conn_read_depth(rig->a.conn[0]), 2);
	/* More than the depth are posted: they wait their turn, and all are right. */
	pattern_fill(rig->b.buf, RIG_BYTES, 60);
	for (unsigned int i = 0; i < READS; i++)
		(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_READ,
			       rig_sge(&rig->a, i * 10000, 9999), addr_of(rig->b.buf) + i * 3333,
			       rig->b.mr->rkey);
	for (unsigned int i = 0; i < READS; i++) {
		(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_READ);
		assert_memory_equal(rig->a.buf + i * 10000, rig->b.buf + i * 3333, 9999);
	}
	(void)rig_event(rig, &rig->b, FABRIC_CM_ESTABLISHED);
	assert_int_equal(fabric_conn_read_depth(rig->b.conn[0]), 3);
	for (unsigned int i = 0; i < READS; i++)
		(void)rig_post(rig, rig->b.conn[0], FABRIC_OP_READ,
			       rig_sge(&rig->b, i * 10000, 9999), addr_of(rig->a.buf) + i * 3333,
			       rig->a.mr->rkey);
	for (unsigned int i = 0; i < READS; i++) {
		(void)rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_READ);
		assert_memory_equal(rig->b.buf + i * 10000, rig->a.buf + i * 3333, 9999);
	}
}

void test_listen_errors(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_storage addr;
	struct sockaddr_in foreign = {.sin_family = AF_INET};
	struct fabric_listener *l = NULL;
	int rc;

	rig_listen(rig, suite->addr);
	assert_int_equal(fabric_listener_addr(rig->listener, &addr), 0);
	assert_int_equal(fabric_listen(rig->b.cm, (struct sockaddr *)&addr, 4, NULL, &l),
			 -EADDRINUSE);
	assert_int_equal(inet_pton(AF_INET, "192.0.2.99", &foreign.sin_addr), 1);
	rc = fabric_listen(rig->b.cm, (struct sockaddr *)&foreign, 4, NULL, &l);
	assert_true(rc == -EADDRNOTAVAIL || rc == -ENODEV);
	assert_null(l);
	/* The port is free again at once. */
	fabric_listener_destroy(rig->listener);
	rig->listener = NULL;
	assert_int_equal(fabric_listen(rig->b.cm, (struct sockaddr *)&addr, 4, rig, &rig->listener),
			 0);
	rig_connect(rig, 0);
}

void test_ipv6(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_storage peer;

	rig_listen(rig, suite->addr6);
	rig_connect(rig, 0);
	assert_int_equal(fabric_conn_peer(rig->b.conn[0], &peer), 0);
	assert_int_equal(peer.ss_family, AF_INET6);
	pattern_fill(rig->a.buf, 5000, 70);
	assert_int_equal(
		rig_try(rig, 0, FABRIC_OP_WRITE, 5000, addr_of(rig->b.buf) + 1, rig->b.mr->rkey),
		FABRIC_OK);
	pattern_fill(rig->a.buf, 5000, 70);
	assert_memory_equal(rig->b.buf + 1, rig->a.buf, 5000);
}

/* The bench counts descriptors at the test's end; here also on the way. */
void test_cycles(void **state)
{
	struct rig *rig = *state;
	int fds = 0;

	rig_listen(rig, suite->addr);
	for (unsigned int i = 0; i < suite->cycles; i++) {
		rig_connect(rig, i % RIG_PAIRS);
		assert_int_equal(fabric_disconnect(rig->a.conn[i % RIG_PAIRS]), 0);
		(void)rig_event(rig, &rig->b, FABRIC_CM_DISCONNECTED);
		rig_unpair(rig, i % RIG_PAIRS);
		rig->a.event_count = 0;
		if (i == 10)
			fds = leaks_count("/proc/self/fd");
	}
	assert_int_equal(leaks_count("/proc/self/fd"), fds);
}
