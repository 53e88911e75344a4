#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tenure = watch: the daemon killed, or stopped, while local processes wait: they go on, and no key works then
# needs: host
# why: it is the same in the emulated machine (watch-truncate runs there), and takes minutes
# limit: 180
make_round() {
	rogue_start "$1" ignore $((4 + 2 * slow))
	wait_for 10 "a grant" grep -q granted "$tmp/$1.out"
	sleep 0.3
	"${python[@]}" "$lib/helper.py" truncate "$files/data" 4096 >"$tmp/$1-truncate.out" &
	landlord=$!
	sleep 0.5
	kill -0 $landlord || fail "the truncate did not wait for the recall"
}
check_round() {
	local begun ended status=0 last
	wait $landlord || fail "truncate failed"
	read -r begun ended <"$tmp/$1-truncate.out"
	# A stop asks the client first, as long as any recall: 3 s.
	[ $((ended - begun)) -lt $((4500000000 * slow)) ] || fail "truncate took $(((ended - begun) / 1000)) µs after $1"
	expect "size" "$(size_of "$files/data")" 4096
	wait "${c_pid[$1]}" || status=$?
	unset "c_pid[$1]"
	[ $status -ne 3 ] || fail "$1: the old key still works"
	last=$(awk '$1 == "worked" { at = $2 } END { print at == "" ? 0 : at }' "$tmp/$1.out")
	[ "$last" -gt 0 ] || fail "$1: the key never worked, so the test proves nothing"
	[ "$last" -lt "$ended" ] || fail "$1: the old key worked $(((last - ended) / 1000)) µs after truncate returned"
}
use d
set_option 'recall_deadline_ms = 3000;'
serve_watch 32
make_round killed
daemon_kill
check_round killed
# Nobody watches: local processes do not wait, and the next daemon takes over.
read -r begun ended <<<"$(helper open "$files/data")"
[ $((ended - begun)) -lt $((1000000000 * slow)) ] || fail "open(2) took $(((ended - begun) / 1000)) µs after kill -9"
fallocate -l 32M "$files/data"
daemon_start
make_round stopped
daemon_stop busy
check_round stopped
truncate -s 32M "$files/data"
daemon_start
lh_ok read "$(target data)" 0 4096
