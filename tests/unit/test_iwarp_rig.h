/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One end of ours, polled by the test, against a plain TCP socket on which the test says what it
 * likes, byte by byte, in units of raw/units.h.
 */
#ifndef LEASEHOLD_TEST_IWARP_RIG_H
#define LEASEHOLD_TEST_IWARP_RIG_H

#include "leaks.h"

#include "iwarp/iwarp.h"
#include "iwarp/iwarp_wire.h"
#include "raw/units.h"

#define RIG_BYTES KIB(256)
#define RIG_WAIT  (30 * NS_PER_S)

struct rig {
	struct fabric *f;
	struct fabric_device *dev;
	struct fabric_pd *pd;
	struct fabric_cq *cq;
	struct fabric_cm *cm;
	struct fabric_listener *listener;
	struct sockaddr_storage addr; /* of the listener */
	struct fabric_conn *conn;
	struct fabric_cm_event event; /* the last one waited for */
	struct fabric_conn_param param;
	uint8_t *buf; /* RIG_BYTES, the middle half of it registered */
	uint8_t *mem; /* that half */
	struct fabric_mr *mr;
	bool crc;
	int fd; /* the test's end */
	struct leaks *leaks;
};

#define RIG_MEM (RIG_BYTES / 2)

void rig_open(struct rig *rig, const struct iwarp_options *options);
void rig_close(struct rig *rig);
int rig_setup(void **state);
int rig_setup_crc(void **state);
int rig_teardown(void **state);

void rig_pump(struct rig *rig);
/** Waits for this event; fails the test after RIG_WAIT. */
void rig_event(struct rig *rig, enum fabric_cm_type type);
struct fabric_wc rig_completion(struct rig *rig);
void rig_qp(struct rig *rig);

/** A TCP connection to our listener; nothing said yet. */
int rig_dial(struct rig *rig);
void rig_say(struct rig *rig, const void *bytes, size_t len);
/** Reads exactly `len` bytes of what we say; fails the test if they do not come. */
void rig_hear(struct rig *rig, void *bytes, size_t len);
/** True if our end has nothing to say for `ms`. */
bool rig_silent(struct rig *rig, unsigned int ms);
/** Waits for the end of the connection, dropping what comes before. */
void rig_hear_end(struct rig *rig);

/** Shakes hands as a connecting peer, revision 2, and accepts. rig->fd, rig->conn. */
void rig_connected(struct rig *rig);
/** Our end connects to the test's end, through a listening socket of the test. */
void rig_connected_out(struct rig *rig);
/** Takes our TCP connection on `listener` and starts it: resolve, queue pair, connect. */
int rig_listen_plain(struct sockaddr_storage *addr);
void rig_start_out(struct rig *rig, int listener, const struct sockaddr_storage *addr);

/** A unit with the header and payload given; pads, sums if negotiated, sends. */
void rig_unit(struct rig *rig, const void *header, size_t header_len, const void *payload,
	      size_t len);

/** An RDMA Write of zeros in one unit. */
void rig_write(struct rig *rig, uint32_t stag, uint64_t to, size_t len);
/** Posts a receive at the start of our memory. */
void rig_receive(struct rig *rig, uint32_t len);
static inline uint64_t rig_at(const struct rig *rig)
{
	return (uintptr_t)rig->mem;
}

enum {
	RDMAP,
	DDP,
	MPA
}; /* the layers of a Terminate */

/** Expects a Terminate with these codes, then the end; the peer is told DISCONNECTED. */
void rig_terminated(struct rig *rig, uint8_t layer, uint8_t etype, uint8_t ecode);
/** Our buffer is as rig_connected() left it. */
void rig_untouched(struct rig *rig);

#endif
