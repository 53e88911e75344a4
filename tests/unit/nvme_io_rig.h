/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests of I/O commands share: a whole target whose file says of each block which it is, short
 * words for commands over it, and each group of tests once for each way that bytes may go.
 */
#ifndef LEASEHOLD_NVME_IO_RIG_H
#define LEASEHOLD_NVME_IO_RIG_H

#include "nvme_rig.h"

#define DNR NVME_SC_DNR

/** Blocks of 512 bytes. */
extern const struct rig_options small;

extern struct rig rig;
extern struct rig_queue *io; /* the first of its two */

/* All of it once with registered memory, once with copies. */
extern enum region_choice registration;
extern bool journal; /* … and with what is written going by a journal */

/** The target, that way; it ends by rig_down(). */
void up(const struct rig_options *options);

/** Bytes of a block. */
uint32_t lba(void);

/** These bytes of the file are all `byte`; if that is below 0, what they were in the beginning. */
void assert_file(uint64_t offset, uint64_t length, int byte);

/** A command over `blocks` from slba, with as much of the host's memory. */
struct nvme_command moving(uint8_t opcode, uint64_t slba, uint32_t blocks);
/** Does it on `io`, with nothing in the capsule behind it. */
uint16_t simple(const struct nvme_command *sqe);

/** main(): runs group(its name) in each folder and each way. Returns the number of failures. */
int io_main(int (*group)(const char *name));

#endif
