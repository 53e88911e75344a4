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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "wire/wire.h"

/* nr_hosts: it is not listed. */
static unsigned int find(const struct nvme_target *t, const char *nqn)
{
	unsigned int i = 0;

	while (i < t->nr_hosts && strcmp(t->hosts[i], nqn) != 0)
		i++;
	return i;
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
	       host_is_here(&peer, &local);
}

bool host_may_connect(const struct nvme_target *t, const char *hostnqn, bool here)
{
	return here || t->any_host || find(t, hostnqn) < t->nr_hosts;
}

void host_refused(const struct nvme_queue *nq, const char *hostnqn)
{
	char more[REFUSAL_MORE_BYTES];

	if (refusal_has_line(nq->listener, more))
		log_notice("host %s at %s is not among those that may connect: `leasehold host "
			   "allow %s` lets it in, `hosts` in the configuration for good%s",
			   hostnqn, nq->q.address, hostnqn, more);
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

void nvme_target_any_host(struct nvme_target *t, bool any)
{
	if (t->any_host == any)
		return;
	t->any_host = any;
	changed(t);
}

int nvme_target_allow_host(struct nvme_target *t, const char *nqn)
{
	char(*hosts)[NVME_NQN_BYTES];

	if (nqn_check(nqn, strnlen(nqn, NVME_NQN_BYTES) + 1) != 0)
		return -EINVAL;
	if (find(t, nqn) < t->nr_hosts)
		return -EEXIST;
	if (t->nr_hosts == NVME_MAX_HOSTS)
		return -ENOSPC;
	hosts = realloc(t->hosts, (t->nr_hosts + 1) * sizeof(*hosts));
	if (!hosts)
		return -ENOMEM;
	t->hosts = hosts;
	(void)snprintf(hosts[t->nr_hosts++], sizeof(*hosts), "%s", nqn);
	changed(t);
	return 0;
}

int nvme_target_deny_host(struct nvme_target *t, const char *nqn)
{
	unsigned int i = find(t, nqn);

	if (i == t->nr_hosts)
		return -ENOENT;
	t->nr_hosts--;
	memmove(t->hosts[i], t->hosts[i + 1], (t->nr_hosts - i) * sizeof(*t->hosts));
	changed(t);
	return 0;
}

void nvme_target_each_host(const struct nvme_target *t,
			   void (*fn)(const char *nqn, unsigned int controllers, void *arg),
			   void *arg)
{
	for (unsigned int i = 0; i < t->nr_hosts; i++)
		fn(t->hosts[i], controllers_of_host(t, t->hosts[i]), arg);
}
