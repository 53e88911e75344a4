#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the fabrics' shared test suite passes over verbs, IPv4 and IPv6
# needs: vm
# why: it takes an RDMA device
# limit: 120
[ "${LEASEHOLD_TESTBED_RDMA-}" != siw ] || skip "for rxe; with siw there is siw-peer"
status=0
LEASEHOLD_TEST_ODP=1 "$bin/tests/unit/test_fabric_verbs" >"$tmp/suite.out" 2>&1 || status=$?
[ $status -eq 0 ] || fail "exit status $status: $(grep -E 'ERROR|error: Failure|FAILED' "$tmp/suite.out" | head -3 | tr '\n' ' ')"
# Debian 12's rdma-core has no FLUSH; nothing else is left out.
left_out=$(sed -n 's/^\[  SKIPPED \] \(test_[a-z_]*\)$/\1/p' "$tmp/suite.out" | sort -u | grep -v '^test_flush$' || true)
[ -z "$left_out" ] || fail "left out: $left_out"
