// SPDX-License-Identifier: BSD-3-Clause
/*
 * The admin queue's commands. Blocking ones poll as their caller's thread; the others end in
 * callbacks under the admin queue's lock. Owns nothing.
 */
#include "libleasehold/admin.h"

#include "util/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_PIECE_BYTES 4096u
#define EXPORTS_MAX	65536u /* that a target can make us remember */
#define CHANGES_MAX	4096u
#define DISCOVERY_MAX	4096u

static uint64_t command_deadline(void)
{
	return now_ns() + CLIENT_COMMAND_MS * NS_PER_MS;
}

/* Runs a command set up by `fill`; any failure becomes a sentence that begins with `what`. */
static int run(struct lh_client *client,
	       void (*fill)(struct nvme_queue *nq, struct nvme_slot *slot, void *arg), void *arg,
	       void *in, size_t in_bytes, struct nvme_completion *cqe, const char *what,
	       struct errtext *err)
{
	int rc = nvme_queue_exec(&client->admin, fill, arg, in, in_bytes, command_deadline(), cqe);
	uint16_t status;

	if (rc < 0) {
		(void)errtext_set(err, rc, "%s: the connection to %s was lost: %s", what,
				  client->address, queue_why(&client->admin.q));
		return rc;
	}
	status = nvme_cqe_status(cqe);
	if (status == NVME_SC_SUCCESS)
		return 0;
	rc = nvme_status_to_errno(status);
	(void)errtext_set(err, rc, "%s: %s says %s (%03xh)", what, client->address,
			  nvme_status_text(status), status);
	return rc < 0 ? rc : -EIO;
}

/* ---- properties, identify, features ---------------------------------------------------------- */

struct property {
	bool set;
	uint32_t offset;
	uint64_t value;
};

static void fill_property(struct nvme_queue *nq, struct nvme_slot *slot, void *arg)
{
	struct nvmf_property_command *cmd = (struct nvmf_property_command *)slot->cmd;
	const struct property *p = arg;

	(void)nq;
	nvme_slot_set_no_data(slot);
	cmd->opcode = NVME_FABRICS;
	cmd->fctype = p->set ? NVMF_PROPERTY_SET : NVMF_PROPERTY_GET;
	cmd->attrib = p->offset == NVME_PROP_CAP ? 1 : 0;
	cmd->offset = htole32(p->offset);
	cmd->value = htole64(p->value);
}

static int property(struct lh_client *client, struct property *p, struct errtext *err)
{
	struct nvme_completion cqe;
	int rc = run(client, fill_property, p, NULL, 0, &cqe,
		     p->set ? "Property Set" : "Property Get", err);

	if (rc == 0 && !p->set)
		p->value = p->offset == NVME_PROP_CAP ? le64toh(cqe.result) : le32toh(cqe.dw0);
	return rc;
}

int admin_enable(struct lh_client *client, struct errtext *err)
{
	struct property cap = {.offset = NVME_PROP_CAP};
	/* IOSQES 6 (64 bytes), IOCQES 4 (16 bytes), EN. */
	struct property cc = {
		.set = true, .offset = NVME_PROP_CC, .value = 6u << 16 | 4u << 20 | NVME_CC_EN};
	uint64_t deadline;
	int rc = property(client, &cap, err);

	if (rc < 0)
		return rc;
	/* CAP.MQES: 0's based, at least two entries (NVMe 2.0 §3.1.3.1). */
	client->max_entries = (uint32_t)(cap.value & 0xffff) + 1;
	if (client->max_entries < 2)
		return errtext_set(err, -EPROTO, "%s: its queues hold no command (CAP.MQES is 0)",
				   client->address);
	rc = property(client, &cc, err);
	if (rc < 0)
		return rc;
	/* CAP.TO: 500 ms units. */
	deadline = now_ns() + max_u64((cap.value >> 24 & 0xff) * 500, 1000) * NS_PER_MS;
	for (;;) {
		struct property csts = {.offset = NVME_PROP_CSTS};

		rc = property(client, &csts, err);
		if (rc < 0)
			return rc;
		if (csts.value & NVME_CSTS_CFS)
			return errtext_set(err, -EIO, "%s: the controller reports a fatal error",
					   client->address);
		if (csts.value & NVME_CSTS_RDY)
			return 0;
		if (now_ns() > deadline)
			return errtext_set(err, -ETIMEDOUT, "%s: the controller does not get ready",
					   client->address);
		(void)poll(NULL, 0, 2);
	}
}

