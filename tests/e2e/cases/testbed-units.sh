#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# unit tests of what no other machine is to be asked for: leases broken by force, a daemon without proof, damaged memory
# needs: vm
# why: they change fs.lease-break-time, and take a page of memory out of use
# limit: 120
# unit TEST FILTER: no other part of it; passed, not skipped.
unit() {
	LEASEHOLD_TEST_DIR=$files LEASEHOLD_TEST_FILTER=$2 "$bin/tests/unit/$1" >"$tmp/$1.out" 2>&1 ||
		fail "$1 $2: $(grep -E 'FAILED|ERROR|rror:' "$tmp/$1.out" | head -3 | tr '\n' ' ')"
	grep -qE '^\[ +PASSED +\] 1 test' "$tmp/$1.out" || fail "$1 $2 was not run: $(tail -3 "$tmp/$1.out" | tr '\n' ' ')"
}
unit test_tenure test_by_force
unit test_holding test_no_proof
unit test_holding_watch test_no_proof
unit test_guard test_poison
sed -n 's/^\(damaged page: .*\)/  \1/p' "$tmp/test_guard.out"
