#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# what was promised before the reset is in the file, and the file is served again
# limit: 120
results=/run/results
before=${files%/*}/$(cat $results/place)/data
expect "its size" "$(size_of "$before")" $((12 << 20))
"$bin/tests/reset/reset-witness" check "$before" $results || fail "not all is there"
use d
add_export data "$before" "registration = \"$LEASEHOLD_RESET_RUNG\";"
daemon_start
lh_ok get "$(target data)" "$tmp/copy"
daemon_stop
cmp "$tmp/copy" "$before" || fail "it is not what is served"