void admin_shutdown(struct lh_client *client)
{
	struct property cc = {.set = true,
			      .offset = NVME_PROP_CC,
			      .value = 6u << 16 | 4u << 20 | NVME_CC_EN | 1u << 14};

	(void)property(client, &cc, NULL);
}

struct simple {
	uint8_t opcode;
	uint32_t nsid, cdw10, cdw11, cdw12, cdw13;
	uint32_t data_bytes;
};

static void fill_simple(struct nvme_queue *nq, struct nvme_slot *slot, void *arg)
{
	const struct simple *s = arg;

	if (s->data_bytes)
		nvme_slot_set_data(nq, slot, s->data_bytes);
	else
		nvme_slot_set_no_data(slot);
	slot->cmd->opcode = s->opcode;
	slot->cmd->nsid = htole32(s->nsid);
	slot->cmd->cdw10 = htole32(s->cdw10);
	slot->cmd->cdw11 = htole32(s->cdw11);
	slot->cmd->cdw12 = htole32(s->cdw12);
	slot->cmd->cdw13 = htole32(s->cdw13);
}

/* Copies a space-padded field and trims it. */
static void copy_padded(char *out, const char *in, size_t bytes)
{
	memcpy(out, in, bytes);
	out[bytes] = '\0';
	for (size_t i = strlen(out); i > 0 && out[i - 1] == ' '; i--)
		out[i - 1] = '\0';
}

static void take_extension(struct lh_client *client, const struct nvme_id_ctrl *id)
{
	struct lh_identify ext;

	memcpy(&ext, id->vendor, sizeof(ext));
	client->direct = false;
	memset(&client->ext, 0, sizeof(client->ext));
	if (memcmp(ext.magic, LH_MAGIC, sizeof(ext.magic)) != 0)
		return;
	client->ext.version = le16toh(ext.version);
	client->ext.capabilities = le32toh(ext.capabilities);
	client->ext.recall_deadline_ms = le32toh(ext.recall_deadline_ms);
	client->ext.grant_expiry_ms = le32toh(ext.grant_expiry_ms);
	client->ext.max_grants = le32toh(ext.max_grants);
	client->ext.max_commit_ranges =
		(uint32_t)min_u64(max_u64(le32toh(ext.max_commit_ranges), 1), LH_COMMIT_MAX_RANGES);
	client->ext.max_grant_bytes = le64toh(ext.max_grant_bytes);
	client->direct = client->ext.version == LH_PROTOCOL_VERSION;
}

static int identify(struct lh_client *client, bool *discovery, struct errtext *err)
{
	struct simple s = {.opcode = NVME_ADMIN_IDENTIFY,
			   .cdw10 = NVME_CNS_CONTROLLER,
			   .data_bytes = sizeof(struct nvme_id_ctrl)};
	struct nvme_id_ctrl *id = malloc(sizeof(*id));
	struct nvme_completion cqe;
	uint32_t capsule;
	int rc;

	if (!id)
		return errtext_set(err, -ENOMEM, "out of memory");
	rc = run(client, fill_simple, &s, id, sizeof(*id), &cqe, "Identify Controller", err);
	if (rc == 0) {
		copy_padded(client->model, id->mn, sizeof(id->mn));
		copy_padded(client->firmware, id->fr, sizeof(id->fr));
		/* CAP.MPSMIN is 4 KiB over fabrics, as everywhere. */
		client->max_transfer_bytes = id->mdts && id->mdts < 20 ? 4096u << id->mdts : 0;
		capsule = le32toh(id->ioccsz);
		client->inline_bytes = capsule > 4 && le16toh(id->icdoff) == 0
					       ? (uint32_t)min_u64((uint64_t)(capsule - 4) * 16,
								   NVME_SLOT_DATA_BYTES)
					       : 0;
		take_extension(client, id);
		*discovery = id->cntrltype == NVME_CNTRLTYPE_DISCOVERY;
	}
	free(id);
	return rc;
}

int admin_ping(struct lh_client *client, struct errtext *err)
{
	struct simple s = {.opcode = NVME_ADMIN_KEEP_ALIVE};
	struct nvme_completion cqe;

	return run(client, fill_simple, &s, NULL, 0, &cqe, "Keep Alive", err);
}

