/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I/O commands, from the table in io.c to one file per group. Reactor's thread, but where said.
 *
 * A command is checked, gets its place in the order of overlapping ones (interlock.h), and is
 * executed. While it waits for its place it holds nothing else, above all no namespace: what is
 * served may change meanwhile, so it begins again when its turn has come.
 */
#ifndef LEASEHOLD_NVME_IO_H
#define LEASEHOLD_NVME_IO_H

#include "nvme/controller.h"

/* Limits, and what Identify says of them. */
#define IO_COPY_RANGE_BYTES MIB(8) /* of one source range */
#define IO_COPY_BYTES	    MIB(64)
#define IO_STEP_BYTES	    MIB(4) /* of a command that moves no data: then others get the worker */
#define IO_PUNCH_BYTES	    KIB(4) /* unit in which blocks can be given back */

/** Finds the namespace, checks, locks, executes; again after the wait. */
void io_begin(struct request *r);

/**
 * For commands that learn their range only from their data: true if r has the bytes now. False: it
 * waits, and io_begin() follows.
 */
MUST_CHECK bool io_lock(struct request *r, uint64_t offset, uint64_t end, bool exclusive);
/** The same, exclusively, for a few ranges (not none), which stay where they are until the end. */
MUST_CHECK bool io_lock_parts(struct request *r, const struct interlock_part *parts,
			      unsigned int nr);

/**
 * For what changes bytes, when it has its place: true if no other host was granted any of them for
 * writing. False: it waits until they are recalled, and io_begin() follows, or it was refused. The
 * ranges stay where they are until the end.
 */
MUST_CHECK bool io_clear_way(struct request *r, const struct export_range *changes,
			     unsigned int nr);
/** The same for r->range alone. */
MUST_CHECK bool io_clear_range(struct request *r);

/** What a change of the file came to (0 or -errno), for the host: with DNR where it will be so again. */
uint16_t io_status(int err);

/** The end of a command that wrote: honours FUA where there is a volatile cache. */
void io_written(struct request *r, uint16_t status);

/** Whether there is such a command, and whether it changes what is stored. */
bool io_known(uint8_t opcode, bool *writes);

/* io_rw.c */
void io_read(struct request *r);
void io_write(struct request *r);
void io_flush(struct request *r);

/* io_compare.c */
void io_compare(struct request *r);
/** A pair's first half waits for its second: true if r is dealt with. */
bool io_fused(struct request *r);
/**
 * The same for a command that is no half of a pair, or no good one, and that the caller deals with:
 * refused, or of fabrics.
 */
void io_fused_apart(struct request *r);

/* io_zeroes.c */
void io_write_zeroes(struct request *r);
void io_verify(struct request *r);

/* io_dsm.c */
void io_dsm(struct request *r);
/**
 * Gives the ranges back to the file system, with `durable` for good; `back` with r->err. The namespace
 * is left.
 */
void io_punch(struct request *r, const struct export_range *ranges, unsigned int nr_ranges,
	      bool durable, void (*back)(struct request *r));
/** Whether deallocation is more than advice here. */
bool io_can_punch(const struct request *r);

/* io_copy.c */
void io_copy(struct request *r);

/* io_identify.c: the fields that the commands above give meaning to. */
void io_identify_controller(const struct nvme_target *t, struct nvme_id_ctrl *id);
void io_identify_namespace(const struct nvme_target *t, const struct serving *serving,
			   struct nvme_id_ns *id);
uint8_t io_rescap(const struct serving *serving);

#endif
