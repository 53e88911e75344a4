#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# where nothing can be registered the target copies: right bytes, no grants, said everywhere; recalls as ever
# needs: host
# why: nothing of it is registered (rungs runs there), and it takes minutes
# limit: 120
use d
make_file "$files/data" 4
make_file "$shm/memory" 4
add_export data "$files/data" 'registration = "staged";'
add_export memory "$shm/memory" 'registration = "staged";'
daemon_start
make_file "$tmp/a" 4
for name in data memory; do
	lh_ok put -o json "$tmp/a" "$(target $name)"
	expect "the way of a put" "$(jq -r .way "$tmp/out")" block
	expect_text "why" "$(jq -r .way_why "$tmp/out")" 'staged; asked for'
	expect_text "what it says of it" "$(cat "$tmp/err")" 'going by block commands: .*staged'
	lh_ok get --verify --block "$(target $name)" "$tmp/b"
	same_files "$tmp/a" "$tmp/b"
done
# Small ones, odd ones.
head -c 20000 /dev/urandom >"$tmp/small"
for at in 0 511 4097 65535; do
	lh_ok write "$(target memory)" $at <"$tmp/small"
	lh_ok read "$(target memory)" $at 20000
	same_files "$tmp/small" "$tmp/out"
done

expect "rung in status" "$(status .exports[0].rungs[0].rung)" staged
expect "why in status" "$(status .exports[0].rungs[0].why)" 'asked for'
expect "what may be" "$(status .exports[0].rungs[0].registration)" staged
expect "keys" "$(status .exports[0].keys)" 0
[ "$(stats .rungs_staged)" -ge 2 ] || fail "stats know of $(stats .rungs_staged) staged ones"
for how in read write; do
	[ "$(stats .nvme_${how}_staged_bytes)" -gt 0 ] || fail "reactors copied nothing to $how"
done
expect "bytes straight into files" "$(stats .nvme_write_region_bytes)" 0
lh_ok list -o json "$(target)"
expect "rung in the list" "$(jq -r '.[0].rung' "$tmp/out")" staged
expect "why in the list" "$(jq -r '.[0].rung_why' "$tmp/out")" 'asked for'
lh_ok list "$(target)"
expect_text "the list" "$(cat "$tmp/out")" 'data is staged: .*asked for'

# The landlord waits for the lease alone, under a load of blocks; the file stays as short as it was made.
: >"$tmp/go"
(while [ -e "$tmp/go" ]; do
	"$leasehold" put --block --length 2M "$tmp/a" "$(target data)" || exit 1
	"$leasehold" get --block --length 2M "$(target data)" "$tmp/c" || exit 1
	cmp -n $((2 << 20)) "$tmp/a" "$tmp/c" || exit 1
done) >"$tmp/load.out" 2>&1 &
load=$!
for _ in 1 2 3 4; do
	read -r begun ended <<<"$(helper truncate "$files/data" $((3 << 20)))"
	[ $((ended - begun)) -lt $((3000000000 * slow)) ] || fail "a truncate took $(((ended - begun) / 1000)) µs"
	sleep 0.2
done
rm "$tmp/go"
wait $load || fail "a block client failed: $(tail -1 "$tmp/load.out")"
expect "size" "$(size_of "$files/data")" $((3 << 20))
wait_serving
[ "$(status .exports[0].recalls)" -ge 3 ] || fail "only $(status .exports[0].recalls) recalls"
expect "fenced" "$(status .exports[0].last_recall.fenced_clients)" 0