int admin_nguid(struct lh_client *client, uint32_t nsid, uint8_t nguid[16], struct errtext *err)
{
	struct simple s = {.opcode = NVME_ADMIN_IDENTIFY,
			   .nsid = nsid,
			   .cdw10 = NVME_CNS_NS,
			   .data_bytes = sizeof(struct nvme_id_ns)};
	struct nvme_id_ns *ns = malloc(sizeof(*ns));
	struct nvme_completion cqe;
	int rc;

	if (!ns)
		return errtext_set(err, -ENOMEM, "out of memory");
	rc = run(client, fill_simple, &s, ns, sizeof(*ns), &cqe, "Identify Namespace", err);
	if (rc == 0)
		memcpy(nguid, ns->nguid, sizeof(ns->nguid));
	free(ns);
	return rc;
}

int admin_setup(struct lh_client *client, unsigned int *io_queues, struct errtext *err)
{
	unsigned int want = *io_queues;
	struct simple queues = {.opcode = NVME_ADMIN_SET_FEATURES,
				.cdw10 = NVME_FEAT_QUEUES,
				.cdw11 = (want - 1) << 16 | (want - 1)};
	struct simple events = {.opcode = NVME_ADMIN_SET_FEATURES,
				.cdw10 = NVME_FEAT_ASYNC_EVENT,
				.cdw11 = NVME_AEN_CFG_NS_ATTR};
	struct nvme_completion cqe;
	unsigned int given;
	bool discovery = false;
	int rc = admin_enable(client, err);

	if (rc < 0)
		return rc;
	rc = identify(client, &discovery, err);
	if (rc < 0)
		return rc;
	if (discovery)
		return errtext_set(
			err, -ENOENT,
			"%s is a discovery service, which has no exports: leasehold discover "
			"asks it where they are; to reach one leave nqn= out, or name the "
			"target's own",
			client->uri.nqn);
	rc = run(client, fill_simple, &queues, NULL, 0, &cqe, "Set Features (queues)", err);
	if (rc < 0)
		return rc;
	given = (unsigned int)min_u64(le32toh(cqe.dw0) & 0xffff, le32toh(cqe.dw0) >> 16) + 1;
	*io_queues = (unsigned int)min_u64(want, given);
	/* A target without this feature still sends vendor events. */
	(void)run(client, fill_simple, &events, NULL, 0, &cqe, "Set Features (events)", NULL);
	return 0;
}

/* ---- log pages ------------------------------------------------------------------------------- */

static int get_log(struct lh_client *client, uint8_t page, uint64_t offset, void *buf,
		   uint32_t bytes, const char *what, struct errtext *err)
{
	const uint32_t numd = bytes / 4 - 1;
	const bool watch = page == LH_LOG_RECALLS && atomic_load(&client->watching) &&
			   (client->ext.capabilities & LH_CAP_WATCH);
	struct simple s = {.opcode = NVME_ADMIN_GET_LOG_PAGE,
			   .nsid = NVME_NSID_ALL,
			   .cdw10 = page | (watch ? LH_LOG_WATCH << 8 : 0) | (numd & 0xffff) << 16,
			   .cdw11 = numd >> 16,
			   .cdw12 = (uint32_t)offset,
			   .cdw13 = (uint32_t)(offset >> 32),
			   .data_bytes = bytes};
	struct nvme_completion cqe;

	return run(client, fill_simple, &s, buf, bytes, &cqe, what, err);
}

/* [0, bytes) of a log page, in pieces, to memory for free(3). */
static int get_log_all(struct lh_client *client, uint8_t page, uint64_t bytes, uint8_t **out,
		       const char *what, struct errtext *err)
{
	uint8_t *buf = calloc(1, align_up(bytes, LOG_PIECE_BYTES));

	if (!buf) {
		(void)errtext_set(err, -ENOMEM, "out of memory");
		return -ENOMEM;
	}
	for (uint64_t at = 0; at < bytes; at += LOG_PIECE_BYTES) {
		uint32_t n = (uint32_t)align_up(min_u64(bytes - at, LOG_PIECE_BYTES), 4);
		int rc = get_log(client, page, at, buf + at, n, what, err);

		if (rc < 0) {
			free(buf);
			return rc;
		}
	}
	*out = buf;
	return 0;
}

/* Both logs begin with a 64-bit word, a count and the size of an entry. */
struct log_head {
	le64 word;
	le32 count;
	le32 entry_bytes;
};
static_assert(sizeof(struct log_head) == sizeof(struct lh_export_log), "log head");
static_assert(sizeof(struct log_head) == sizeof(struct lh_change_log), "log head");

