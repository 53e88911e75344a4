// SPDX-License-Identifier: BSD-3-Clause
/* Names and conversions of what is on the wire. Pure, any thread. */
#include "wire/wire.h"

#include "util/text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static const struct {
	uint16_t status;
	int err; /* 0: this status has no errno of its own */
	const char *text;
} statuses[] = {
	{NVME_SC_SUCCESS, 0, "success"},
	{NVME_SC_INVALID_OPCODE, EOPNOTSUPP, "invalid command opcode"},
	{NVME_SC_INVALID_FIELD, EINVAL, "invalid field in command"},
	{NVME_SC_CID_CONFLICT, 0, "command identifier conflict"},
	{NVME_SC_DATA_TRANSFER_ERROR, 0, "data transfer error"},
	{NVME_SC_INTERNAL, EIO, "internal error"},
	{NVME_SC_ABORT_REQUESTED, ECANCELED, "command abort requested"},
	{NVME_SC_ABORT_SQ_DELETED, 0, "aborted: queue deleted"},
	{NVME_SC_INVALID_NS, ENXIO, "invalid namespace"},
	{NVME_SC_COMMAND_SEQUENCE, 0, "command sequence error"},
	{NVME_SC_SGL_INVALID_COUNT, 0, "invalid number of SGL descriptors"},
	{NVME_SC_SGL_INVALID_DATA, 0, "data SGL length invalid"},
	{NVME_SC_SGL_INVALID_TYPE, 0, "SGL descriptor type invalid"},
	{NVME_SC_SGL_OFFSET_INVALID, 0, "SGL offset invalid"},
	{NVME_SC_HOSTID_INCONSISTENT, 0, "host identifier inconsistent"},
	{NVME_SC_KA_EXPIRED, ETIMEDOUT, "keep alive expired"},
	{NVME_SC_KA_INVALID, 0, "keep alive timeout invalid"},
	{NVME_SC_ABORTED_PREEMPTED, ECANCELED, "aborted: the host's reservation was preempted"},
	{NVME_SC_NS_WRITE_PROTECTED, EROFS, "the namespace is write protected"},
	{NVME_SC_CMD_INTERRUPTED, EAGAIN, "command interrupted"},
	{NVME_SC_TRANSIENT_TRANSPORT, EAGAIN, "transient transport error"},
	{NVME_SC_LBA_RANGE, ERANGE, "LBA out of range"},
	{NVME_SC_CAP_EXCEEDED, ENOSPC, "capacity exceeded"},
	{NVME_SC_NS_NOT_READY, ENODEV, "namespace not ready"},
	{NVME_SC_RESERVATION_CONFLICT, EBADE, "reservation conflict: another host has reserved it"},
	{NVME_SC_AEN_LIMIT, 0, "asynchronous event limit exceeded"},
	{NVME_SC_INVALID_LOG_PAGE, 0, "invalid log page"},
	{NVME_SC_FEATURE_NOT_SAVEABLE, 0, "feature not saveable"},
	{NVME_SC_FEATURE_NOT_CHANGEABLE, 0, "feature not changeable"},
	{NVME_SC_CONNECT_FORMAT, 0, "incompatible connect format"},
	{NVME_SC_CONNECT_BUSY, 0, "controller busy"},
	{NVME_SC_CONNECT_INVALID_PARAM, ENOENT, "connect invalid parameters"},
	{NVME_SC_CONNECT_RESTART_DISCOVERY, 0, "connect restart discovery"},
	{NVME_SC_CONNECT_INVALID_HOST, EACCES, "connect invalid host"},
	{NVME_SC_AUTH_REQUIRED, 0, "authentication required"},
	{NVME_SC_WRITE_FAULT, 0, "write fault"},
	{NVME_SC_READ_ERROR, 0, "unrecovered read error"},
	{NVME_SC_COMPARE_FAILED, 0, "compare failure"},
	{NVME_SC_ACCESS_DENIED, EPERM, "access denied: another host is granted it for writing"},
	{NVME_SC_INVALID_QUEUE_TYPE, 0, "invalid queue type"},
	{NVME_SC_ANA_PERSISTENT_LOSS, ENOLINK, "the namespace is lost to this path for good"},
	{NVME_SC_ANA_INACCESSIBLE, EHOSTUNREACH, "the namespace is inaccessible by this path"},
	{NVME_SC_ANA_TRANSITION, 0, "access by this path is changing"},
	{LH_SC_STALE_GENERATION, ESTALE, "the grant is of an older generation"},
	{LH_SC_NOT_BACKED, ENODATA, "not backed: holes or shared blocks (have the holes filled)"},
	{LH_SC_RECALLING, EINPROGRESS, "the range is being recalled"},
	{LH_SC_CONFLICT, EBUSY, "another client holds the range"},
	{LH_SC_NO_DIRECT_QUEUE, ENOTCONN, "no such direct queue"},
	{LH_SC_LIMIT, EDQUOT, "a limit of the target is reached"},
	{LH_SC_LIMIT_BYTES, EDQUOT, "the target's limit of bytes granted to one client is reached"},
	{LH_SC_LIMIT_RATE, EAGAIN, "the target makes no more grants a second for one client"},
	{LH_SC_LIMIT_EXPORT, EDQUOT, "the target's limit of grants of one export is reached"},
	{LH_SC_LIMIT_HOST, EDQUOT, "the target's limit of grants of one host is reached"},
	{LH_SC_LIMIT_TIME, EDQUOT, "a recall would have no time left for more grants"},
	{LH_SC_NOT_GRANTED, 0, "no grant for writing of what was to be committed"},
	{LH_SC_CUT, EINVAL, "a grant reaches outside the range that was to be released"},
	{LH_SC_DAMAGED, 0, "the medium is damaged there"},
	{LH_SC_NO_DIRECT, ENOTSUP, "no direct access to this export on this device"},
};

