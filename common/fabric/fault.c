// SPDX-License-Identifier: BSD-3-Clause
/*
 * The fault fabric: chance, devices, memory, opening. Every object wraps one of the inner fabric's,
 * and the user pointer of an inner connection or listener leads back. Threads as in fabric.h; options
 * are set while nobody else is at work.
 *
 * What is held back must not be slept through: the descriptor of a queue or channel is an epoll of
 * the inner one and an eventfd that is raised as long as something is held.
 */
#include "fabric/fault_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- chance --------------------------------------------------------------------------------- */

static uint64_t draw(struct fault_fabric *f)
{
	uint64_t z = f->options.seed + (atomic_fetch_add(&f->draws, 1) + 1) * 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull; /* splitmix64 */
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

bool fault_chance(struct fault_fabric *f, enum fault_site site, unsigned int ppm)
{
	return ppm > 0 && (f->options.sites & site) && draw(f) % 1000000 < ppm;
}

int fault_may_fail(struct fault_fabric *f, enum fault_site site)
{
	bool nth;

	if (!(f->options.sites & site))
		return 0;
	nth = atomic_fetch_add(&f->calls, 1) + 1 == f->options.fail_nth;
	return nth || fault_chance(f, site, f->options.fail_ppm) ? f->options.error : 0;
}

int fault_begin(struct fault_fabric *f, enum fault_site site, size_t size, void *object)
{
	int rc = fault_may_fail(f, site);
	void *p = rc ? NULL : calloc(1, size);

	if (!p)
		return rc ? rc : -ENOMEM;
	*(void **)object = p;
	return 0;
}

unsigned int fault_hold_for(struct fault_fabric *f, enum fault_site site)
{
	if (f->options.hold_polls == 0 || !fault_chance(f, site, f->options.hold_ppm))
		return 0;
	return 1 + (unsigned int)(draw(f) % f->options.hold_polls);
}

int fault_bell_init(struct fault_bell *bell, int inner_fd)
{
	struct epoll_event in = {.events = EPOLLIN};

	bell->epoll = epoll_create1(EPOLL_CLOEXEC);
	bell->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bell->epoll >= 0 && bell->event >= 0 &&
	    epoll_ctl(bell->epoll, EPOLL_CTL_ADD, bell->event, &in) == 0 &&
	    epoll_ctl(bell->epoll, EPOLL_CTL_ADD, inner_fd, &in) == 0)
		return 0;
	if (bell->epoll >= 0)
		(void)close(bell->epoll);
	if (bell->event >= 0)
		(void)close(bell->event);
	return -ENOMEM;
}

void fault_bell_fini(struct fault_bell *bell)
{
	(void)close(bell->epoll);
	(void)close(bell->event);
}

void fault_bell_set(struct fault_bell *bell, bool on)
{
	eventfd_t value;

	if (on == bell->rings)
		return;
	bell->rings = on;
	if (on)
		(void)eventfd_write(bell->event, 1);
	else
		(void)eventfd_read(bell->event, &value);
}

/* ---- fabric, devices, memory ---------------------------------------------------------------- */

static void fault_close(struct fabric *base)
{
	struct fault_fabric *f = FAULT_OF(fabric, base);

	fabric_close(f->inner);
	free(f->devices);
	free(f);
}

static unsigned int fault_device_count(const struct fabric *base)
{
	return FAULT_OF(fabric, base)->device_count;
}

static struct fabric_device *fault_device_at(const struct fabric *base, unsigned int index)
{
	return &FAULT_OF(fabric, base)->devices[index].base;
}

static int fault_pd_alloc(struct fabric_device *dev, struct fabric_pd **out)
{
	struct fault_pd *pd;
	int rc = fault_begin(fault_of_device(dev), FAULT_CREATE, sizeof(*pd), &pd);

	if (rc)
		return rc;
	rc = fabric_pd_alloc(FAULT_INNER(device, dev), &pd->inner);
	if (rc) {
		free(pd);
		return rc;
	}
	pd->base = (struct fabric_pd){.ops = &fault_ops, .device = dev};
	*out = &pd->base;
	return 0;
}

static int fault_pd_free(struct fabric_pd *pd)
{
	int rc = fabric_pd_free(FAULT_INNER(pd, pd));

	if (rc == 0)
		free(FAULT_OF(pd, pd));
	return rc;
}

