#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# block put and get go on through recall after recall without an error; so do direct ones
# limit: 150
serve 32
make_file "$tmp/a" 32
: >"$tmp/go"
(while [ -e "$tmp/go" ]; do
	resize "$files/data" $((32 << 20))
	cat "$files/data" >/dev/null
	sleep 0.15
done) &
landlord=$!
for how in --block --direct; do
	for _ in 1 2 3 4; do
		lh_ok put $how "$tmp/a" "$(target data)"
		lh_ok get $how "$(target data)" "$tmp/b"
		same_files "$tmp/a" "$tmp/b"
	done
done
rm "$tmp/go"
wait "$landlord"
recalls=$(status .exports[0].recalls)
[ "$recalls" -ge 5 ] || fail "only $recalls recalls: the test proves little"
wait_serving
expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 0
