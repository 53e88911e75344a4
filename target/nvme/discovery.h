/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The discovery service: a subsystem of a well-known name whose controllers have one log page, which
 * says where the others are (NVMe-oF 1.1 §5). Its controllers are like any other, but for what
 * discovery_execute() takes or refuses.
 */
#ifndef LEASEHOLD_DISCOVERY_H
#define LEASEHOLD_DISCOVERY_H

#include "nvme/internal.h"

/* A discovery controller whose host asked for no keep-alive, and is silent for so long, ends. */
#define NVME_DISCOVERY_IDLE_MS 120000u

struct request;

/** Reactor, an admin command of a discovery controller: false if it is as on any other. */
bool discovery_execute(struct request *r);
/** Of a target that begins. */
void discovery_init(struct nvme_target *t);
/** Control: the log is another now; hosts that want to know are told. */
void discovery_changed(struct nvme_target *t);
/** How the devices of a fabric, or one of them, put RDMA on the wire. Any thread. */
enum nvmf_rdma_prtype discovery_provider(const struct fabric *f, const struct fabric_device *dev);

/* ---- the log (discovery_log.c): pure ---------------------------------------------------------- */

/** A log being written, of which [offset, offset + length) is wanted. */
struct discovery_log {
	uint8_t *out; /* zeroed by the caller */
	uint64_t offset;
	uint64_t length;
	uint64_t records;
};

struct discovery_record {
	enum nvmf_subtype subtype;
	enum nvmf_rdma_prtype provider;
	uint16_t portid;
	uint16_t admin_entries;
	uint16_t eflags;
	const struct sockaddr_storage *addr; /* with port; no wildcard */
	const char *nqn;
};

/** The next entry. */
void discovery_log_add(struct discovery_log *log, const struct discovery_record *record);
/** The header, last. Returns how long the log is. */
uint64_t discovery_log_end(struct discovery_log *log, uint64_t generation);

/**
 * What a host is shown of a listener bound to `bound`, having reached us at `local`: the address, or,
 * where it listens at all addresses, the one that the host used. False if that says nothing: a
 * listener at all IPv4 addresses and a host that came by IPv6.
 */
bool discovery_address(const struct sockaddr_storage *bound, const struct sockaddr_storage *local,
		       struct sockaddr_storage *shown);
/** Same family, address and port. */
bool discovery_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

#endif
