#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the rung changes live, under block and direct load: no error, right bytes, clients are regranted
# limit: 150
serve 16
socket=$tmp/d/admin.sock
rung() { lh_ok export rung data "$@" --socket "$socket"; }
in_force() { status .exports[0].rungs[0].rung; }
best=$(in_force)
[ "$best" != staged ] || skip "nothing can be registered here"
make_file "$tmp/a" 4
: >"$tmp/go"
# rounds_of WAY OFFSET: puts and gets on a part of its own.
rounds_of() {
	while [ -e "$tmp/go" ]; do
		"$leasehold" put $1 --offset "$2" "$tmp/a" "$(target data)" || return 1
		"$leasehold" get $1 --offset "$2" --length 4M "$(target data)" "$tmp/back$2" || return 1
		cmp "$tmp/a" "$tmp/back$2" || return 1
		echo round
	done
}
rounds_of --block 0 >"$tmp/block.out" 2>&1 &
load=($!)
rounds_of '' 4M >"$tmp/any.out" 2>&1 &
load+=($!)
client holder hold --write --range 8M:4M "$(target data)"
wait_for 10 "a grant" said holder '\bgranted\b'
count=$(rounds 4 1)
for n in $(seq "$count"); do
	rung staged
	expect "what it says" "$(cat "$tmp/out")" "$(status .exports[0].rungs[0].device): staged (asked for)"
	expect "rung" "$(in_force)" staged
	expect "keys" "$(status .exports[0].keys)" 0
	sleep 0.3
	rung auto
	expect "rung" "$(in_force)" "$best"
	wait_for 15 "grant number $((n + 1))" says_at_least holder "$n" regranted
	sleep 0.2
done
if [ "$best" = pinned ]; then
	rung odp
	expect "rung" "$(in_force)" odp
	rung auto --device iwarp
	expect "rung" "$(in_force)" pinned
fi
lh_fails 'there is no adapter "mlx5_7"' export rung data staged --device mlx5_7 --socket "$socket"
lh_fails 'registration: expected one of "auto", "pinned", "odp", "staged"' export rung data copied --socket "$socket"
lh_fails 'no export "other"' export rung other --socket "$socket"
# Nothing new: nothing is recalled.
before=$(generation)
rung
expect "generation" "$(generation)" "$before"
rm "$tmp/go"
for p in "${load[@]}"; do
	wait "$p" || fail "a client failed: $(tail -qn1 "$tmp/block.out" "$tmp/any.out")"
done
for name in block any; do
	[ "$(grep -c round "$tmp/$name.out")" -ge 2 ] || fail "$name came to nothing: $(tail -1 "$tmp/$name.out")"
done
client_reports "$tmp/block.out" "$tmp/any.out"
client_end holder INT
expect "upgrades" "$(stats .rung_upgrades)" "$(stats .rung_downgrades)"
[ "$(stats .rung_upgrades)" -ge "$count" ] || fail "only $(stats .rung_upgrades) upgrades"
wait_for 10 "no grant" grants_are 0
lh_ok put --direct --verify "$tmp/a" "$(target data)"
