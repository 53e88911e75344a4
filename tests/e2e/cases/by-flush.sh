#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# where RDMA FLUSH is obeyed by the target's adapter, libleasehold confirms by it, and keeps its promises
# limit: 240
use d
make_file "$files/data" 8
add_export data "$files/data"
set_option 'recall_deadline_ms = 300;'
daemon_start
rung=".exports[0].rungs[0]"
[ "$(status $rung.flush_proven)" = true ] || skip "no RDMA FLUSH here: $(status $rung.why)"
lh_ok list "$(target)" -o json
expect "the level" "$(jq -r '.[0].durability' "$tmp/out")" flush

for what in by-flush durable durable-recall replay replay-order dead dead-close dead-meanwhile made-good forgotten unhold; do
	status=0
	timeout -k 5 $((50 * slow)) "$bin/tests/e2e/promises" "$(target data)" "$files/data" $what >"$tmp/$what.out" 2>&1 || status=$?
	client_reports "$tmp/$what.out"
	[ $status -eq 0 ] || fail "promises $what ended with $status: $(tail -1 "$tmp/$what.out")"
	wait_for 5 "its grants gone" grants_are 0
	wait_serving 0
done
