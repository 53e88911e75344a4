#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# read and write at odd offsets and lengths, directly and by block, against a copy of the file
# limit: 120
serve 8
cp "$files/data" "$tmp/model"
size=$(size_of "$files/data")
pieces="1:1 4095:2 65535:65537 2097151:3 $((size - 4097)):4097"
[ -n "$vm" ] || pieces+=" 0:1 511:2 4097:4095 1048575:1048577 $((size - 1)):1"
for how in --direct --block; do
	for piece in $pieces; do
		offset=${piece%:*} length=${piece#*:}
		head -c "$length" /dev/urandom >"$tmp/piece"
		lh_ok write "$how" "$(target data)" "$offset" <"$tmp/piece"
		dd if="$tmp/piece" of="$tmp/model" bs=64k oflag=seek_bytes seek="$offset" conv=notrunc status=none
		# Fewer in the VM, where each command takes long.
		if [ -z "$vm" ]; then
			ways=(--direct --block)
		elif [ "$how" = --direct ]; then
			ways=(--block)
		else
			ways=(--direct)
		fi
		for back in "${ways[@]}"; do
			lh_ok read "$back" "$(target data)" "$offset" "$length"
			cmp -s "$tmp/out" "$tmp/piece" || fail "write $how, read $back of $length bytes at $offset: $(cmp "$tmp/out" "$tmp/piece" 2>&1 || true)"
		done
	done
done
# Nothing beside the pieces has changed.
lh_ok get --block "$(target data)" "$tmp/all"
same_files "$tmp/all" "$tmp/model"
daemon_stop
same_files "$files/data" "$tmp/model"
