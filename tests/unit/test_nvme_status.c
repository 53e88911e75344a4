// SPDX-License-Identifier: BSD-3-Clause
/* What the file system says, as hosts hear it: what went wrong, and whether to try again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nvme/io.h"

static void test_io_status(void **state)
{
	static const struct {
		int err;
		uint16_t status;
	} rows[] = {
		{0, NVME_SC_SUCCESS},
		{-ERANGE, NVME_SC_LBA_RANGE | NVME_SC_DNR},
		{-ENOSPC, NVME_SC_CAP_EXCEEDED | NVME_SC_DNR},
		{-EDQUOT, NVME_SC_CAP_EXCEEDED | NVME_SC_DNR},
		{-EFBIG, NVME_SC_CAP_EXCEEDED | NVME_SC_DNR},
		{-EROFS, NVME_SC_NS_WRITE_PROTECTED | NVME_SC_DNR},
		{-EPERM, NVME_SC_NS_WRITE_PROTECTED | NVME_SC_DNR},
		{-EIO, NVME_SC_WRITE_FAULT},
		{-ENODEV, NVME_SC_NS_NOT_READY},
		{-EAGAIN, NVME_SC_NS_NOT_READY},
		{-EBUSY, NVME_SC_NS_NOT_READY},
		{-EINTR, NVME_SC_NS_NOT_READY},
		{-ENOMEM, NVME_SC_INTERNAL},
		/* Nothing that a file says: whatever it is, it will be so again. */
		{-EINVAL, NVME_SC_INTERNAL | NVME_SC_DNR},
		{-EFAULT, NVME_SC_INTERNAL | NVME_SC_DNR},
		{-ECANCELED, NVME_SC_INTERNAL | NVME_SC_DNR},
		{-ESTALE, NVME_SC_INTERNAL | NVME_SC_DNR},
		{-ENOTTY, NVME_SC_INTERNAL | NVME_SC_DNR},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(io_status(rows[i].err), rows[i].status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_io_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
