#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# an adapter that can pin, page on demand or neither: what is served how, and what is refused
# needs: host
# why: the software fabric plays the adapters
# limit: 120
make_file "$files/data" 8
make_file "$tmp/a" 8
# play MEMORY REGISTRATION: a daemon of its own
play() {
	use "$1-$2"
	set_option "iwarp = { memory = \"$1\"; };"
	add_export data "$files/data" "registration = \"$2\";"
}
served() {
	play "$1" "$2"
	daemon_start
	expect "rung of $1, $2" "$(status .exports[0].rungs[0].rung)" "$3"
	expect "number of these" "$(stats ".$4")" 1
	expect "rung in stats" "$(stats '.rungs | map("\(.export) \(.device) \(.rung)") | join(",")')" "data iwarp $3"
	expect "reason in stats" "$(stats '.rungs[0].why')" "$(status .exports[0].rungs[0].why)"
	lh_ok stats --socket "$tmp/$D/admin.sock"
	expect_text "stats" "$(cat "$tmp/out")" "$6"
	lh_ok put -o json "$tmp/a" "$(target data)"
	expect "way of $1, $2" "$(jq -r .way "$tmp/out")" "$5"
	lh_ok get --block "$(target data)" "$tmp/b"
	same_files "$tmp/a" "$tmp/b"
	daemon_stop
}
served any auto pinned rungs_pinned direct 'pinned: works'
served odp auto odp rungs_odp direct 'pinned: .*; odp: works'
served any odp odp rungs_odp direct 'odp: works'
served none auto staged rungs_staged block 'pinned: .*; odp: not offered'
expect_text "the log" "$(log)" 'data: with iwarp bytes are copied .*pinned: .*odp: '
play none odp
daemon_refuses 'data.*no adapter can register.*registration = "auto"'
play none pinned
daemon_refuses 'data.*no adapter can register'
play pinned odp
daemon_refuses 'data.*iwarp.*not offered'