static int fault_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			unsigned int access, struct fabric_mr **out)
{
	struct fault_mr *mr;
	int rc = fault_begin(fault_of_device(pd->device), FAULT_REGISTER, sizeof(*mr), &mr);

	if (rc)
		return rc;
	rc = fabric_mr_reg(FAULT_INNER(pd, pd), addr, length, iova, access, &mr->inner);
	if (rc) {
		free(mr);
		return rc;
	}
	mr->base = *mr->inner;
	mr->base.pd = pd;
	*out = &mr->base;
	return 0;
}

static int fault_mr_dereg(struct fabric_mr *mr)
{
	int rc = fabric_mr_dereg(FAULT_INNER(mr, mr));

	if (rc == 0)
		free(FAULT_OF(mr, mr));
	return rc;
}

static int fault_mw_alloc(struct fabric_pd *pd, struct fabric_mw **out)
{
	struct fault_mw *mw;
	int rc = fault_begin(fault_of_device(pd->device), FAULT_REGISTER, sizeof(*mw), &mw);

	if (rc)
		return rc;
	rc = fabric_mw_alloc(FAULT_INNER(pd, pd), &mw->inner);
	if (rc) {
		free(mw);
		return rc;
	}
	mw->base = (struct fabric_mw){.pd = pd, .rkey = mw->inner->rkey};
	*out = &mw->base;
	return 0;
}

static int fault_mw_free(struct fabric_mw *mw)
{
	int rc = fabric_mw_free(FAULT_INNER(mw, mw));

	if (rc == 0)
		free(FAULT_OF(mw, mw));
	return rc;
}

/* ---- opening -------------------------------------------------------------------------------- */

void fault_set(struct fabric *base, const struct fault_options *options)
{
	struct fault_fabric *f = FAULT_OF(fabric, base);

	f->options = *options;
	if (f->options.sites == 0)
		f->options.sites = FAULT_EVERYWHERE;
	if (f->options.error == 0)
		f->options.error = -ENOMEM;
	atomic_store(&f->calls, 0);
	atomic_store(&f->draws, 0);
}

uint64_t fault_calls(const struct fabric *base)
{
	return atomic_load(&FAULT_OF(fabric, base)->calls);
}

int fault_fabric_open(struct fabric *inner, const struct fault_options *options,
		      struct fabric **out)
{
	struct fault_fabric *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->base.ops = &fault_ops;
	f->inner = inner;
	f->device_count = fabric_device_count(inner);
	f->devices = calloc(f->device_count, sizeof(*f->devices));
	if (!f->devices) {
		free(f);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < f->device_count; i++) {
		struct fault_device *dev = &f->devices[i];

		dev->inner = fabric_device_at(inner, i);
		dev->base.ops = &fault_ops;
		dev->base.info = *fabric_device_info(dev->inner);
		dev->fabric = f;
	}
	fault_set(&f->base, options);
	*out = &f->base;
	return 0;
}

const struct fabric_ops fault_ops = {
	.name = "fault",
	.close = fault_close,
	.device_count = fault_device_count,
	.device_at = fault_device_at,
	.pd_alloc = fault_pd_alloc,
	.pd_free = fault_pd_free,
	.mr_reg = fault_mr_reg,
	.mr_dereg = fault_mr_dereg,
	.mw_alloc = fault_mw_alloc,
	.mw_free = fault_mw_free,
	.cq_create = fault_cq_create,
	.cq_destroy = fault_cq_destroy,
	.cq_poll = fault_cq_poll,
	.cq_arm = fault_cq_arm,
	.srq_create = fault_srq_create,
	.srq_destroy = fault_srq_destroy,
	.post_send = fault_post_send,
	.post_recv = fault_post_recv,
	.post_srq_recv = fault_post_srq_recv,
	.cm_open = fault_cm_open,
	.cm_close = fault_cm_close,
	.cm_poll = fault_cm_poll,
	.listen = fault_listen,
	.listener_destroy = fault_listener_destroy,
	.listener_addr = fault_listener_addr,
	.resolve = fault_resolve,
	.qp_create = fault_qp_create,
	.connect = fault_connect,
	.accept = fault_accept,
	.reject = fault_reject,
	.disconnect = fault_disconnect,
	.conn_fence = fault_conn_fence,
	.conn_destroy = fault_conn_destroy,
	.conn_peer = fault_conn_peer,
	.conn_local = fault_conn_local,
	.conn_returns = fault_conn_returns,
	.conn_taken = fault_conn_taken,
	.conn_breach = fault_conn_breach,
	.conn_read_depth = fault_conn_read_depth,
	.loopback_pair = fault_loopback_pair,
};