/* A consistent copy of a whole log; entries checked to be in bounds and no smaller than `least`. */
static int get_entries(struct lh_client *client, uint8_t page, size_t least, size_t max,
		       uint8_t **out, struct log_head *head, const char *what, struct errtext *err)
{
	for (int attempt = 0; attempt < 8; attempt++) {
		struct log_head first, *now;
		uint8_t *buf = NULL;
		uint64_t bytes;
		int rc = get_log(client, page, 0, &first, sizeof(first), what, err);

		if (rc < 0)
			return rc;
		if (le32toh(first.count) > max ||
		    (le32toh(first.count) > 0 &&
		     (le32toh(first.entry_bytes) < least || le32toh(first.entry_bytes) > 4096))) {
			(void)errtext_set(err, -EPROTO, "%s: %s sends a list that makes no sense",
					  what, client->address);
			return -EPROTO;
		}
		bytes = sizeof(first) + (uint64_t)le32toh(first.count) * le32toh(first.entry_bytes);
		rc = get_log_all(client, page, bytes, &buf, what, err);
		if (rc < 0)
			return rc;
		now = (struct log_head *)buf;
		if (now->count == first.count && now->entry_bytes == first.entry_bytes &&
		    now->word == first.word) {
			*head = first;
			*out = buf;
			return 0;
		}
		free(buf); /* it changed between the pieces */
	}
	(void)errtext_set(err, -EAGAIN, "%s: the list changes faster than it can be read", what);
	return -EAGAIN;
}

int admin_discovery(struct lh_client *client, struct nvmf_discovery_entry **entries, size_t *count,
		    uint64_t *generation, struct errtext *err)
{
	static const char what[] = "discovery log";

	for (int attempt = 0; attempt < 8; attempt++) {
		struct nvmf_discovery_head head, now;
		uint8_t *buf = NULL;
		uint64_t n;
		int rc = get_log(client, NVME_LOG_DISCOVERY, 0, &head, sizeof(head), what, err);

		if (rc < 0)
			return rc;
		n = le64toh(head.numrec);
		if (n > DISCOVERY_MAX || le16toh(head.recfmt) != 0)
			return errtext_set(err, -EPROTO, "%s: %s sends one that makes no sense",
					   what, client->address);
		rc = get_log_all(client, NVME_LOG_DISCOVERY,
				 sizeof(head) + n * sizeof(struct nvmf_discovery_entry), &buf, what,
				 err);
		if (rc < 0)
			return rc;
		/* The counter is looked at again when all has been read (NVMe-oF 1.1 §5.3). */
		rc = get_log(client, NVME_LOG_DISCOVERY, 0, &now, sizeof(now), what, err);
		if (rc == 0 && now.genctr == head.genctr && now.numrec == head.numrec) {
			memmove(buf, buf + sizeof(head), n * sizeof(struct nvmf_discovery_entry));
			*entries = (struct nvmf_discovery_entry *)buf;
			*count = n;
			*generation = le64toh(head.genctr);
			return 0;
		}
		free(buf);
		if (rc < 0)
			return rc;
	}
	return errtext_set(err, -EAGAIN, "%s: it changes faster than it can be read", what);
}

/* Namespaces of a plain NVMe target, as exports named after their number. */
static int plain_namespaces(struct lh_client *client, struct lh_export_entry **entries,
			    size_t *count, struct errtext *err)
{
	struct simple s = {
		.opcode = NVME_ADMIN_IDENTIFY, .cdw10 = NVME_CNS_ACTIVE_NS, .data_bytes = 4096};
	struct lh_export_entry *list = NULL;
	struct nvme_completion cqe;
	struct nvme_id_ns *ns = malloc(sizeof(*ns));
	le32 *ids = malloc(4096);
	size_t n = 0;
	int rc = -ENOMEM;

	if (ns && ids)
		rc = run(client, fill_simple, &s, ids, 4096, &cqe, "Identify (namespaces)", err);
	if (rc == 0) {
		while (n < 1024 && ids[n])
			n++;
		list = calloc(n + 1, sizeof(*list));
		rc = list ? 0 : -ENOMEM;
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct simple one = {.opcode = NVME_ADMIN_IDENTIFY,
				     .nsid = le32toh(ids[i]),
				     .cdw10 = NVME_CNS_NS,
				     .data_bytes = 4096};
		struct nvme_lba_format lbaf;

		rc = run(client, fill_simple, &one, ns, sizeof(*ns), &cqe, "Identify Namespace",
			 err);
		if (rc < 0)
			break;
		lbaf = ns->lbaf[ns->flbas & 0xf];
		if (lbaf.lbads < 9 || lbaf.lbads > 16 || lbaf.ms)
			continue;
		list[i].nsid = ids[i];
		list[i].lba_bytes = htole32(1u << lbaf.lbads);
		list[i].size_bytes = htole64(le64toh(ns->nsze) << lbaf.lbads);
		memcpy(list[i].uuid, ns->nguid, sizeof(list[i].uuid));
		(void)snprintf(list[i].name, sizeof(list[i].name), "ns%u", one.nsid);
	}
	free(ns);
	free(ids);
	if (rc < 0) {
		free(list);
		return rc == -ENOMEM ? errtext_set(err, rc, "out of memory") : rc;
	}
	*entries = list;
	*count = n;
	return 0;
}

