#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# odp_release = at-once: a landlord waits for no client, and what he frees never changes; refused where it cannot be
# limit: 200
. "$E2E_LIB/blocks.sh"

# set_up [KEYS]: unless there is a file already.
set_up() {
	use d
	[ -e "$files/data" ] || make_file "$files/data" 32
	sync "$files/data"
	blocks_of "$files/data" >"$tmp/before"
	add_export data "$files/data" "odp_release = \"at-once\"; ${1-}"
	set_option "recall_deadline_ms = $deadline;"
	daemon_start
}
again() {
	daemon_stop
	rm -rf "$tmp/d" "$files/data"
}
in_force() { status .exports[0].odp_release; }

# not_in_force REGEX: as without the wish, and people are told.
not_in_force() {
	expect "odp_release" "$(in_force)" after-recall
	expect_text "odp_release_why" "$(status .exports[0].odp_release_why)" "$1"
	expect_text "a warning" "$(status .exports[0].warnings)" "at-once is not in force: $1"
	expect_text "the log" "$(log)" "at-once.*is not in force.*: $1"
}

all_registered() { [ "$(status .exports[0].rungs[0].registered_bytes)" = $((320 << 20)) ]; }

deadline=10000
if [ "$fabric" = iwarp ]; then
	deadline=700
	for memory in any odp; do
		use d
		set_option "iwarp = { memory = \"$memory\"; };"
		set_up 'registration = "auto";'
		not_in_force 'the software fabric copies by itself'
		rogue_start silent ignore 4
		wait_for 10 "a grant" said silent granted
		read -r begun ended <<<"$(helper truncate "$files/data" 4096)"
		[ $((ended - begun)) -ge 600000000 ] || fail "truncate returned after $(((ended - begun) / 1000)) µs, before the deadline"
		expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 1
		expect "closed" "$(status .exports[0].last_recall.closed_ns)" 0
		client_end silent
		again
	done
	set_up 'registration = "staged";'
	not_in_force 'nothing is registered on demand'
	exit 0
fi

set_up
case $(status .exports[0].rungs[0].rung) in
odp) ;;
*)
	not_in_force '.*'
	skip "nothing is registered on demand here: $(status .exports[0].rungs[0].why)"
	;;
esac
expect "closing" "$(status .exports[0].rungs[0].closing_proven)" true
expect "odp_release" "$(in_force)" at-once

# at_once WHAT: nobody who does not answer was waited for. Half of the deadline is much more than it may take, but
# in the VM everything takes long.
at_once() {
	local took
	took=$(status '.exports[0].last_recall | .unlocked_ns - .seen_ns')
	[ "$took" -lt $((deadline * 500000)) ] || fail "$1: the file was let go after $((took / 1000)) µs: who does not answer is waited for"
	expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 0
	echo "$1 took $(((ended - begun) / 1000)) us; in ns after the break was seen: $(status .exports[0].last_recall |
		jq -c '.seen_ns as $s | {drained: (.drained_ns - $s), closed: (if .closed_ns > 0 then .closed_ns - $s else null end), unlocked: (.unlocked_ns - $s), keys_dead: (.keys_dead_ns - $s)}')"
}
# Since the landlord went on the old key never worked.
old_key_dead() {
	local last
	status=0
	wait "${c_pid[$1]}" || status=$?
	unset "c_pid[$1]"
	[ $status -eq 0 ] || fail "the old key still works, or could not be tried ($status): $(tail -1 "$tmp/$1.out")"
	said "$1" '^refused' || fail "the old key was never refused"
	last=$(awk '$1 == "worked" { at = $2 } END { print at == "" ? 0 : at }' "$tmp/$1.out")
	[ "$last" -gt 0 ] || fail "the key never worked, so the test proves nothing"
	[ "$last" -lt "$ended" ] || fail "the old key worked $(((last - ended) / 1000)) µs after the landlord went on"
}

# Freed blocks are another file's at once, and never change.
[ -z "$vm" ] || fill_up
rogue_start ignorer ignore $((4 + 3 * slow))
wait_for 10 "a grant" said ignorer granted
sleep 0.3
read -r begun ended <<<"$(helper truncate "$files/data" 4096)"
fallocate -l $((30 << 20)) "$files/canary" || fail "no room for the canary: the blocks were not freed"
helper pattern "$files/canary" 0 $((30 << 20)) 'canary: nobody writes here. '
if [ -n "$vm" ]; then
	blocks_of "$files/canary" >"$tmp/after"
	shared=$(shared_blocks "$tmp/before" "$tmp/after")
	[ "$shared" -ge 7000 ] || fail "only $shared of the canary's blocks were freed ones: the test proves nothing"
fi
helper reread "$files/canary" 'canary: nobody writes here. ' 2 || fail "the canary changed after truncate returned"
at_once truncate
[ $((ended - begun)) -lt $((deadline * 500000)) ] || fail "truncate took $(((ended - begun) / 1000)) µs"
old_key_dead ignorer
helper check "$files/canary" 0 $((30 << 20)) 'canary: nobody writes here. ' || fail "the canary changed"
expect "size of the truncated file" "$(size_of "$files/data")" 4096
rm -f "$files/canary" "$files/filler"
wait_serving
lh_ok get --direct "$(target data)" "$tmp/back"
again

# A hole stays one, though who does not answer goes on writing to it; block commands go on meanwhile. There are
# more registrations than can be ended meanwhile: they go behind the landlord's back.
fallocate -l 320M "$files/data"
set_up
wait_for 30 "all of it registered" all_registered
rogue_start ignorer ignore $((4 + 3 * slow)) 0 $((8 << 20))
wait_for 10 "a grant" said ignorer granted
make_file "$tmp/part" 2
lh_ok put --block --offset 16M "$tmp/part" "$(target data)"
client writer hold --write --range 20M:4M "$(target data)"
wait_for 10 "a second grant" said writer '\bgranted\b'
suspend "${c_pid[writer]}"
begun=$(now_ns)
fallocate -p -o 0 -l $((8 << 20)) "$files/data"
ended=$(now_ns)
at_once "a hole"
[ "$(status .exports[0].last_recall.closed_ns)" -gt 0 ] || fail "the memory was not closed: the landlord waited for every key"
lh_ok put --block --offset 16M "$tmp/part" "$(target data)"
old_key_dead ignorer
wait_serving
expect "bytes in holes" "$(status .exports[0].hole_bytes)" $((8 << 20))
kill -CONT "${c_pid[writer]}"
wait_for 30 "the stopped client granted again" said writer '\bregranted\b'
lh_ok get --offset 16M --length 2M "$(target data)" "$tmp/back"
same_files "$tmp/part" "$tmp/back"
client_end writer INT
expect "at once" "$(stats .recalls_at_once)" 1
