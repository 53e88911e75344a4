/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One run of the self-test: one device, one kind of registration, one scratch file. For the region
 * room only; the thread that began the run.
 */
#ifndef LEASEHOLD_REGION_PROBE_RUN_H
#define LEASEHOLD_REGION_PROBE_RUN_H

#include "region/region.h"

#define PROBE_COMPLETION_MS 5000 /* a completion that takes longer is a failure */
#define PROBE_FILE_BYTES    MIB(2)
#define PROBE_BUFFER_BYTES  KIB(256)
#define PROBE_HALF	    KIB(128) /* of a buffer: the upper one takes what comes back */

/* The registered part of the file; what lies around it must never change. */
#define PROBE_MR_OFFSET KIB(512)
#define PROBE_MR_BYTES	KIB(512)
#define PROBE_NEAR_IOVA KIB(64) /* from the address: a wrong reading stays in the file */

/* The peer's side has protection domain 0, the file's side 1; 2 is a stranger's. */
enum probe_domain {
	PROBE_PD_PEER,
	PROBE_PD_FILE,
	PROBE_PD_OTHER,
	PROBE_PDS,
};

/** A plain buffer that any side may name, registered in one domain. */
struct probe_buffer {
	uint8_t *bytes;
	struct fabric_mr *mr;
};

/** Two connected queue pairs; `peer` plays the client. */
struct probe_pair {
	struct fabric_conn *peer;
	struct fabric_conn *file;
};

struct probe_run {
	struct fabric_device *dev;
	const struct fabric_device_info *info;
	enum lh_rung kind;
	const struct export_scratch *scratch;

	struct fabric_pd *pds[PROBE_PDS];
	struct fabric_cq *cq;
	struct probe_buffer buffers[PROBE_PDS];
	struct probe_pair pair;
	enum probe_domain pair_domain; /* of pair.file */
	struct fabric_wc received;     /* that came while a send was waited for */
	bool has_received;

	uint8_t *want;	   /* the file as it should be */
	uint8_t *seen;	   /* room to copy it out */
	unsigned int turn; /* makes each payload different */

	uint64_t window_base; /* of what windows are bound to */

	struct region_probe *result;
	bool passing; /* what failed may work another time */
	char *why;    /* of the failure */
	size_t why_size;
};

/* ---- probe_link.c ---------------------------------------------------------------------------- */

/** Protection domains, completion queue, buffers. 0 or -errno with `why`. */
MUST_CHECK int probe_link_open(struct probe_run *run);
/** -EBUSY: something could not be deregistered. */
MUST_CHECK int probe_link_close(struct probe_run *run);

/** A fresh pair, the file's side in `domain`; the one before is destroyed. */
MUST_CHECK int probe_connect(struct probe_run *run, enum probe_domain domain);
MUST_CHECK int probe_pair_new(struct probe_run *run, enum probe_domain domain,
			      struct probe_pair *pair);
void probe_pair_free(struct probe_pair *pair);

/** Posts on `conn`, signaled, and waits: the completion's status, or -errno (-ETIMEDOUT). */
int probe_post(struct probe_run *run, struct fabric_conn *conn, struct fabric_send_wr *wr);
/** Waits for a receive posted on `conn`; bytes received, or -errno. */
int probe_receive(struct probe_run *run, struct fabric_conn *conn, uint32_t *bytes);

/** Says why the kind fails, at which step. Returns -EILSEQ: tried, and refused. */
int probe_fail(struct probe_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- probe_steps.c --------------------------------------------------------------------------- */

/** All steps for run->kind: fills *run->result. 0, -EILSEQ with `why`, or -errno. */
MUST_CHECK int probe_steps(struct probe_run *run);

#endif