int admin_exports(struct lh_client *client, struct lh_export_entry **entries, size_t *count,
		  struct errtext *err)
{
	struct lh_export_entry *list;
	struct log_head head;
	uint8_t *log;
	size_t n;
	int rc;

	if (!client->direct)
		return plain_namespaces(client, entries, count, err);
	rc = get_entries(client, LH_LOG_EXPORTS, LH_EXPORT_ENTRY_LEAST_BYTES, EXPORTS_MAX, &log,
			 &head, "export list", err);
	if (rc < 0)
		return rc;
	n = le32toh(head.count);
	list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++) {
		memcpy(&list[i], log + sizeof(head) + i * le32toh(head.entry_bytes),
		       min_u64(le32toh(head.entry_bytes), sizeof(list[i])));
		list[i].name[LH_NAME_BYTES - 1] = '\0';
		list[i].rung_why[LH_RUNG_WHY_BYTES - 1] = '\0';
		text_make_plain(list[i].name);
		text_make_plain(list[i].rung_why);
		/* Nothing below is to meet a block size that cannot be computed with. */
		if (!is_pow2(le32toh(list[i].lba_bytes)) || le32toh(list[i].lba_bytes) < 512 ||
		    le32toh(list[i].lba_bytes) > 65536)
			list[i].lba_bytes = htole32(512);
	}
	free(log);
	if (!list)
		return errtext_set(err, -ENOMEM, "out of memory");
	*entries = list;
	*count = n;
	return 0;
}

int admin_changes(struct lh_client *client,
		  void (*fn)(struct lh_client *client, const struct lh_change_entry *change),
		  bool *gap, struct errtext *err)
{
	struct log_head head;
	uint8_t *log;
	int rc = get_entries(client, LH_LOG_RECALLS, sizeof(struct lh_change_entry), CHANGES_MAX,
			     &log, &head, "change log", err);

	if (rc < 0)
		return rc;
	*gap = le32toh(head.count) > 0 && le64toh(head.word) > client->change_next;
	for (uint32_t i = 0; i < le32toh(head.count); i++) {
		struct lh_change_entry change;

		memcpy(&change, log + sizeof(head) + (size_t)i * le32toh(head.entry_bytes),
		       sizeof(change));
		if (le64toh(change.sequence) < client->change_next)
			continue;
		client->change_next = le64toh(change.sequence) + 1;
		fn(client, &change);
	}
	free(log);
	return 0;
}

/* ---- commands that are not waited for -------------------------------------------------------- */

static int post_simple(struct lh_client *client, const struct simple *s,
		       void (*done)(struct nvme_queue *nq, struct nvme_slot *slot))
{
	struct nvme_queue *nq = &client->admin;
	struct nvme_slot *slot;
	int rc = 0;

	(void)pthread_mutex_lock(&nq->q.lock);
	slot = nvme_queue_get(nq);
	if (slot) {
		fill_simple(nq, slot, (void *)s);
		slot->done = done;
		nvme_queue_post(nq, slot, 0);
	} else {
		rc = nq->up ? -EAGAIN : -ENOTCONN;
	}
	(void)pthread_mutex_unlock(&nq->q.lock);
	return rc;
}

static void on_event(struct nvme_queue *nq, struct nvme_slot *slot)
{
	struct lh_client *client = nq->client;

	atomic_store(&client->aer_out, false);
	if (slot->error || nvme_cqe_status(&slot->cqe) != NVME_SC_SUCCESS)
		return;
	atomic_store(&client->aen_pending, true);
	client_wake(client);
}

