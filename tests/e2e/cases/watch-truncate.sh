#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tenure = watch: truncate is a recall of what goes, and the freed blocks are another file's; it goes on from there
# limit: 180
serve_watch 32
half=$((16 << 20)) full=$((32 << 20))
client writer hold --write --allocate --try-old-key --range 0:$full "$(target data)"
wait_for 10 "the first grant" said writer '\bgranted\b'
sleep 0.5
read -r begun ended <<<"$(helper truncate "$files/data" $half)"
expect "size after truncate" "$(size_of "$files/data")" $half
[ $((ended - begun)) -lt $((3000000000 * slow)) ] || fail "truncate took $(((ended - begun) / 1000)) µs"
wait_for 10 "the client told" said writer '\btold\b'
wait_for 10 "the client's release" said writer '\breleased\b'
wait_serving
wait_for 10 "the new size" eval '[ "$(status .exports[0].size_bytes)" = '$half' ]'
wait_for 10 "the part served again" eval '[ "$(status .exports[0].last_range_recall.serving_ns)" -gt 0 ]'
timeline=$(status .exports[0].last_range_recall)
at() { jq -r ".$1" <<<"$timeline"; }
expect "recalled from" "$(at offset)" $half
expect "clients" "$(at clients)" 1
expect "fenced clients" "$(at fenced_clients)" 0
last=0
for step in seen_ns proven_ns serving_ns; do
	[ "$(at $step)" -ge "$last" ] || fail "$step ($(at $step)) comes before the step ahead of it: $timeline"
	last=$(at $step)
done
[ "$(at proven_ns)" -ge "$begun" ] || fail "released before it was asked for"
[ "$(at proven_ns)" -le "$ended" ] || fail "truncate returned before the file was let go"
expect "generation" "$(generation)" 1
expect "recalls of the whole" "$(status .exports[0].recalls)" 0
wait_for 10 "the client granted again" said writer '\bregranted\b'
for _ in 1 2 3; do
	sleep 0.2
	expect "size while the client writes" "$(size_of "$files/data")" $half
done
wait_for 10 "the old key tried" old_key_tried writer
resize "$files/data" $full
wait_for 10 "generation 2" eval '[ "$(generation)" = 2 ]'
wait_serving
# Its other half is filled for it, a page at a time on this kind of memory; the first may be granted before.
wait_for 20 "the client granted what was grown" said writer "granted generation 2, $full bytes"
client_end writer INT
old_key_refused writer || fail "no trial of an old key was answered: $(grep '\bold\b' "$tmp/writer.out")"
! said writer 'STILL WORKS' || fail "an old key works: $(grep STILL "$tmp/writer.out")"
expect_text "the client's summary" "$(grep -E '\bended\b' "$tmp/writer.out")" "\\b2 recalls, $(unanswered_trials writer) fences,"
expect "recalls of the whole" "$(status .exports[0].recalls)" 1
wait_for 10 "no grant" grants_are 0

# Others that change the file: each is a recall, or finds it released still.
for change in "fallocate -p -o 1048576 -l 1048576" "fallocate -z -o 0 -l 65536" "fallocate -c -o 4194304 -l 4194304" \
	"dd if=/dev/urandom bs=1M count=4 oflag=append conv=notrunc status=none of="; do
	before=$(status .exports[0].recalls)
	client reader hold "$(target data)"
	wait_for 20 "a grant" said reader '\bgranted\b'
	case $change in
	dd*) timeout $((10 * slow)) $change"$files/data" || fail "$change failed" ;;
	*) timeout $((10 * slow)) $change "$files/data" || fail "$change failed" ;;
	esac
	[ "$(status .exports[0].recalls)" -gt "$before" ] || fail "$change was no recall"
	wait_serving
	client_end reader INT
done

# A client that goes on with its key after it gave it back: the blocks that it names are a canary's.
rogue_start keep keep $((3 + 2 * slow))
wait_for 10 "a grant" grep -q granted "$tmp/keep.out"
sleep 0.3
read -r begun ended <<<"$(helper truncate "$files/data" 4096)"
fallocate -l $((16 << 20)) "$files/canary"
helper pattern "$files/canary" 0 $((16 << 20)) 'canary: nobody writes here. '
helper reread "$files/canary" 'canary: nobody writes here. ' 1 || fail "the canary changed after truncate returned"
status=0
wait "${c_pid[keep]}" || status=$?
unset "c_pid[keep]"
[ $status -eq 0 ] || fail "the client that misbehaves ended with $status: $(tail -1 "$tmp/keep.out")"
last=$(awk '$1 == "worked" { at = $2 } END { print at == "" ? 0 : at }' "$tmp/keep.out")
[ "$last" -gt 0 ] || fail "the key never worked, so the test proves nothing"
[ "$last" -lt "$ended" ] || fail "the old key worked $(((last - ended) / 1000)) µs after truncate returned"
helper check "$files/canary" 0 $((16 << 20)) 'canary: nobody writes here. ' || fail "the canary changed"
wait_serving
expect "size of the truncated file" "$(size_of "$files/data")" 4096
