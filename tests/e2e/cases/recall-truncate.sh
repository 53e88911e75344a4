#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# truncate while a client writes: told, released, key dead, stays short; grown again, it goes on
# limit: 90
serve 32
half=$((16 << 20)) full=$((32 << 20))
client writer hold --write --allocate --try-old-key --range 0:$full "$(target data)"
wait_for 10 "the first grant" said writer '\bgranted\b'
expect "generation" "$(generation)" 1
sleep 0.5

read -r begun ended <<<"$(helper truncate "$files/data" $half)"
expect "size after truncate" "$(size_of "$files/data")" $half
[ $((ended - begun)) -lt $((3000000000 * slow)) ] || fail "truncate took $(((ended - begun) / 1000)) µs"
wait_for 10 "the client told" said writer '\btold\b'
wait_for 10 "the client's release" said writer '\breleased\b'
wait_serving
expect "generation" "$(generation)" 2
wait_for 10 "the client granted again" said writer '\bregranted\b'
timeline=$(status .exports[0].last_recall)
at() { jq -r ".$1" <<<"$timeline"; }
expect "fenced clients" "$(at fenced_clients)" 0
last=0
for step in seen_ns told_ns released_ns keys_dead_ns unlocked_ns retaken_ns serving_ns; do
	[ "$(at $step)" -ge "$last" ] || fail "$step ($(at $step)) comes before the step ahead of it: $timeline"
	last=$(at $step)
done
[ "$(at unlocked_ns)" -le "$ended" ] || fail "truncate returned before the lease was unlocked"

# It writes on in a loop: the file must not grow back, and beyond the end is an error.
for _ in 1 2 3 4 5; do
	sleep 0.2
	expect "size while the client writes" "$(size_of "$files/data")" $half
done
wait_for 10 "a range error" said writer '\brange error'
wait_for 10 "the old key tried" old_key_tried writer
client_alive writer || fail "the client gave up: $(tail -1 "$tmp/writer.out")"
echo beyond >"$tmp/word"
lh_fails 'outside|range|beyond' write --block "$(target data)" $half <"$tmp/word"
lh_fails 'outside|range|beyond' read "$(target data)" $((full - 8)) 8
expect "size after writes beyond" "$(size_of "$files/data")" $half

resize "$files/data" $full
wait_for 10 "generation 3" eval '[ "$(generation)" = 3 ]'
wait_serving
wait_for 10 "granted for the third time" says_at_least writer 2 '\bregranted\b'
# With --allocate the client writes over all of it again: no hole stays.
wait_for 20 "the holes filled" eval '[ "$(status .exports[0].hole_bytes)" = 0 ]'
last_block_written() {
	lh_ok read --block "$(target data)" $((full - 4096)) 4096
	! cmp -s "$tmp/out" <(head -c 4096 /dev/zero)
}
wait_for 20 "the client writing over the whole range" last_block_written
client_end writer INT
old_key_refused writer || fail "no trial of an old key was answered: $(grep '\bold\b' "$tmp/writer.out")"
! said writer 'STILL WORKS' || fail "an old key works: $(grep STILL "$tmp/writer.out")"
# It answered each recall in time: the queues that trying old keys cost are no fences.
expect_text "the client's summary" "$(grep -E '\bended\b' "$tmp/writer.out")" "\\b2 recalls, $(unanswered_trials writer) fences,"
expect "fences that the client tells of: $(grep fenced "$tmp/writer.out")" "$(grep -c '\bfenced\b' "$tmp/writer.out")" "$(unanswered_trials writer)"
expect "recalls" "$(status .exports[0].recalls)" 2