int admin_arm_event(struct lh_client *client)
{
	const struct simple s = {.opcode = NVME_ADMIN_ASYNC_EVENT};
	int rc;

	atomic_store(&client->aer_out, true);
	rc = post_simple(client, &s, on_event);
	if (rc < 0)
		atomic_store(&client->aer_out, false);
	return rc;
}

static void on_keep_alive(struct nvme_queue *nq, struct nvme_slot *slot)
{
	(void)slot;
	atomic_store(&nq->client->keep_alive_since_ns, 0);
}

int admin_keep_alive(struct lh_client *client)
{
	const struct simple s = {.opcode = NVME_ADMIN_KEEP_ALIVE};
	int rc;

	atomic_store(&client->keep_alive_since_ns, now_ns());
	rc = post_simple(client, &s, on_keep_alive);
	if (rc < 0)
		atomic_store(&client->keep_alive_since_ns, 0);
	return rc;
}

/* ---- vendor commands ------------------------------------------------------------------------- */

static void call_done(struct nvme_queue *nq, struct nvme_slot *slot)
{
	struct admin_call *call = slot->user;
	void (*wake)(void *user) = call->wake;
	void *user = call->user;

	(void)nq;
	call->error = slot->error;
	call->status = slot->error ? 0 : nvme_cqe_status(&slot->cqe);
	call->dw0 = slot->error ? 0 : le32toh(slot->cqe.dw0);
	if (!call->error && call->status == NVME_SC_SUCCESS && call->in)
		memcpy(call->in, slot->data, call->in_bytes);
	/* From here on `call` may be gone. */
	atomic_store_explicit(&call->done, true, memory_order_release);
	if (wake)
		wake(user);
}

int admin_start(struct lh_client *client, struct admin_call *call)
{
	struct nvme_queue *nq = &client->admin;
	struct nvme_slot *slot;
	int rc = 0;

	assert(call->in_bytes <= NVME_SLOT_DATA_BYTES);
	atomic_store(&call->done, false);
	(void)pthread_mutex_lock(&nq->q.lock);
	slot = nvme_queue_get(nq);
	if (slot) {
		memcpy(slot->cmd, &call->cmd, sizeof(*slot->cmd));
		if (call->in_bytes)
			nvme_slot_set_data(nq, slot, (uint32_t)call->in_bytes);
		else
			nvme_slot_set_no_data(slot);
		slot->done = call_done;
		slot->user = call;
		nvme_queue_post(nq, slot, 0);
	} else {
		rc = nq->up ? -EAGAIN : -ENOTCONN;
	}
	(void)pthread_mutex_unlock(&nq->q.lock);
	return rc;
}

/* ---- the keys of a lost queue ---------------------------------------------------------------- */

struct lh_admin_command admin_burial(uint32_t nsid, const uint8_t token[LH_TOKEN_BYTES])
{
	struct lh_admin_command cmd = {
		.opcode = LH_ADMIN_RELEASE, .nsid = htole32(nsid), .length = htole64(UINT64_MAX)};

	memcpy(cmd.token, token, sizeof(cmd.token));
	return cmd;
}

bool admin_is_buried(uint16_t status)
{
	/* Out of memory: it is to be asked again. Any other error: it knows nothing of the queue. */
	return status != NVME_SC_INTERNAL;
}

static void fill_vendor(struct nvme_queue *nq, struct nvme_slot *slot, void *arg)
{
	(void)nq;
	memcpy(slot->cmd, arg, sizeof(*slot->cmd));
	nvme_slot_set_no_data(slot);
}

int admin_bury(struct lh_client *client, uint32_t nsid, const uint8_t token[LH_TOKEN_BYTES],
	       struct errtext *err)
{
	struct lh_admin_command cmd = admin_burial(nsid, token);
	struct nvme_completion cqe;
	int rc = nvme_queue_exec(&client->admin, fill_vendor, &cmd, NULL, 0, command_deadline(),
				 &cqe);

	if (rc < 0)
		return errtext_set(err, rc, "Release: the connection to %s was lost: %s",
				   client->address, queue_why(&client->admin.q));
	if (!admin_is_buried(nvme_cqe_status(&cqe)))
		return errtext_set(err, -EAGAIN,
				   "%s has no memory to end the direct queue that was lost",
				   client->address);
	return 0;
}
