/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The software fabric: opening it, its one device, protection domains, the table of operations.
 * What it says of itself follows the options, so that every rung of the ladder can be had on any
 * machine. Nothing here is on the data path.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct iw_fabric {
	struct fabric base;
	struct iw_device dev;
};

/* ---- fabric and device ----------------------------------------------------------------------- */

static void device_describe(struct iw_device *dev)
{
	dev->base.ops = &iw_ops;
	dev->base.info = (struct fabric_device_info){
		.name = "iwarp",
		.transport = FABRIC_TRANSPORT_IWARP,
		.software_fabric = true,
		.odp = dev->options.memory == IWARP_MEMORY_ANY ||
		       dev->options.memory == IWARP_MEMORY_ODP,
		.windows_type2 = !dev->options.no_windows,
		.max_mr_bytes = UINT64_MAX >> 1,
		.max_mr = IW_MAX_CHUNKS * IW_SLOTS_PER_CHUNK,
		.max_qp_wr = IW_MAX_WR,
		.max_cqe = IW_MAX_CQE,
		.max_sge = FABRIC_MAX_SGE,
		.max_read_sge = FABRIC_MAX_SGE,
		.max_read_depth = IW_MAX_READ_DEPTH,
		.max_inline_bytes = IW_MAX_INLINE,
	};
}

int iwarp_fabric_open(const struct iwarp_options *options, struct fabric **out, struct errtext *err)
{
	struct iw_fabric *f;
	int rc;

	/* The hazards have cache lines of their own. */
	f = aligned_alloc(alignof(struct iw_fabric), sizeof(*f));
	if (!f)
		return errtext_set(err, -ENOMEM, "no memory for the software fabric");
	memset(f, 0, sizeof(*f));
	f->base.ops = &iw_ops;
	if (options)
		f->dev.options = *options;
	device_describe(&f->dev);
	rc = -pthread_mutex_init(&f->dev.lock, NULL);
	if (!rc) {
		rc = iw_keys_init(&f->dev.keys);
		if (rc)
			pthread_mutex_destroy(&f->dev.lock);
	}
	if (rc) {
		free(f);
		return errtext_set(err, rc, "the software fabric could not be set up: %s",
				   strerror(-rc));
	}
	*out = &f->base;
	return 0;
}

static void iw_close(struct fabric *base)
{
	struct iw_fabric *f = container_of(base, struct iw_fabric, base);

	assert(atomic_load(&f->dev.objects) == 0);
	iw_keys_fini(&f->dev.keys);
	pthread_mutex_destroy(&f->dev.lock);
	free(f);
}

static unsigned int iw_device_count(const struct fabric *f)
{
	(void)f;
	return 1;
}

static struct fabric_device *iw_device_at(const struct fabric *base, unsigned int index)
{
	const struct iw_fabric *f = container_of(base, const struct iw_fabric, base);

	assert(index == 0);
	return (struct fabric_device *)&f->dev.base;
}

/* ---- protection domains ---------------------------------------------------------------------- */

static int iw_pd_alloc(struct fabric_device *dev, struct fabric_pd **out)
{
	struct iw_pd *pd = calloc(1, sizeof(*pd));

	if (!pd)
		return -ENOMEM;
	pd->base.ops = &iw_ops;
	pd->base.device = dev;
	atomic_fetch_add(&iw_device_of(dev)->objects, 1);
	*out = &pd->base;
	return 0;
}

static int iw_pd_free(struct fabric_pd *base)
{
	struct iw_pd *pd = container_of(base, struct iw_pd, base);

	if (atomic_load(&pd->objects) > 0)
		return -EBUSY;
	atomic_fetch_sub(&iw_device_of(base->device)->objects, 1);
	free(pd);
	return 0;
}

static unsigned int iw_conn_read_depth(const struct fabric_conn *conn)
{
	return container_of(conn, const struct iw_conn, base)->ord;
}

const struct fabric_ops iw_ops = {
	.name = "iwarp",
	.close = iw_close,
	.device_count = iw_device_count,
	.device_at = iw_device_at,
	.pd_alloc = iw_pd_alloc,
	.pd_free = iw_pd_free,
	.mr_reg = iw_mr_reg,
	.mr_dereg = iw_mr_dereg,
	.mw_alloc = iw_mw_alloc,
	.mw_free = iw_mw_free,
	.cq_create = iw_cq_create,
	.cq_destroy = iw_cq_destroy,
	.cq_poll = iw_cq_poll,
	.cq_arm = iw_cq_arm,
	.srq_create = iw_srq_create,
	.srq_destroy = iw_srq_destroy,
	.post_send = iw_post_send,
	.post_recv = iw_post_recv,
	.post_srq_recv = iw_post_srq_recv,
	.cm_open = iw_cm_open,
	.cm_close = iw_cm_close,
	.cm_poll = iw_cm_poll,
	.listen = iw_listen,
	.listener_destroy = iw_listener_destroy,
	.listener_addr = iw_listener_addr,
	.resolve = iw_resolve,
	.qp_create = iw_qp_create,
	.connect = iw_connect,
	.accept = iw_accept,
	.reject = iw_reject,
	.disconnect = iw_disconnect,
	.conn_fence = iw_conn_fence,
	.conn_destroy = iw_conn_destroy,
	.conn_peer = iw_conn_peer,
	.conn_local = iw_conn_local,
	.conn_returns = iw_conn_returns,
	.conn_taken = iw_conn_taken,
	.conn_breach = iw_conn_breach,
	.conn_read_depth = iw_conn_read_depth,
	.loopback_pair = iw_loopback_pair,
};
