// SPDX-License-Identifier: BSD-3-Clause
/*
 * lh_discover(): a controller of the target's discovery service, for as long as its log is read.
 * No service thread, no I/O queues; blocks.
 */
#include "libleasehold/admin.h"

#include "util/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies text that ends with a NUL, or is padded with blanks to the end of its field. */
static void copy_text(char *out, size_t room, const char *field, size_t bytes)
{
	size_t n = strnlen(field, bytes);

	while (n > 0 && field[n - 1] == ' ')
		n--;
	if (n >= room)
		n = room - 1;
	memcpy(out, field, n);
	out[n] = '\0';
	/* It goes to terminals. */
	for (size_t i = 0; i < n; i++) {
		if (out[i] < ' ' || out[i] == 0x7f)
			out[i] = '?';
	}
}

static const char *kind_text(uint8_t subtype)
{
	switch (subtype) {
	case NVMF_SUBTYPE_REFERRAL:
		return "referral";
	case NVMF_SUBTYPE_NVM:
		return "nvm";
	case NVMF_SUBTYPE_CURRENT:
		return "current";
	default:
		return "unknown";
	}
}

static const char *transport_text(uint8_t trtype)
{
	switch (trtype) {
	case NVMF_TRTYPE_RDMA:
		return "rdma";
	case 2:
		return "fc";
	case 3:
		return "tcp";
	default:
		return "unknown";
	}
}

static const char *provider_text(const struct nvmf_discovery_entry *e)
{
	if (e->trtype != NVMF_TRTYPE_RDMA)
		return "";
	switch (e->rdma.prtype) {
	case NVMF_RDMA_IB:
		return "infiniband";
	case 3:
		return "roce";
	case NVMF_RDMA_ROCE_V2:
		return "roce-v2";
	case NVMF_RDMA_IWARP:
		return "iwarp";
	default:
		return "unknown";
	}
}

static void take_entry(const struct nvmf_discovery_entry *e, struct lh_discovery_entry *out)
{
	out->kind = kind_text(e->subtype);
	out->transport = transport_text(e->trtype);
	out->provider = provider_text(e);
	copy_text(out->address, sizeof(out->address), e->traddr, sizeof(e->traddr));
	copy_text(out->service, sizeof(out->service), e->trsvcid, sizeof(e->trsvcid));
	copy_text(out->nqn, sizeof(out->nqn), e->subnqn, sizeof(e->subnqn));
	out->port_id = le16toh(e->portid);
	out->controller = le16toh(e->cntlid);
	out->admin_entries = le16toh(e->asqsz);
	/* It is a stranger's, and goes to a terminal. */
	text_make_plain(out->address);
	text_make_plain(out->service);
	text_make_plain(out->nqn);
	out->persistent = (le16toh(e->eflags) & NVMF_EFLAGS_PERSISTENT) != 0;
}

static int read_log(struct lh_client *client, struct lh_discovery_entry **entries, size_t *count,
		    uint64_t *generation, struct errtext *err)
{
	struct nvmf_discovery_entry *log;
	struct lh_discovery_entry *list;
	size_t n;
	int rc = admin_discovery(client, &log, &n, generation, err);

	if (rc < 0)
		return rc;
	list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++)
		take_entry(&log[i], &list[i]);
	free(log);
	if (!list)
		return errtext_set(err, -ENOMEM, "out of memory");
	*entries = list;
	*count = n;
	return 0;
}

int lh_discover(const char *uri, const struct lh_options *options,
		struct lh_discovery_entry **entries, size_t *count, uint64_t *generation,
		struct lh_error *err)
{
	struct errtext why;
	struct lh_client *client;
	uint64_t now;
	int rc = client_new_for(uri, options, &client, &why);

	if (rc < 0)
		return client_fail(err, rc, &why);
	if (client->uri.export_name[0])
		rc = errtext_set(&why, -EINVAL,
				 "\"%s\": discovery is asked of a target, not of an export: leave "
				 "out \"/%s\"",
				 uri, client->uri.export_name);
	/* A discovery service may have a name of its own; who names none means the well-known one. */
	if (strcmp(client->uri.nqn, LH_DEFAULT_NQN) == 0)
		(void)snprintf(client->uri.nqn, sizeof(client->uri.nqn), "%s", NVME_DISCOVERY_NQN);
	if (rc == 0)
		rc = client_open_discovery(client, &why);
	if (rc == 0) {
		rc = read_log(client, entries, count, &now, &why);
		if (rc == 0 && generation)
			*generation = now;
		if (nvme_queue_is_up(&client->admin))
			admin_shutdown(client);
	}
	client_end(client);
	return rc < 0 ? client_fail(err, rc, &why) : 0;
}
