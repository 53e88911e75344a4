#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# deleted, its export removed and another one made, over and over, while a client writes
# limit: 600
. "$E2E_CASES/../storm.sh"
taken=0 written=0 arena_bytes=$((20 << 20))
serve_arena
# Also for the self-test's file, when the export is made anew: xfs keeps some back.
[ -z "$vm" ] || leave $((8 << 20))
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ] || [ "$taken" -lt 2 ]; do
	load blind 2 range 0 "$arena_bytes" blind
	seconds=0 arena=0 take unlink 1 "$leasehold" export remove data --socket "$tmp/d/admin.sock"
	[ -z "$vm" ] || was_given 80
	client_end blind INT
	written=$((written + $(counted blind writes)))
	make_file "$files/data" 21
	lh_ok export add data "$files/data" --adopt --socket "$tmp/d/admin.sock"
	taken=$((taken + 1))
done
[ "$written" -gt "$taken" ] || fail "the clients wrote $written times in $taken rounds: this proves nothing"
