#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# libleasehold keeps what its header promises: unconfirmed bytes are replayed or reported, holds, wrong calls
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 180
use d
make_file "$files/data" 8
make_file "$files/half" 4
truncate -s 8M "$files/half"
add_export data "$files/data"
add_export half "$files/half"
set_option 'recall_deadline_ms = 300;'
daemon_start
promises() {
	local status=0
	timeout -k 5 $((50 * slow)) "$bin/tests/e2e/promises" "$(target "$1")" "$files/$1" "$2" >"$tmp/$2.out" 2>&1 || status=$?
	client_reports "$tmp/$2.out"
	[ $status -eq 0 ] || fail "promises $2 ended with $status: $(tail -1 "$tmp/$2.out")"
	wait_for 5 "its grants gone" grants_are 0
	wait_serving 0
	wait_serving 1
}
for what in not-by-read not-by-flush durable durable-recall replay replay-order dead dead-close dead-meanwhile made-good forgotten unhold narrow wrong patient punched wait-any-many; do promises data $what; done
promises half no-fallback
make_file "$files/data" 8
wait_serving
promises data beyond
for what in deallocate deallocate-order wait-any; do
	make_file "$files/data" 8
	wait_serving
	promises data $what
done
# The program says when the daemon is to go, and when to come.
make_file "$files/data" 8
wait_serving
: >"$tmp/unhold-lost.out"
timeout -k 5 $((50 * slow)) "$bin/tests/e2e/promises" "$(target data)" "$files/data" unhold-lost >"$tmp/unhold-lost.out" 2>&1 &
c_pid[unhold-lost]=$!
wait_for 10 "grants that are to be lost" said unhold-lost '^kill it'
daemon_kill
wait_for 15 "what it took to unhold without a connection" said unhold-lost '^start it'
daemon_start
client_end unhold-lost
grep "^used" "$tmp/unhold-lost.out"
