// SPDX-License-Identifier: BSD-3-Clause
/* What a target refuses a queue with, as a sentence: the true reason, and what to do. */
#include "leaks.h"

#include <errno.h>
#include <string.h>

#include "libleasehold/client.h"
#include "libleasehold/refusal.h"

#define DNR		  0x4000
#define AT_COMMAND(field) ((uint32_t)offsetof(struct nvmf_connect_command, field))
#define AT_DATA(field)	  (1u << 16 | (uint32_t)offsetof(struct nvmf_connect_data, field))

static struct lh_client client = {
	.address = "h:4420", .host_nqn = "nqn.host", .uri = {.nqn = "nqn.subsystem"}};

static void test_connect(void **state)
{
	static const struct {
		uint16_t status;
		uint32_t dw0;
		int rc;
		const char *says;
	} cases[] = {
		{NVME_SC_CONNECT_FORMAT, 0, -EPROTO, "another version"},
		{NVME_SC_CONNECT_BUSY, 0, -EBUSY, "limits.max_controllers"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_COMMAND(sqsize), -EINVAL,
		 "I/O queue 3 of 77 entries: ask for less depth"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_COMMAND(qid), -EINVAL,
		 "no I/O queue 3 for us: ask for fewer"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_DATA(subnqn), -ENOENT,
		 "serves no subsystem nqn.subsystem"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_DATA(hostnqn), -EINVAL,
		 "does not take nqn.host for this host's name"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_DATA(hostid), -EINVAL, "host's identifier"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_DATA(cntlid), -ESTALE, "our controller"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_COMMAND(cattr), -EPROTO,
		 "byte 46 of the command"},
		{NVME_SC_CONNECT_INVALID_PARAM, AT_DATA(reserved), -EPROTO, "byte 18 of the data"},
		{NVME_SC_CONNECT_RESTART_DISCOVERY, 0, -ENOENT, "no longer serves nqn.subsystem"},
		{NVME_SC_CONNECT_INVALID_HOST, 0, -EACCES, "this host (nqn.host)"},
		{NVME_SC_AUTH_REQUIRED, 0, -EACCES, "authentication"},
		{NVME_SC_INTERNAL, 0, -EPROTO, "I/O queue 3): internal error (status 006h)"},
	};
	const struct nvme_queue nq = {
		.client = &client, .qid = 3, .entries = 77, .q = {.name = "I/O queue 3"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct nvme_completion cqe = {
			.dw0 = htole32(cases[i].dw0),
			.status = htole16((uint16_t)((cases[i].status | DNR) << 1))};
		struct errtext err = {"not called"};

		assert_int_equal(refusal_of_connect(&nq, &cqe, &err), cases[i].rc);
		if (!strstr(err.text, cases[i].says) || strncmp(err.text, "h:4420 ", 7) != 0)
			fail_msg("%03xh at %x says: %s", cases[i].status, cases[i].dw0, err.text);
	}
}

static void test_connection(void **state)
{
	(void)state;
	assert_non_null(strstr(refusal_of_connection(NVMF_RDMA_CM_INVALID_HSQSIZE), "less depth"));
	assert_non_null(strstr(refusal_of_connection(NVMF_RDMA_CM_INVALID_HRQSIZE), "less depth"));
	assert_non_null(
		strstr(refusal_of_connection(NVMF_RDMA_CM_INVALID_QID), "fewer I/O queues"));
	assert_non_null(strstr(refusal_of_connection(NVMF_RDMA_CM_NO_RESOURCES), "no room"));
	assert_non_null(
		strstr(refusal_of_connection(NVMF_RDMA_CM_INVALID_CNTLID), "connect again"));
	assert_non_null(strstr(refusal_of_connection(NVMF_RDMA_CM_INVALID_LEN), "protocol error"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
