#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# our iWARP and the kernel's understand each other, either one connecting, with and without CRC
# needs: vm
# why: it takes Linux siw (scripts/testbed --rdma siw)
# limit: 120
[ "${LEASEHOLD_TESTBED_RDMA-}" = siw ] || skip "run it under scripts/testbed --rdma siw"
status=0
"$bin/tests/unit/test_iwarp_siw" >"$tmp/suite.out" 2>&1 || status=$?
[ $status -eq 0 ] || fail "exit status $status: $(grep -E 'FAILED|skip' "$tmp/suite.out" | head -3 | tr '\n' ' ')"
