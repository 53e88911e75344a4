#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# 64 GiB are served at once and registered meanwhile; within a budget what is used gets its registration
# needs: host iwarp
# why: a file of that size, of a file system in a sparse file, is in the page cache
# limit: 90
[ "$(id -u)" = 0 ] || skip "to mount a file system takes root"
truncate -s 80G "$files/image"
mkfs.ext4 -q -F "$files/image" >"$tmp/mkfs" 2>&1 || skip "no file system can be made: $(head -1 "$tmp/mkfs")"
mkdir "$tmp/large"
mount -o loop "$files/image" "$tmp/large" 2>"$tmp/mount" ||
	skip "no file system can be mounted here: $(head -1 "$tmp/mount")"
at_end() { umount -l "$tmp/large" 2>/dev/null || true; }
# Blocks that are allocated and never written are backed.
fallocate -l 64G "$tmp/large/data"
fallocate -l 4G "$tmp/large/beside"

registered() { status ".exports[0].rungs[0].registered_bytes"; }
all_there() { [ "$(registered)" = $((64 << 30)) ]; }
by_key() { stats .nvme_read_region_bytes; }
# ms_since NS
ms_since() { echo $((($(now_ns) - $1) / 1000000)); }

use whole
add_export data "$tmp/large/data"
begun=$(now_ns)
daemon_start
expect "the bytes that are backed" "$(status .exports[0].backed_bytes)" $((64 << 30))
lh_ok read --block "$(target data)" $((63 << 30)) 4096
echo "whole: the first command is answered after $(ms_since "$begun") ms, $(registered) bytes are registered"
wait_for 60 "all to be registered" all_there
echo "whole: all is registered after $(ms_since "$begun") ms"
expect "slices of 64 MiB" "$(status .exports[0].rungs[0].registrations)" 1024
expect "those of the adapter" "$(status '.devices[0] | "\(.registrations) \(.registered_bytes)"')" "1024 $((64 << 30))"
before=$(by_key)
lh_ok read --block "$(target data)" $((63 << 30)) 4096
expect "bytes read from registered memory" $(($(by_key) - before)) 4096
daemon_stop

# A 64th of it may be, and the other export wants some, too.
use part
add_export data "$tmp/large/data"
add_export beside "$tmp/large/beside"
set_option 'max_registered_bytes_per_adapter = "1G"; max_registrations_per_adapter = 1000;'
daemon_start
within() {
	status '.devices[0] | .registered_bytes <= .max_registered_bytes and .registrations <= .max_registrations'
}
is_full() { [ "$(status .devices[0].registered_bytes)" = $((1 << 30)) ]; }
expect "the limits" "$(status '.devices[0] | "\(.max_registrations) \(.max_registered_bytes)"')" "1000 $((1 << 30))"
wait_for 20 "the budget to be used up" is_full
# hot EXPORT OFFSET: through buffers at first, and from registered memory in the end.
hot() {
	local before end=$((SECONDS + 30 * slow)) n=0
	before=$(by_key)
	lh_ok read --block "$(target "$1")" "$2" 4096
	expect "what $1 read from registered memory at first" $(($(by_key) - before)) 0
	while [ "$(by_key)" = "$before" ]; do
		[ $SECONDS -lt $end ] || fail "after $((30 * slow)) s still not: $1 at $2, which is read all the time, is registered"
		lh_ok read --block "$(target "$1")" "$2" 4096
		n=$((n + 1))
		expect "within the budget" "$(within)" true
	done
	echo "part: $1 at $2 is registered after $n more reads"
}
hot data $((60 << 30))
hot data $((33 << 30))
hot beside $((4095 << 20))
expect "the budget is used up still" "$(status .devices[0].registered_bytes)" $((1 << 30))
expect "the same in stats" "$(stats .registered_bytes)" $((1 << 30))
expect "registrations moved" "$(stats '.registrations_moved >= 2')" true
expect "states" "$(status '.exports | map(.state) | join(" ")')" "serving serving"
# Nobody misses anything: nothing is looked at.
sleep 3
a=$(helper cpu "$(pid)")
sleep 2
b=$(helper cpu "$(pid)")
[ $((b - a)) -le $((4 * slow)) ] || fail "idle it used $(((b - a) * 10)) ms of CPU time in 2 s"
# A recall takes what there is, whichever it is.
client reader hold --range 0:1M "$(target data)"
wait_for 10 "a grant" said reader '\bgranted\b'
before=$(generation)
resize "$tmp/large/data" $((64 << 30))
wait_serving
wait_for 20 "the next generation" said reader '\bregranted\b'
[ "$(generation)" -gt "$before" ] || fail "the generation is $before still"
client_end reader INT
wait_for 20 "the budget to be used up again" is_full
daemon_stop

# Slices change places all the time under writers who read what they have written: of 256 there may be 16.
use small
make_file "$files/small" 16
add_export data "$files/small"
set_option 'max_registered_bytes_per_adapter = "1M"; reactors = 2;'
daemon_start
writer() {
	local at=$1 n
	for n in $(seq "$(rounds 40 8)"); do
		head -c 200000 /dev/urandom >"$tmp/$1.new"
		"$leasehold" write --block "$(target data)" "$at" <"$tmp/$1.new" 2>"$tmp/$1.err" || return
		"$leasehold" read --block "$(target data)" "$at" 200000 >"$tmp/$1.old" 2>"$tmp/$1.err" || return
		cmp "$tmp/$1.new" "$tmp/$1.old" >"$tmp/$1.err" 2>&1 || return
		[ $((n % 5)) != 0 ] || at=$(((at + (5 << 20)) % (15 << 20)))
	done
	: >"$tmp/$1.ok"
}
writers=()
for at in 0 1000003 2000005; do
	writer $at &
	writers+=($!)
done
wait "${writers[@]}" || true
for at in 0 1000003 2000005; do
	[ -e "$tmp/$at.ok" ] || fail "the writer that began at $at: $(tail -2 "$tmp/$at.err" | tr '\n' ' ')"
done
expect "within the budget" "$(within)" true
echo "small: $(stats .registrations_moved) slices have lost their place to others"
[ "$(stats .registrations_moved)" -gt 0 ] || fail "nothing was moved: this proves nothing"
daemon_stop
