// SPDX-License-Identifier: BSD-3-Clause
/*
 * Two queue pairs of one device, connected to each other, for the self-test: by hand over IB and RoCE,
 * through a CM of their own over iWARP, where a TCP connection underneath cannot be made by hand.
 * Blocks; any thread off the data path. Everything that waits for the other side gives up soon.
 */
#include "fabric/verbs_internal.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define LOOPBACK_READ_DEPTH 16
#define LOOPBACK_TIMEOUT    15 /* 4.096 µs << 15 = 134 ms before a packet is repeated ... */
#define LOOPBACK_RETRIES    5  /* ... and the peer is dead after 0.8 s; less is false alarms */
#define LOOPBACK_RNR_TIMER  20 /* 10 ms: a page fetched on demand takes its time */
#define LOOPBACK_RNR_RETRY  6

#define LOOPBACK_CONNECT_MS 3000

struct loopback_path {
	uint8_t port;
	struct ibv_ah_attr ah;
	enum ibv_mtu mtu;
};

/* RoCE v2 over an IPv4 address is what a fabric most surely carries, then any RoCE v2, then any. */
static unsigned int gid_rank(const struct ibv_gid_entry *entry)
{
	static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

	if (entry->gid_type != IBV_GID_TYPE_ROCE_V2)
		return 1;
	return memcmp(entry->gid.raw, v4_prefix, sizeof(v4_prefix)) == 0 ? 3 : 2;
}

static int find_gid(struct ibv_context *ctx, uint8_t port, int gid_count,
		    struct ibv_gid_entry *best)
{
	unsigned int best_rank = 0;

	for (int i = 0; i < gid_count; i++) {
		struct ibv_gid_entry entry;

		if (ibv_query_gid_ex(ctx, port, (uint32_t)i, &entry, 0) != 0)
			continue; /* an empty slot */
		if (gid_rank(&entry) > best_rank) {
			best_rank = gid_rank(&entry);
			*best = entry;
		}
	}
	return best_rank > 0 ? 0 : -EADDRNOTAVAIL;
}

static int find_path(struct ibv_context *ctx, struct loopback_path *path)
{
	struct ibv_device_attr attr;
	int rc = -ENETDOWN;

	if (ibv_query_device(ctx, &attr) != 0)
		return -EIO;
	for (uint8_t port = 1; port <= attr.phys_port_cnt; port++) {
		struct ibv_port_attr p;
		struct ibv_gid_entry gid;

		if (ibv_query_port(ctx, port, &p) != 0 || p.state != IBV_PORT_ACTIVE)
			continue;
		path->port = port;
		path->mtu = p.active_mtu;
		path->ah = (struct ibv_ah_attr){.port_num = port};
		if (p.link_layer != IBV_LINK_LAYER_ETHERNET) {
			path->ah.dlid = p.lid;
			return 0;
		}
		rc = find_gid(ctx, port, p.gid_tbl_len, &gid);
		if (rc)
			continue;
		path->ah.is_global = 1;
		path->ah.grh.dgid = gid.gid;
		path->ah.grh.sgid_index = (uint8_t)gid.gid_index;
		path->ah.grh.hop_limit = 64;
		return 0;
	}
	return rc;
}

static int to_init(struct verbs_conn *conn, const struct loopback_path *path)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = path->port,
		.qp_access_flags = verbs_access(
			FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE |
			(conn->qpx ? FABRIC_ACCESS_FLUSH_GLOBAL | FABRIC_ACCESS_FLUSH_PERSISTENT
				   : 0u)),
	};

	return ibv_modify_qp(conn->qp, &attr,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static int to_rtr(struct verbs_conn *conn, const struct loopback_path *path, uint32_t dest_qp_num)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = path->mtu,
		.dest_qp_num = dest_qp_num,
		.max_dest_rd_atomic = conn->responder_resources,
		.min_rnr_timer = LOOPBACK_RNR_TIMER,
		.ah_attr = path->ah,
	};

	conn->may_take = conn->has_srq;
	return ibv_modify_qp(conn->qp, &attr,
			     IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				     IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				     IBV_QP_MIN_RNR_TIMER);
}

