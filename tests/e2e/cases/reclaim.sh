#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# reclaim a range: only who holds some of it is asked, all else goes on; reclaim all: others may open it
# limit: 150
serve 192
socket=$tmp/d/admin.sock
mib=$((1 << 20)) half=$((96 << 20))
reclaim() { lh_ok reclaim --socket "$socket" "$@" data; }
load_went() { [ "$(grep -c round "$tmp/load.out")" -ge 2 ]; }
reclaimed_is() { [ "$(status ".exports[0].reclaimed | length")" = "$1" ]; }

client low hold --write --try-old-key --range 8M:$((half - 8 * mib)) "$(target data)"
client high hold --write --range $half:$half "$(target data)"
wait_for 10 "a grant for low" said low '\bgranted\b'
wait_for 10 "a grant for high" said high '\bgranted\b'

head -c 65536 /dev/urandom >"$tmp/a"
: >"$tmp/go"
# Where nobody reclaims until the end.
load_bytes=$(($(rounds 8 1) * mib))
(while [ -e "$tmp/go" ]; do
	"$leasehold" read --block "$(target data)" $((72 * mib)) "$load_bytes" >/dev/null || exit 1
	echo round
done) >"$tmp/load.out" 2>&1 &
load=$!

times=$(rounds 3 1)
for _ in $(seq "$times"); do
	reclaim --range 8M:4M --hold 3600
	wait_for 5 "low told" said low '\btold\b'
	expect "generation" "$(generation)" 1
	expect "state" "$(export_state)" serving
	expect "recalls" "$(status .exports[0].recalls)" 0
	expect "the range" "$(status '.exports[0].reclaimed[0] | "\(.offset) \(.length) \(.whole)"')" "$((8 * mib)) $((4 * mib)) false"
	! said high '\btold\b' || fail "the client of the other half was told"
	# What is reclaimed goes through the file system, and is right.
	fs_before=$(stats .nvme_read_fs_bytes)
	lh_ok read --block "$(target data)" $((9 * mib)) 65536
	[ "$(stats .nvme_read_fs_bytes)" -ge $((fs_before + 65536)) ] || fail "a block of the range did not come through the file system"
	direct_before=$(stats .nvme_read_region_bytes)
	lh_ok read --block "$(target data)" $((half + 40 * mib)) 65536
	[ "$(stats .nvme_read_region_bytes)" -ge $((direct_before + 65536)) ] || fail "a block elsewhere did not come straight from the file's memory"
	reclaim --end
	wait_for 10 "the end of the hold" reclaimed_is 0
done
expect "range recalls" "$(status .exports[0].range_recalls)" "$times"
# It ends by itself, too.
reclaim --range 8M:4M --hold $((3 * slow))
expect "range recalls" "$(status .exports[0].range_recalls)" $((times + 1))
wait_for 15 "the end of the hold" reclaimed_is 0
wait_for 10 "the old key tried" old_key_tried low
wait_for 10 "low granted again" says_at_least low 1 '\bregranted\b'
direct_before=$(stats .nvme_read_region_bytes)
lh_ok read --block "$(target data)" $((9 * mib)) 65536
[ "$(stats .nvme_read_region_bytes)" -ge $((direct_before + 65536)) ] || fail "the range is not registered again"

# Several at once, and the end before their time.
reclaim --range 8M:1M --hold 3600
reclaim --range 8704K:1M --hold 3600
reclaim --range 130M: --hold 3600
wait_for 10 "high told" said high '\btold\b'
reclaimed_is 3 || fail "three are expected: $(status .exports[0].reclaimed)"
lh_ok write --block "$(target data)" $((131 * mib)) <"$tmp/a"
# Its holder writes there too, by block commands: only that it works is to be seen.
lh_ok read --block "$(target data)" $((131 * mib)) 65536
reclaim --end
wait_for 10 "their end" reclaimed_is 0
wait_for 10 "high granted again" said high '\bregranted\b'
expect "generation" "$(generation)" 1
expect "bytes in holes" "$(status .exports[0].hole_bytes)" 0

wait_for 30 "rounds of the load" load_went
rm "$tmp/go"
wait "$load" || fail "block commands failed: $(tail -1 "$tmp/load.out")"
client_end low INT
client_end high INT
expect_text "the summary of high" "$(grep -E '\bended\b' "$tmp/high.out")" '\b1 recalls, 0 fences,'
expect "fences that low saw" "$(grep -c '\bfenced\b' "$tmp/low.out" || true)" "$(unanswered_trials low)"
expect "fences" "$(stats .clients_fenced)" 0
! said low 'STILL WORKS' || fail "an old key works: $(grep STILL "$tmp/low.out")"

# A range that goes beyond the end is a range still: the generation lives, and is granted again.
client all hold --write "$(target data)"
wait_for 10 "a grant for all" said all '\bgranted\b'
reclaim --range 0:9223372036854775807 --hold 1
wait_for 10 "all granted again" said all '\bregranted\b'
expect "generation" "$(generation)" 1
client_end all INT

# All of it: the lease goes too, and stays away as long as was said.
reclaim --hold 3600
expect "state" "$(export_state)" released
[ -z "$(lease_of "$(pid)")" ] || fail "the lease is still held: $(lease_of "$(pid)")"
lh_ok read --block "$(target data)" 0 65536
truncate -s $((64 * mib)) "$files/data" || fail "truncate had to wait"
sleep 1
expect "state" "$(export_state)" released
reclaim --end
wait_serving
expect "size" "$(status .exports[0].size_bytes)" $((64 * mib))
expect "generation" "$(generation)" 2

lh_fails 'OFFSET:LENGTH' reclaim --socket "$socket" --range 5 data
lh_fails 'no export "nothing"' reclaim --socket "$socket" nothing
lh_fails 'behind its end' reclaim --socket "$socket" --range 64M:1M data
lh_fails 'at most' reclaim --socket "$socket" --hold 100000 data
lh_fails 'takes nothing else' reclaim --socket "$socket" --end --hold 5 data
# One that holds is in nobody's way at the end.
reclaim --range 1M:1M --hold 3600
reclaim --hold 3600
