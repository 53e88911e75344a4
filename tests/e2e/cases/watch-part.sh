#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tenure = watch: a local program that uses the lower half of a file is a recall of that; in the upper half nobody notices
# needs: host
# why: it is the same in the emulated machine (watch-truncate runs there), and takes minutes
# limit: 180
half=$((16 << 20)) mib=$((1 << 20))
ranges() { status .exports[0].range_recalls; }
part_is_back() { [ "$(status .exports[0].last_range_recall.serving_ns)" -gt 0 ]; }
undisturbed() {
	expect "generation" "$(generation)" 2
	expect "recalls of the whole" "$(status .exports[0].recalls)" 1
	! said upper '\btold\b' || fail "the client in the upper half was told"
	client_alive upper || fail "the client in the upper half gave up"
}
serve_watch 32
# The open is a recall of the whole; then it stays open.
exec 7<>"$files/data"
wait_for 10 "generation 2" eval '[ "$(generation)" = 2 ]'
wait_serving
client upper hold --write --range $half:$half "$(target data)"
wait_for 10 "a grant in the upper half" said upper '\bgranted\b'

# One in the lower half that goes on with its key: it is dead when the write returns.
rogue_start keep keep $((3 + 2 * slow)) 0 $mib
wait_for 10 "a grant in the lower half" grep -q granted "$tmp/keep.out"
sleep 0.3
printf 'local bytes 0 ' >&7 || fail "the local write failed"
ended=$(helper now)
[ "$(ranges)" -ge 1 ] || fail "the local write was no recall"
expect "recalled from" "$(status '.exports[0].last_range_recall | "\(.offset) \(.length)"')" "0 4096"
expect "clients that were asked" "$(status .exports[0].last_range_recall.clients)" 1
undisturbed
status=0
wait "${c_pid[keep]}" || status=$?
unset "c_pid[keep]"
[ $status -eq 0 ] || fail "the client that misbehaves ended with $status: $(tail -1 "$tmp/keep.out")"
last=$(awk '$1 == "worked" { at = $2 } END { print at == "" ? 0 : at }' "$tmp/keep.out")
[ "$last" -gt 0 ] || fail "the key never worked, so the test proves nothing"
[ "$last" -lt "$ended" ] || fail "the old key worked $(((last - ended) / 1000)) µs after the local write returned"
wait_for 10 "the part served again" part_is_back

# One that behaves, again and again: it gets its bytes back, of the same generation.
client lower hold --write --range 0:$half "$(target data)"
wait_for 10 "a grant in the lower half" said lower '\bgranted\b'
for n in 1 2 3; do
	before=$(ranges)
	printf 'local bytes %s ' $n >&7 || fail "the local write failed"
	[ "$(ranges)" -gt "$before" ] || fail "local write $n was no recall"
	wait_for 10 "the client told" says_at_least lower $n '\btold\b'
	wait_for 10 "the client granted again" says_at_least lower $n '\bregranted generation 2\b'
	wait_for 10 "the part served again" part_is_back
	undisturbed
done
client_end lower INT
client_end upper INT
expect_text "the client's summary" "$(grep -E '\bended\b' "$tmp/upper.out")" '\b0 recalls, 0 fences, 0 new grants,'
expect "operations that got EBUSY" "$(stats .watch_expired)" 0
exec 7>&-
