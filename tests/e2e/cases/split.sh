#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# part of a grant is recalled: the client keeps the rest, directly and under a key of its own, and nobody gets it
# limit: 90
serve 8
socket=$tmp/d/admin.sock
mib=$((1 << 20))
reclaim() { lh_ok reclaim --socket "$socket" "$@" data; }
ranges() {
	lh status --socket "$socket" --grants --json >/dev/null
	jq -c '[.grants[] | [.offset, .length]] | sort' "$tmp/out"
}

client holder hold --write "$(target data)"
wait_for 10 "a grant" said holder '\bgranted\b'
expect "what is held" "$(ranges)" "[[0,$((8 * mib))]]"
reclaim --range 1M:1M --hold 3600
wait_for 10 "told" said holder '\btold\b'
wait_for 10 "released" said holder '\breleased\b'
expect "generation" "$(generation)" 1
expect "grants that were split" "$(stats .grants_split)" 1
wait_for 10 "the rest" grants_are 2
expect "what is held" "$(ranges)" "[[0,$mib],[$((2 * mib)),$((6 * mib))]]"
# Others get no byte of what is held.
for range in 0:1M 2M:6M; do
	lh_fails 'another client|holds' hold --write --seconds 1 --range $range "$(target data)"
done
expect "clients that were fenced" "$(stats .clients_fenced)" 0
reclaim --end
wait_for 10 "granted again" grants_are 3
client_alive holder || fail "the holder ended"
client_end holder INT
wait_for 10 "all given back" grants_are 0
