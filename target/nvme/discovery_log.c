// SPDX-License-Identifier: BSD-3-Clause
/*
 * The discovery log page (NVMe-oF 1.1 §5.3): written entry by entry, of which only the part that is
 * asked for is kept. Pure.
 */
#include "nvme/discovery.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* ---- addresses -------------------------------------------------------------------------------- */

static uint16_t port_of(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)addr)->sin6_port
					   : ((const struct sockaddr_in *)addr)->sin_port;
}

/* An IPv4 address that came over an IPv6 socket is one of IPv4. */
static struct sockaddr_storage unmapped(const struct sockaddr_storage *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	struct sockaddr_storage plain = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&plain;

	if (addr->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return *addr;
	in->sin_family = AF_INET;
	in->sin_port = in6->sin6_port;
	memcpy(&in->sin_addr, &in6->sin6_addr.s6_addr[12], sizeof(in->sin_addr));
	return plain;
}

bool discovery_address(const struct sockaddr_storage *bound, const struct sockaddr_storage *local,
		       struct sockaddr_storage *shown)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)bound;
	const struct sockaddr_in *in = (const struct sockaddr_in *)bound;
	bool any4 = bound->ss_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_ANY);
	bool any6 = bound->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	struct sockaddr_storage used;

	if (!any4 && !any6) {
		*shown = unmapped(bound);
		return true;
	}
	used = unmapped(local);
	if (used.ss_family != AF_INET && (used.ss_family != AF_INET6 || any4))
		return false;
	if (used.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&used)->sin6_port = port_of(bound);
	else
		((struct sockaddr_in *)&used)->sin_port = port_of(bound);
	*shown = used;
	return true;
}

bool discovery_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_storage x = unmapped(a), y = unmapped(b);

	if (x.ss_family != y.ss_family || port_of(&x) != port_of(&y))
		return false;
	if (x.ss_family == AF_INET6)
		return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)&x)->sin6_addr,
					  &((const struct sockaddr_in6 *)&y)->sin6_addr);
	return ((const struct sockaddr_in *)&x)->sin_addr.s_addr ==
	       ((const struct sockaddr_in *)&y)->sin_addr.s_addr;
}

/* ---- the log ---------------------------------------------------------------------------------- */

static void put_part(struct discovery_log *log, uint64_t pos, const void *src, uint64_t length)
{
	uint64_t from = max_u64(pos, log->offset);
	uint64_t to = min_u64(pos + length, log->offset + log->length);

	if (from < to)
		memcpy(log->out + (from - log->offset), (const uint8_t *)src + (from - pos),
		       to - from);
}

/* Padded with spaces, without a NUL. */
static void put_text(char *field, size_t size, const char *text)
{
	size_t length = 0;

	for (; length < size && text[length]; length++)
		field[length] = text[length];
	memset(field + length, ' ', size - length);
}

void discovery_log_add(struct discovery_log *log, const struct discovery_record *record)
{
	const struct sockaddr_storage addr = unmapped(record->addr);
	struct nvmf_discovery_entry entry = {
		.trtype = NVMF_TRTYPE_RDMA,
		.adrfam = addr.ss_family == AF_INET6 ? NVMF_ADRFAM_IPV6 : NVMF_ADRFAM_IPV4,
		.subtype = (uint8_t)record->subtype,
		.treq = NVMF_TREQ_SQFLOW_OFF,
		.portid = htole16(record->portid),
		.cntlid = htole16(NVME_CNTLID_DYNAMIC),
		.asqsz = htole16(record->admin_entries),
		.eflags = htole16(record->eflags),
		.rdma = {.qptype = NVMF_RDMA_CONNECTED,
			 .prtype = (uint8_t)record->provider,
			 .cms = NVMF_RDMA_CMS_RDMA_CM},
	};
	const uint64_t pos = sizeof(struct nvmf_discovery_head) + log->records * sizeof(entry);
	char host[INET6_ADDRSTRLEN] = "", port[8];

	log->records++;
	if (addr.ss_family == AF_INET6)
		(void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&addr)->sin6_addr, host,
				sizeof(host));
	else
		(void)inet_ntop(AF_INET, &((const struct sockaddr_in *)&addr)->sin_addr, host,
				sizeof(host));
	(void)snprintf(port, sizeof(port), "%u", ntohs(port_of(&addr)));
	put_text(entry.traddr, sizeof(entry.traddr), host);
	put_text(entry.trsvcid, sizeof(entry.trsvcid), port);
	(void)snprintf(entry.subnqn, sizeof(entry.subnqn), "%s", record->nqn);
	put_part(log, pos, &entry, sizeof(entry));
}

uint64_t discovery_log_end(struct discovery_log *log, uint64_t generation)
{
	const struct nvmf_discovery_head head = {
		.genctr = htole64(generation),
		.numrec = htole64(log->records),
	};

	put_part(log, 0, &head, sizeof(head));
	return sizeof(head) + log->records * sizeof(struct nvmf_discovery_entry);
}
