/* SPDX-License-Identifier: BSD-3-Clause */
/* Names and conversions of what is on the wire. */
#ifndef LEASEHOLD_WIRE_WIRE_H
#define LEASEHOLD_WIRE_WIRE_H

#include "util/util.h"
#include "wire/direct.h"
#include "wire/nvme.h"

/** A sentence fragment for an NVMe status (DNR and more ignored), never NULL. */
const char *nvme_status_text(uint16_t status);

/** What our own protocol says as a status, and back (0 for success); of files: nvme/io.h. */
uint16_t nvme_status_from_errno(int err);
int nvme_status_to_errno(uint16_t status);

/** "optimized", "non-optimized", "inaccessible", "persistent-loss", "change"; and back. */
const char *nvme_ana_text(enum nvme_ana_state state);
MUST_CHECK int nvme_ana_parse(const char *text, enum nvme_ana_state *state);

/** "pinned", "odp", "staged", "none". */
const char *lh_rung_text(enum lh_rung rung);
const char *lh_durability_text(enum lh_durability durability);
const char *lh_export_state_text(enum lh_export_state state);

/**
 * An NQN as NVMe base 2.0 §4.5 wants it, UTF-8 with a NUL within `size` bytes, and without control
 * characters, since it is written to logs and terminals. Returns 0 or -EINVAL.
 */
MUST_CHECK int nqn_check(const char *nqn, size_t size);

/** An export's name: 1 to 63 of letters, digits, '-', '_', '.', first a letter or digit. */
MUST_CHECK int export_name_check(const char *name);

#endif
