#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# grants that are windows: who may use them, how far, how long, and what becomes of parts of them
# limit: 120
readonly mib=$((1 << 20))
use d
make_file "$files/data" 8
add_export data "$files/data" 'grant_keys = "window";'
daemon_start
rung='.exports[0].rungs[0]'
if [ "$(status "$rung.windows_proven")" != true ]; then
	expect "what grants get" "$(status "$rung.grant_keys")" mr
	expect_text "why" "$(status "$rung.grant_keys_why")" window
	expect_text "the log" "$(log)" 'not a window as grant_keys asks for'
	skip "windows are not proven: $(status "$rung.grant_keys_why")"
fi
expect "what the export wants" "$(status .exports[0].grant_keys)" window
expect "what grants get" "$(status "$rung.grant_keys")" window
socket=$tmp/d/admin.sock
own_keys=$(status .exports[0].keys)
grants() {
	lh status --socket "$socket" --grants --json >/dev/null
	jq -c "[.grants[] | $1] | sort" "$tmp/out"
}
no_clients() { [ "$(status '.clients | length')" = 0 ]; }

# Data: there and back, and as the file has it.
make_file "$tmp/a" 8
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --direct "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
[ "$(stats .nvme_window_binds)" -ge 2 ] || fail "no window was bound"

# One window and one slab for a client, who acquires anew: then a bind, and no registration.
client holder hold --write --range 0:4M "$(target data)"
wait_for 10 "a grant" said holder '\bgranted\b'
expect "its key" "$(grants .key)" '["window"]'
expect "keys" "$(status .exports[0].keys)" $((own_keys + 2))

# A part is given back: the rest has windows of its own, and nobody gets it.
lh_ok reclaim --socket "$socket" --range 1M:1M --hold 3600 data
wait_for 10 "the rest" grants_are 2
expect "what is held" "$(grants '[.offset, .length, .key]')" "[[0,$mib,\"window\"],[$((2 * mib)),$((2 * mib)),\"window\"]]"
expect "clients that were fenced" "$(stats .clients_fenced)" 0
lh_fails 'another client|holds' hold --write --seconds 1 --range 2M:1M "$(target data)"
lh_ok reclaim --socket "$socket" --end data
wait_for 10 "granted again" grants_are 3
client_alive holder || fail "the holder ended"

# A landlord: all of it goes, and comes back.
resize "$files/data" $((6 * mib))
wait_for 10 "told" said holder '\btold\b'
wait_serving
expect "clients that were fenced" "$(status .exports[0].last_recall.fenced_clients)" 0
wait_for 10 "granted again" eval '[ "$(status .exports[0].grants)" -ge 1 ]'
expect "their keys" "$(grants .key | jq -c unique)" '["window"]'
client_end holder INT
wait_for 10 "all given back" no_clients
wait_for 10 "no key but for block commands" eval '[ "$(status .exports[0].keys)" -le $own_keys ]'

# Past its bounds, against its access, with another queue, and when it is dead.
for attack in "beyond $((2 * mib))" "read-only $((2 * mib))"; do
	# shellcheck disable=SC2086 # words
	rogue $attack >"$tmp/foe.out" 2>&1 || fail "$attack: $(grep worked "$tmp/foe.out" || tail -1 "$tmp/foe.out")"
	grep -q '^refused' "$tmp/foe.out" || fail "$attack: nothing was refused"
done
rogue_start foe keep 4 0 $mib
wait_for 10 "the foe granted" said foe '\bgranted\b'
expect "its key" "$(grants .key)" '["window"]'
resize "$files/data" $((5 * mib))
wait_serving
wait "${c_pid[foe]}" || fail "$(tail -1 "$tmp/foe.out")"
unset "c_pid[foe]"
said foe '^refused' || fail "the dead key was not tried"

# Another client's queue.
rogue_start victim idle 30
wait_for 10 "the victim granted" said victim '^granted'
read -r _ _ address rkey _ <<<"$(grep '^granted' "$tmp/victim.out")"
rogue steal "$address" "$rkey" >"$tmp/foe.out" 2>&1 || fail "another's key: $(tail -1 "$tmp/foe.out")"
expect_text "who used another's key" "$(cat "$tmp/foe.out")" '^refused .*remote access'
client_kill victim