#define STATUS_MASK 0x7ff

const char *nvme_status_text(uint16_t status)
{
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		if (statuses[i].status == (status & STATUS_MASK))
			return statuses[i].text;
	}
	return "unknown status";
}

uint16_t nvme_status_from_errno(int err)
{
	if (err < 0)
		err = -err;
	if (err == 0)
		return NVME_SC_SUCCESS;
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		if (statuses[i].err == err)
			return statuses[i].status;
	}
	return NVME_SC_INTERNAL;
}

int nvme_status_to_errno(uint16_t status)
{
	if ((status & STATUS_MASK) == NVME_SC_SUCCESS)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		if (statuses[i].status == (status & STATUS_MASK) && statuses[i].err)
			return -statuses[i].err;
	}
	return -EIO;
}

static const struct {
	enum nvme_ana_state state;
	const char *text;
} ana_states[] = {
	{NVME_ANA_OPTIMIZED, "optimized"},
	{NVME_ANA_NON_OPTIMIZED, "non-optimized"},
	{NVME_ANA_INACCESSIBLE, "inaccessible"},
	{NVME_ANA_PERSISTENT_LOSS, "persistent-loss"},
	{NVME_ANA_CHANGE, "change"},
};

const char *nvme_ana_text(enum nvme_ana_state state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ana_states); i++) {
		if (ana_states[i].state == state)
			return ana_states[i].text;
	}
	return "unknown";
}

int nvme_ana_parse(const char *text, enum nvme_ana_state *state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ana_states); i++) {
		if (strcmp(ana_states[i].text, text) == 0) {
			*state = ana_states[i].state;
			return 0;
		}
	}
	return -EINVAL;
}

const char *lh_rung_text(enum lh_rung rung)
{
	switch (rung) {
	case LH_RUNG_NONE:
		return "none";
	case LH_RUNG_PINNED:
		return "pinned";
	case LH_RUNG_ODP:
		return "odp";
	case LH_RUNG_STAGED:
		return "staged";
	}
	return "unknown";
}

const char *lh_durability_text(enum lh_durability durability)
{
	switch (durability) {
	case LH_DURABLE_NONE:
		return "none";
	case LH_DURABLE_COMMIT:
		return "commit";
	case LH_DURABLE_READ_AFTER_WRITE:
		return "read-after-write";
	case LH_DURABLE_FLUSH:
		return "flush";
	}
	return "unknown";
}

const char *lh_export_state_text(enum lh_export_state state)
{
	switch (state) {
	case LH_EXPORT_SERVING:
		return "serving";
	case LH_EXPORT_RECALLING:
		return "recalling";
	case LH_EXPORT_REACQUIRING:
		return "reacquiring";
	case LH_EXPORT_OFFLINE:
		return "offline";
	}
	return "unknown";
}

int nqn_check(const char *nqn, size_t size)
{
	size_t len = strnlen(nqn, size);

	if (len == size || len > NVME_NQN_MAX || len < 12 || strncmp(nqn, "nqn.", 4) != 0)
		return -EINVAL;
	for (int i = 4; i < 11; i++) {
		if (i == 8 ? nqn[i] != '-' : !isdigit((unsigned char)nqn[i]))
			return -EINVAL;
	}
	return nqn[11] == '.' && text_is_plain(nqn) ? 0 : -EINVAL;
}

int export_name_check(const char *name)
{
	size_t len = strnlen(name, LH_NAME_BYTES);

	if (len == 0 || len == LH_NAME_BYTES || !isalnum((unsigned char)name[0]))
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
			return -EINVAL;
	}
	return 0;
}
