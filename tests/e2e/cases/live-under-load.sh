#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# many times add and remove, under load on another export and on the same: no error elsewhere, nothing grows
# limit: 300
serve 8
socket=$tmp/d/admin.sock
make_file "$files/b" 4
make_file "$tmp/a" 8
make_file "$tmp/small" 4
: >"$tmp/go"
# On another export: no error, right bytes.
elsewhere() {
	while [ -e "$tmp/go" ]; do
		"$leasehold" put "$1" "$tmp/a" "$(target data)" || return 1
		"$leasehold" get "$1" "$(target data)" "$tmp/back$1" || return 1
		cmp "$tmp/a" "$tmp/back$1" || return 1
		echo round
	done
}
# On the same: errors that say so, none that hangs or dies.
same() {
	local status
	while [ -e "$tmp/go" ]; do
		status=0
		timeout -k 5 60 "$leasehold" put "$1" "$tmp/small" "$(target b)" || status=$?
		[ $status -lt 124 ] || return 1
		[ $status -ne 0 ] || echo round
	done
}
elsewhere --block >"$tmp/elsewhere.out" 2>&1 &
load=($!)
elsewhere --direct >"$tmp/elsewhere-direct.out" 2>&1 &
load+=($!)
same --block >"$tmp/same.out" 2>&1 &
load+=($!)
same --direct >"$tmp/same-direct.out" 2>&1 &
load+=($!)

# Of files: what is anonymous comes and goes with the allocator.
maps() { awk 'NF >= 6 && $6 ~ /^\//' "/proc/$(pid)/maps" | wc -l; }
keys() { status '.exports | map(.keys) | add'; }
count=$(rounds 100 6) early=$(rounds 10 3)
for n in $(seq "$count"); do
	lh_ok export add b "$files/b" --socket "$socket"
	# Some are removed at once, some in the midst of what hosts do.
	[ $((n % 3)) = 0 ] || sleep 0.0$((n % 7))5
	lh_ok export remove b --socket "$socket"
	[ "$n" != "$early" ] || maps_early=$(maps)
done
rm "$tmp/go"
for p in "${load[@]}"; do
	wait "$p" || fail "a client failed: $(tail -qn1 "$tmp"/elsewhere*.out "$tmp"/same*.out)"
done
for name in elsewhere elsewhere-direct; do
	[ "$(grep -c round "$tmp/$name.out")" -ge 2 ] || fail "$name came to nothing: $(tail -1 "$tmp/$name.out")"
done
client_reports "$tmp"/elsewhere*.out "$tmp"/same*.out
expect "exports" "$(status '.exports | length')" 1
expect "added and removed" "$(stats .nvme_namespaces_removed)" "$count"
expect "queues cut" "$(stats .nvme_namespace_cuts)" 0
wait_serving
expect "keys" "$(keys)" "$(status .exports[0].keys)"
one_lock
expect "leases" "$(lease_of "$(pid)" | wc -l)" 1
no_map_of_b() { ! grep -q "$files/b" "/proc/$(pid)/maps"; }
wait_for 5 "no mapping of what was removed" no_map_of_b
maps_flat() { [ "$(maps)" -le $((maps_early + 4)) ]; }
wait_for 10 "as few mappings as after $early rounds ($maps_early)" maps_flat
daemon_flat
# And it is all there once more.
lh_ok export add b "$files/b" --socket "$socket"
lh_ok put --direct "$tmp/small" "$(target b)"
lh_ok get --block "$(target b)" "$tmp/back"
same_files "$tmp/small" "$tmp/back"
lh_ok export remove b --socket "$socket"
