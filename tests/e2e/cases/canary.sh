#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# freed blocks are given to another file at once and never change, whatever the old key's owner does
# limit: 120
. "$E2E_LIB/blocks.sh"

set_up() {
	use d
	make_file "$files/data" 32
	# Now, since looking at it opens it.
	sync "$files/data"
	blocks_of "$files/data" >"$tmp/before"
	add_export data "$files/data"
	set_option 'recall_deadline_ms = 500;'
	daemon_start
}
one_round() {
	local mode=$1 begun ended shared last
	[ "$full" = no ] || fill_up
	rogue_start "$mode" "$mode" $((4 + 3 * slow))
	wait_for 10 "a grant" grep -q granted "$tmp/$mode.out"
	sleep 0.3
	read -r begun ended <<<"$(helper truncate "$files/data" 4096)"
	fallocate -l $((30 << 20)) "$files/canary" || fail "no room for the canary: the blocks were not freed"
	helper pattern "$files/canary" 0 $((30 << 20)) 'canary: nobody writes here. '
	blocks_of "$files/canary" >"$tmp/after"
	[ $((ended - begun)) -lt $((2500000000 * slow)) ] || fail "truncate took $(((ended - begun) / 1000)) µs with a deadline of 500 ms"
	if [ "$full" = yes ]; then
		shared=$(shared_blocks "$tmp/before" "$tmp/after")
		[ "$shared" -ge 7000 ] || fail "only $shared of the canary's blocks were freed ones: the test proves nothing"
	fi
	helper reread "$files/canary" 'canary: nobody writes here. ' 2 || fail "$mode: the canary changed after truncate returned"
	status=0
	wait "${c_pid[$mode]}" || status=$?
	unset "c_pid[$mode]"
	[ $status -ne 3 ] || fail "$mode: the old key still works: $(grep worked "$tmp/$mode.out" | tail -1)"
	[ $status -eq 0 ] || fail "$mode: the client that misbehaves could not: $(tail -1 "$tmp/$mode.out")"
	grep -q '^refused' "$tmp/$mode.out" || fail "$mode: the old key was never refused"
	last=$(awk '$1 == "worked" { at = $2 } END { print at == "" ? 0 : at }' "$tmp/$mode.out")
	[ "$last" -gt 0 ] || fail "$mode: the key never worked, so the test proves nothing"
	[ "$last" -lt "$ended" ] || fail "$mode: the old key worked $(((last - ended) / 1000)) µs after truncate returned"
	helper check "$files/canary" 0 $((30 << 20)) 'canary: nobody writes here. ' || fail "$mode: the canary changed"
	expect "size of the truncated file" "$(size_of "$files/data")" 4096
	rm -f "$files/canary" "$files/filler"
	wait_serving
}

# Only in the VM is there a file system small enough to fill.
full=${vm:-no}
for mode in keep ignore; do
	set_up
	one_round "$mode"
	if [ "$mode" = ignore ]; then
		expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 1
	else
		expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 0
	fi
	daemon_stop
	rm -rf "$tmp/d" "$files/data"
done
