/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad forms of commands: a good form, in which one thing is wrong. Each is refused with one status and
 * changes nothing; where it is one field's fault the error log names that field.
 */
#ifndef LEASEHOLD_BAD_FORMS_H
#define LEASEHOLD_BAD_FORMS_H

#include "nvme_rig.h"

#define DNR	       NVME_SC_DNR
#define NOWHERE	       0xffff /* in no field of the command */
#define NOT_LOGGED     0xfffe
#define BIT(byte, bit) ((bit) << 8 | (byte))
#define BLOCKS	       (RIG_BYTES / 512)
#define LOG_AT	       MIB(2) /* of the host's memory: the error log */
#define LIST_AT	       MIB(3)

/* Where fields lie. */
#define CDW10	   40
#define CDW11	   44
#define CDW12	   48
#define CDW13	   52
#define CDW14	   56
#define NSID	   4
#define FLAGS	   1
#define SGL_TYPE   39
#define SGL_LENGTH 32

extern struct rig rig;

/** The lists of good Deallocates and Copies; to be changed, and put back by make_good(). */
extern struct nvme_dsm_range dsm_ranges[2];
extern struct nvme_copy_range copy_ranges[2];

enum where {
	ADMIN,
	IO
};

/** One thing that is wrong: a field of the command, little-endian. */
struct edit {
	uint8_t byte, bytes;
	uint64_t value;
};

struct row {
	const char *what;
	enum where where;
	uint8_t opcode;
	struct edit edits[3];
	uint16_t status, location;
};

/** The target; the host's memory and the file have what good forms find. */
void forms_up(void);
/** No form has changed the file. */
void forms_down(void);

struct nvme_command good_admin(uint8_t opcode);
struct nvme_command good_io(uint8_t opcode);
struct nvme_command good(enum where where, uint8_t opcode);
/** What they find in memory, once more: so that they change nothing themselves. */
void make_good(void);

/** Refused as the row says. */
void try_row(const struct row *row);
/** The same where the good form is run first: it is good. */
void try_rows(const struct row *rows, size_t n);
/** The newest error; its count is 0 if there is none. */
const struct nvme_error_entry *newest_error(void);

#endif
