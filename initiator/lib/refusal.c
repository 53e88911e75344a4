// SPDX-License-Identifier: BSD-3-Clause
/* Sentences for what a target answers to a connection and to a Connect command. Keeps nothing. */
#include "libleasehold/refusal.h"

#include "libleasehold/client.h"

#include <errno.h>

#define STATUS_MASK 0x7ff

const char *refusal_of_connection(uint16_t status)
{
	switch (status) {
	case NVMF_RDMA_CM_INVALID_QID:
		return "it does not accept that queue: ask for fewer I/O queues";
	case NVMF_RDMA_CM_INVALID_HSQSIZE:
	case NVMF_RDMA_CM_INVALID_HRQSIZE:
		return "it does not accept queues that deep: ask for less depth";
	case NVMF_RDMA_CM_NO_RESOURCES:
		return "it has no room for another queue: close other clients, or raise its limits";
	case NVMF_RDMA_CM_INVALID_CNTLID:
		return "it does not know our controller any more: connect again";
	default:
		return "its reason is a protocol error: is it an NVMe over RDMA target?";
	}
}

/* ---- Connect --------------------------------------------------------------------------------- */

#define IN_DATA		  (1u << 16)
#define AT_COMMAND(field) ((uint32_t)offsetof(struct nvmf_connect_command, field))
#define AT_DATA(field)	  (IN_DATA | (uint32_t)offsetof(struct nvmf_connect_data, field))

static int invalid_parameter(const struct nvme_queue *nq, uint32_t where, struct errtext *err)
{
	const struct lh_client *client = nq->client;

	switch (where) {
	case AT_DATA(subnqn):
		return errtext_set(err, -ENOENT,
				   "%s serves no subsystem %s: see `nqn` in its configuration and "
				   "give it as ?nqn=… in the target",
				   client->address, client->uri.nqn);
	case AT_DATA(hostnqn):
		return errtext_set(err, -EINVAL, "%s does not take %s for this host's name (%s)",
				   client->address, client->host_nqn, nq->q.name);
	case AT_DATA(hostid):
		return errtext_set(err, -EINVAL,
				   "%s does not take this host's identifier (%s): is another host "
				   "of the same name connected?",
				   client->address, nq->q.name);
	case AT_DATA(cntlid):
		return errtext_set(err, -ESTALE,
				   "%s does not know our controller (%s): connect again",
				   client->address, nq->q.name);
	case AT_COMMAND(sqsize):
		return errtext_set(err, -EINVAL,
				   "%s does not take an %s of %u entries: ask for less depth",
				   client->address, nq->q.name, nq->entries);
	case AT_COMMAND(qid):
		return errtext_set(err, -EINVAL, "%s has no %s for us: ask for fewer I/O queues",
				   client->address, nq->q.name);
	default:
		return errtext_set(err, -EPROTO,
				   "%s refused a parameter of Connect (%s): byte %u of the %s",
				   client->address, nq->q.name, where & 0xffff,
				   where & IN_DATA ? "data" : "command");
	}
}

int refusal_of_connect(const struct nvme_queue *nq, const struct nvme_completion *cqe,
		       struct errtext *err)
{
	const struct lh_client *client = nq->client;
	const uint16_t status = nvme_cqe_status(cqe) & STATUS_MASK;

	switch (status) {
	case NVME_SC_CONNECT_FORMAT:
		return errtext_set(err, -EPROTO,
				   "%s does not know our form of Connect: its NVMe over Fabrics is "
				   "of another version",
				   client->address);
	case NVME_SC_CONNECT_BUSY:
		return errtext_set(err, -EBUSY,
				   "%s has no controller free for this host (%s): end other "
				   "clients, raise its limits (limits.controllers_per_host, "
				   "limits.max_controllers), or try again",
				   client->address, client->host_nqn);
	case NVME_SC_CONNECT_INVALID_PARAM:
		return invalid_parameter(nq, le32toh(cqe->dw0) & (IN_DATA | 0xffff), err);
	case NVME_SC_CONNECT_RESTART_DISCOVERY:
		return errtext_set(err, -ENOENT,
				   "%s no longer serves %s here: ask where it is (leasehold "
				   "discover)",
				   client->address, client->uri.nqn);
	case NVME_SC_CONNECT_INVALID_HOST:
		return errtext_set(err, -EACCES,
				   "%s does not let this host (%s) use %s: `leasehold host allow` "
				   "there lets it in",
				   client->address, client->host_nqn, client->uri.nqn);
	case NVME_SC_AUTH_REQUIRED:
		return errtext_set(err, -EACCES,
				   "%s wants authentication, which this client has "
				   "not got yet",
				   client->address);
	default:
		return errtext_set(err, -EPROTO, "%s refused Connect (%s): %s (status %03xh)",
				   client->address, nq->q.name, nvme_status_text(status), status);
	}
}