static int to_rts(struct verbs_conn *conn)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = LOOPBACK_TIMEOUT,
		.retry_cnt = LOOPBACK_RETRIES,
		.rnr_retry = LOOPBACK_RNR_RETRY,
		.max_rd_atomic = conn->initiator_depth,
	};

	return ibv_modify_qp(conn->qp, &attr,
			     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				     IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static int half_new(struct fabric_device *dev, const struct fabric_qp_attr *attr,
		    struct verbs_conn **out)
{
	uint32_t depth = dev->info.max_read_depth < LOOPBACK_READ_DEPTH ? dev->info.max_read_depth
									: LOOPBACK_READ_DEPTH;
	struct verbs_conn *conn = calloc(1, sizeof(*conn));
	int rc;

	if (!conn)
		return -ENOMEM;
	conn->base.ops = &verbs_ops;
	conn->base.device = dev;
	conn->state = VERBS_CONN_ESTABLISHED;
	conn->responder_resources = conn->initiator_depth = (uint8_t)depth;
	rc = verbs_qp_create(&conn->base, attr);
	if (rc) {
		free(conn);
		return rc;
	}
	*out = conn;
	return 0;
}

static int pair_by_hand(struct fabric_device *dev, const struct fabric_qp_attr *attr_a,
			const struct fabric_qp_attr *attr_b, struct fabric_conn **conn_a,
			struct fabric_conn **conn_b)
{
	struct loopback_path path;
	struct verbs_conn *a, *b;
	int rc, err;

	rc = find_path(verbs_device(dev)->ctx, &path);
	if (rc)
		return rc;
	rc = half_new(dev, attr_a, &a);
	if (rc)
		return rc;
	rc = half_new(dev, attr_b, &b);
	if (rc)
		goto destroy_a;
	if ((err = to_init(a, &path)) || (err = to_init(b, &path)) ||
	    (err = to_rtr(a, &path, b->qp->qp_num)) || (err = to_rtr(b, &path, a->qp->qp_num)) ||
	    (err = to_rts(a)) || (err = to_rts(b))) {
		rc = verbs_error(err);
		goto destroy_b;
	}
	*conn_a = &a->base;
	*conn_b = &b->base;
	return 0;

destroy_b:
	verbs_conn_destroy(&b->base);
destroy_a:
	verbs_conn_destroy(&a->base);
	return rc;
}

/* ---- through the CM ------------------------------------------------------------------------- */

/* The channel of a pair, with the two connections on it; nobody polls it once they are open. */
struct verbs_loop {
	struct fabric_cm *cm;
	atomic_uint refs;
};

void verbs_loop_put(struct verbs_loop *loop)
{
	if (atomic_fetch_sub(&loop->refs, 1) > 1)
		return;
	verbs_cm_close(loop->cm);
	free(loop);
}

/* Listens on an address that belongs to the device: the first that the CM puts there. */
static int listen_on(struct verbs_device *dev, struct fabric_cm *cm,
		     struct fabric_listener **listener)
{
	struct ifaddrs *all, *ifa;
	int rc = -EADDRNOTAVAIL;

	if (getifaddrs(&all) != 0)
		return -errno;
	for (ifa = all; ifa && rc; ifa = ifa->ifa_next) {
		struct fabric_listener *l;

		if (!ifa->ifa_addr ||
		    (ifa->ifa_addr->sa_family != AF_INET && ifa->ifa_addr->sa_family != AF_INET6))
			continue;
		if (verbs_listen(cm, ifa->ifa_addr, 2, &l) != 0)
			continue;
		if (VERBS_OF(listener, l)->cm.id->verbs == dev->ctx) {
			*listener = l;
			rc = 0;
		} else {
			verbs_listener_destroy(l);
		}
	}
	freeifaddrs(all);
	return rc;
}

/* Takes one event further. 1: both ends are open. */
static int pair_step(const struct fabric_cm_event *event, const struct fabric_qp_attr *attr_a,
		     const struct fabric_qp_attr *attr_b, struct fabric_conn *a,
		     struct fabric_conn **b)
{
	const struct fabric_conn_param param = {.responder_resources = LOOPBACK_READ_DEPTH,
						.initiator_depth = LOOPBACK_READ_DEPTH};
	int rc;

	switch (event->type) {
	case FABRIC_CM_RESOLVED:
		if (a->device != attr_a->pd->device)
			return -EADDRNOTAVAIL;
		rc = verbs_qp_create(a, attr_a);
		return rc ? rc : verbs_connect(a, &param);
	case FABRIC_CM_CONNECT_REQUEST:
		if (*b) { /* a stranger found the port */
			verbs_conn_destroy(event->conn);
			return -EADDRINUSE;
		}
		*b = event->conn;
		rc = verbs_qp_create(*b, attr_b);
		return rc ? rc : verbs_accept(*b, &param);
	case FABRIC_CM_ESTABLISHED:
		return *b && verbs_conn(a)->state == VERBS_CONN_ESTABLISHED &&
		       verbs_conn(*b)->state == VERBS_CONN_ESTABLISHED;
	case FABRIC_CM_FAILED:
		return event->error;
	default:
		return -ECONNABORTED;
	}
}

static int pair_wait(struct fabric_cm *cm, const struct fabric_qp_attr *attr_a,
		     const struct fabric_qp_attr *attr_b, struct fabric_conn *a,
		     struct fabric_conn **b)
{
	uint64_t deadline = now_ns() + LOOPBACK_CONNECT_MS * NS_PER_MS;
	struct pollfd pfd = {.fd = cm->fd, .events = POLLIN};
	struct fabric_cm_event event;

	while (now_ns() < deadline) {
		int rc = verbs_cm_poll(cm, &event);

		if (rc == 1)
			rc = pair_step(&event, attr_a, attr_b, a, b);
		else if (rc == 0)
			(void)poll(&pfd, 1, 50);
		if (rc)
			return rc < 0 ? rc : 0;
	}
	return -ETIMEDOUT;
}

static int pair_by_cm(struct fabric_device *dev, const struct fabric_qp_attr *attr_a,
		      const struct fabric_qp_attr *attr_b, struct fabric_conn **conn_a,
		      struct fabric_conn **conn_b)
{
	struct verbs_loop *loop = calloc(1, sizeof(*loop));
	struct fabric_conn *a = NULL, *b = NULL;
	struct fabric_listener *listener = NULL;
	struct sockaddr_storage at;
	int rc;

	if (!loop)
		return -ENOMEM;
	rc = verbs_cm_open(&verbs_device(dev)->fabric->base, &loop->cm);
	if (rc) {
		free(loop);
		return rc;
	}
	rc = listen_on(verbs_device(dev), loop->cm, &listener);
	if (rc == 0)
		rc = verbs_listener_addr(listener, &at);
	if (rc == 0)
		rc = verbs_resolve(loop->cm, (struct sockaddr *)&at, LOOPBACK_CONNECT_MS, NULL, &a);
	if (rc == 0)
		rc = pair_wait(loop->cm, attr_a, attr_b, a, &b);
	if (listener)
		verbs_listener_destroy(listener);
	if (rc) {
		if (a)
			verbs_conn_destroy(a);
		if (b)
			verbs_conn_destroy(b);
		verbs_cm_close(loop->cm);
		free(loop);
		return rc;
	}
	atomic_store(&loop->refs, 2);
	verbs_conn(a)->loop = verbs_conn(b)->loop = loop;
	*conn_a = a;
	*conn_b = b;
	return 0;
}

int verbs_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *a,
			const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
			struct fabric_conn **conn_b)
{
	return dev->info.transport == FABRIC_TRANSPORT_IB ? pair_by_hand(dev, a, b, conn_a, conn_b)
							  : pair_by_cm(dev, a, b, conn_a, conn_b);
}
