#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# grow and shrink, by a landlord and by export resize, under verified load, with blocks of 512 and 4096 bytes
# needs: host
# why: the kernel's host sees sizes change there (interop), and it takes minutes
# limit: 240
use d
make_file "$files/e512" 6
make_file "$files/e4096" 6
add_export e512 "$files/e512" 'lba = 512;'
add_export e4096 "$files/e4096"
daemon_start
socket=$tmp/d/admin.sock
make_file "$tmp/a" 4
: >"$tmp/go"
# The first 4 MiB, which always stay: no error, right bytes.
load() {
	while [ -e "$tmp/go" ]; do
		"$leasehold" put "$1" "$tmp/a" "$(target "$2")" || return 1
		"$leasehold" get "$1" --length 4M "$(target "$2")" "$tmp/back.$2$1" || return 1
		cmp "$tmp/a" "$tmp/back.$2$1" || return 1
		echo round
	done
}
jobs=()
for e in e512 e4096; do
	load --block $e >"$tmp/load.$e.block.out" 2>&1 &
	jobs+=($!)
done
load --direct e4096 >"$tmp/load.e4096.direct.out" 2>&1 &
jobs+=($!)

# size NAME: what a host that comes now is told.
told() { "$leasehold" list -o json "$(target)" | jq -r ".[] | select(.name == \"$1\") | .size_bytes"; }
is_told() { [ "$(told "$1")" = "$2" ]; }
# set_size NAME BYTES HOW
set_size() {
	if [ "$3" = landlord ]; then
		resize "$files/$1" "$2"
	else
		lh_ok export resize "$1" "$2" --socket "$socket"
	fi
	expect "size of the file" "$(size_of "$files/$1")" "$2"
	wait_for 15 "hosts told of $2 bytes" is_told "$1" "$2"
}
mib=$((1 << 20))
for ((i = $(rounds 4 2); i > 0; i--)); do
	[ $((i % 2)) = 0 ] && how=landlord || how=request
	for e in e512 e4096; do
		set_size $e $((12 * mib)) "$how"
		# What is new reads as zeros, whatever was there before; and can be written.
		for client in --block --direct; do
			[ "$("$leasehold" read $client "$(target $e)" 10M 65536 | tr -d '\0' | wc -c)" = 0 ] || fail "$e, $how: the new part does not read as zeros ($client)"
		done
		head -c 65536 /dev/urandom >"$tmp/new"
		lh_ok write --block "$(target $e)" 10M <"$tmp/new"
		"$leasehold" read --block "$(target $e)" 10M 65536 | cmp - "$tmp/new" || fail "$e, $how: the new part was not written"
		set_size $e $((7 * mib + 4096)) "$how"
		lh_fails 'range|outside|behind|end' read --block "$(target $e)" 10M 4096
		lh_fails 'range|outside|behind|end' read --block "$(target $e)" $((7 * mib + 4096)) 4096
		lh_ok read --block "$(target $e)" $((7 * mib)) 4096
	done
done
rm "$tmp/go"
for p in "${jobs[@]}"; do
	wait "$p" || fail "a client failed: $(tail -qn1 "$tmp"/load.*.out)"
done
client_reports "$tmp"/load.*.out
for f in "$tmp"/load.*.out; do
	[ "$(grep -c round "$f")" -ge 3 ] || fail "the load of ${f##*/} came to nothing"
done
# Only what must be: nobody holds what goes.
wait_serving 1
before=$(status .exports[1].recalls)
set_size e4096 $((5 * mib)) request
expect "recalls by a shrink that concerns nobody" "$(status .exports[1].recalls)" "$before"
