// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which hosts get controllers of a subsystem: those of this machine, those whose NQN is listed, or any. The
 * discovery service is for everybody, and tells whoever gets no controller of no subsystem. Who is struck
 * off loses the controllers that it has. Control.
 */
#include "nvme/controller.h"
#include "nvme/discovery.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "wire/wire.h"

static int by_nqn(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* In a list in the order of strcmp(). */
static const char *find_in(const char (*hosts)[NVME_NQN_BYTES], unsigned int n, const char *nqn)
{
	return n > 0 ? bsearch(nqn, hosts, n, sizeof(*hosts), by_nqn) : NULL;
}

static const char *find(const struct nvme_target *t, const char *nqn)
{
	return find_in((const char(*)[NVME_NQN_BYTES])t->hosts, t->nr_hosts, nqn);
}

/* ---- who may ---------------------------------------------------------------------------------- */

/* The IPv4 address that an IPv6 one stands for, or the address itself; its bytes. */
static size_t bytes_of(const struct sockaddr_storage *addr, const uint8_t **bytes)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const bool mapped = addr->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);

	if (addr->ss_family == AF_INET6) {
		*bytes = in6->sin6_addr.s6_addr + (mapped ? 12 : 0);
		return mapped ? 4 : 16;
	}
	*bytes = (const uint8_t *)&((const struct sockaddr_in *)addr)->sin_addr;
	return addr->ss_family == AF_INET ? 4 : 0;
}

bool host_is_here(const struct sockaddr_storage *peer, const struct sockaddr_storage *local)
{
	const uint8_t *from, *to;
	const size_t size = bytes_of(peer, &from);

	if (size == 0)
		return false;
	if (size == 4 ? from[0] == IN_LOOPBACKNET
		      : IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)(const void *)from))
		return true;
	/* Only this machine sends from its own address, if the network is worth anything. */
	return bytes_of(local, &to) == size && memcmp(from, to, size) == 0;
}

bool host_came_from_here(const struct fabric_conn *conn)
{
	struct sockaddr_storage peer, local;

	return fabric_conn_peer(conn, &peer) == 0 && fabric_conn_local(conn, &local) == 0 &&
	       host_is_here(&peer, &local) && fabric_conn_returns(conn);
}

bool host_may_join(const struct controller *c, bool here)
{
	return here || !c->here;
}

bool host_may_connect(const struct nvme_target *t, const char *hostnqn, bool here)
{
	return here || t->any_host || find(t, hostnqn) != NULL;
}

const char *host_text(const char *hostnqn, char out[HOST_TEXT_BYTES])
{
	text_word(out, HOST_TEXT_BYTES, hostnqn);
	return out;
}

void host_refused(const struct nvme_queue *nq, const char *hostnqn)
{
	char more[REFUSAL_MORE_BYTES], host[HOST_TEXT_BYTES];

	if (refusal_has_line(nq->listener, more))
		log_notice("host %s at %s is not among those that may connect: `leasehold host "
			   "allow %s` lets it in, `hosts` in the configuration for good%s",
			   host_text(hostnqn, host), nq->q.address, host, more);
}

/* ---- the list --------------------------------------------------------------------------------- */

/* Discovery logs differ from now on; who may not be here any more has to go. */
static void changed(struct nvme_target *t)
{
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (!c->subsystem->discovery && !host_may_connect(t, c->hostnqn, c->here))
			controller_kill(c, "its host may not connect any more");
	}
	discovery_changed(t);
}

static bool in_order(const struct nvme_hosts *hosts)
{
	for (unsigned int i = 0; i < hosts->count; i++) {
		if (nqn_check(hosts->nqns[i], sizeof(hosts->nqns[i])) != 0 ||
		    (i > 0 && strcmp(hosts->nqns[i - 1], hosts->nqns[i]) >= 0))
			return false;
	}
	return true;
}

int nvme_target_change_hosts(struct nvme_target *t, const struct nvme_hosts *add,
			     const struct nvme_hosts *remove, bool any)
{
	const size_t most = (size_t)t->nr_hosts + add->count;
	char(*hosts)[NVME_NQN_BYTES];
	unsigned int n = 0;

	if (!in_order(add) || !in_order(remove))
		return -EINVAL;
	hosts = calloc(most ? most : 1, sizeof(*hosts));
	if (!hosts)
		return -ENOMEM;
	for (unsigned int i = 0, j = 0; i < t->nr_hosts || j < add->count;) {
		const int order = i == t->nr_hosts  ? 1
				  : j == add->count ? -1
						    : strcmp(t->hosts[i], add->nqns[j]);
		const char *next = order <= 0 ? t->hosts[i] : add->nqns[j];

		i += order <= 0;
		j += order >= 0;
		if (!find_in(remove->nqns, remove->count, next))
			memcpy(hosts[n++], next, sizeof(*hosts));
	}
	if (n > NVME_MAX_HOSTS && n > t->nr_hosts) {
		free(hosts);
		return -ENOSPC;
	}
	free(t->hosts);
	t->hosts = hosts;
	t->nr_hosts = n;
	t->any_host = any;
	changed(t);
	return 0;
}

static int change_one(struct nvme_target *t, const char *nqn, bool add)
{
	char host[1][NVME_NQN_BYTES] = {""};
	const struct nvme_hosts none = {0}, one = {(const char(*)[NVME_NQN_BYTES])host, 1};

	if (nqn_check(nqn, strnlen(nqn, NVME_NQN_BYTES) + 1) != 0)
		return add ? -EINVAL : -ENOENT;
	(void)snprintf(host[0], sizeof(host[0]), "%s", nqn);
	if ((find(t, nqn) != NULL) == add)
		return add ? -EEXIST : -ENOENT;
	return nvme_target_change_hosts(t, add ? &one : &none, add ? &none : &one, t->any_host);
}

int nvme_target_allow_host(struct nvme_target *t, const char *nqn)
{
	return change_one(t, nqn, true);
}

int nvme_target_deny_host(struct nvme_target *t, const char *nqn)
{
	return change_one(t, nqn, false);
}

int nvme_target_each_host(const struct nvme_target *t,
			  void (*fn)(const char *nqn, unsigned int controllers, void *arg),
			  void *arg)
{
	unsigned int *controllers = calloc(t->nr_hosts + 1, sizeof(*controllers));
	const struct list *l;

	if (!controllers)
		return -ENOMEM;
	list_for_each (l, &t->controllers) {
		const struct controller *c = list_entry(l, struct controller, link);
		const char *host = c->dying ? NULL : find(t, c->hostnqn);

		if (host)
			controllers[(host - t->hosts[0]) / (ptrdiff_t)sizeof(*t->hosts)]++;
	}
	for (unsigned int i = 0; i < t->nr_hosts; i++)
		fn(t->hosts[i], controllers[i], arg);
	free(controllers);
	return 0;
}
