#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# deleted, its export removed and another one made, over and over, while a client writes
# limit: 600
. "$E2E_CASES/../storm.sh"
[ "$grants" = 0 ] || grants=1 # one client
taken=0 written=0 arena_bytes=$((20 << 20))
serve_arena
[ -z "$vm" ] || leave $((2 << 20))
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ] || [ "$taken" -lt 2 ]; do
	load_blindly 0 "$arena_bytes"
	wait_for 20 "the client writing" said blind '^writing'
	seconds=0 arena=0 take unlink "$grants" "$leasehold" export remove data --socket "$tmp/d/admin.sock"
	[ -z "$vm" ] || was_given 80
	client_alive blind || fail "the client ended with its export: $(tail -1 "$tmp/blind.out")"
	client_end blind INT
	written=$((written + $(counted blind writes)))
	make_file "$files/data" 21
	# As it was configured: on the same rung, which needs no other self-test, nor room for one.
	lh_ok export add data --adopt --socket "$tmp/d/admin.sock"
	on_its_rung
	taken=$((taken + 1))
done
echo "  $written writes in $taken rounds"
[ "$written" -gt "$taken" ] || fail "the clients wrote $written times in $taken rounds: this proves nothing"
