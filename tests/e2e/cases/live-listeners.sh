#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# listeners and referrals that come and go under load: discovery sees each change, hosts by others notice nothing
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
make_file "$files/held" 4
use d
add_export held "$files/held"
serve 8
socket=$tmp/d/admin.sock
make_file "$tmp/a" 8
second=$(helper free-port "$addr")
by() { echo "$(scheme)://$addr:$1"; }
listener() { lh_ok listener "$@" --socket "$socket"; }
lists() { lh_ok listener list -o json --socket "$socket" && jq -r "[.listeners[]|$1]|join(\" \")" "$tmp/out"; }
no_listen() { ! lh list "$(by "$1")"; }

: >"$tmp/go"
load() {
	while [ -e "$tmp/go" ]; do
		"$leasehold" put "$1" "$tmp/a" "$(target data)" || return 1
		"$leasehold" get "$1" "$(target data)" "$tmp/back$1" || return 1
		cmp "$tmp/a" "$tmp/back$1" || return 1
		echo round
	done
}
load --block >"$tmp/load.out" 2>&1 &
loads=($!)
load --direct >"$tmp/load-direct.out" 2>&1 &
loads+=($!)

# A host that stays connected to the discovery service.
rogue_start watch discovery 600
wait_for 10 "the first log" said watch '^log '
logs() { grep -c '^log ' "$tmp/watch.out"; }
# told COUNT REGEX: so many events, and the last log says that.
told() {
	wait_for 10 "event $1" says_at_least watch "$1" '^event '
	wait_for 10 "the log after event $1" says_at_least watch $(($1 + 1)) '^log '
	expect "events" "$(grep -c '^event 0070f002h$' "$tmp/watch.out")" "$1"
	expect_text "the log after event $1" "$(grep '^log ' "$tmp/watch.out" | tail -1)" "$2"
}
expect_text "the first log" "$(cat "$tmp/watch.out")" "^log [0-9]+ 2 1:$(port) 1:$(port)\$"

# Add: shown, and may be connected to.
listener add "$(by "$second")" --ana non-optimized --ana 2:inaccessible --no-invalidate
expect_text "the table" "$(cat "$tmp/out")" "^2 +$fabric +$addr:$second +0 +1:non-optimized 2:inaccessible"
told 1 " 3 1:$(port) 1:$(port) 2:$second\$"
lh_ok discover -o json "$(target)"
expect "what discovery shows" "$(jq -r '[.entries[]|select(.kind=="nvm")|.service]|join(" ")' "$tmp/out")" "$(port) $second"
lh_ok get --block "$(by "$second")/data" "$tmp/got"
lh_ok get --direct "$(by "$second")/data" "$tmp/got"

# Remove: nobody comes in, who is there stays, the log has it no more.
client hold hold --range 0:64k "$(by "$second")/held"
wait_for 10 "a grant" grep -q granted "$tmp/hold.out"
listener remove 2
expect_text "the table" "$(cat "$tmp/out")" "^2 +$fabric +$addr:$second +1 .*\(removed\)\$"
told 2 " 2 1:$(port) 1:$(port)\$"
wait_for 5 "nobody at the port" no_listen "$second"
expect "grants" "$(status '.exports[0].grants')" 1
client_alive hold || fail "the client by the removed listener has gone: $(tail -1 "$tmp/hold.out")"
lh_fails 'removed already' listener remove 2 --socket "$socket"
# Access can still be changed for those who are there.
listener ana 2 optimized
client_end hold INT
expect_text "the end of hold" "$(cat "$tmp/hold.out")" 'ended .* 0 fences'
only_first() { [ "$(lists .port_id)" = 1 ]; }
wait_for 5 "no trace of listener 2" only_first

# The same port again is another listener. This time hosts are to go.
listener add "$(by "$second")"
told 3 " 3 1:$(port) 1:$(port) 3:$second\$"
client hold hold --range 0:64k "$(by "$second")/held"
wait_for 10 "a grant" grep -q granted "$tmp/hold.out"
expect "state of 3" "$(lists 'select(.port_id==3)|"\(.state) \(.controllers)"')" "listening 1"
listener remove "$addr:$second" --disconnect
told 4 " 2 1:$(port) 1:$(port)\$"
wait_for 10 "the client cut" grep -qE 'fenced|waiting' "$tmp/hold.out"
wait_for 5 "no trace of listener 3" only_first
# It comes back when the port does.
listener add "$(by "$second")"
told 5 " 3 1:$(port) 1:$(port) 4:$second\$"
wait_for 20 "the client back" grep -q regranted "$tmp/hold.out"
client_end hold INT
listener remove 4
told 6 " 2 1:$(port) 1:$(port)\$"

# Referrals are changes too.
lh_ok referral add rdma://192.0.2.77:8009 --socket "$socket"
expect_text "referrals" "$(cat "$tmp/out")" '1 +verbs +192\.0\.2\.77 +8009 +nqn\.2014-08\.org\.nvmexpress\.discovery'
told 7 " 3 1:$(port) 1:$(port) 32768:8009\$"
lh_fails 'it is there already' referral add rdma://192.0.2.77:8009 --socket "$socket"
lh_ok referral remove 1 --socket "$socket"
told 8 " 2 1:$(port) 1:$(port)\$"
lh_ok referral add "iwarp://[2001:db8::7]" --nqn nqn.2026-11.org.example:d --socket "$socket"
told 9 ' 3 .* 32769:4420$'
lh_ok referral list -o json --socket "$socket"
expect "the referral" "$(jq -r '.referrals[]|"\(.id) \(.fabric) \(.address) \(.port) \(.nqn)"' "$tmp/out")" "2 iwarp 2001:db8::7 4420 nqn.2026-11.org.example:d"
lh_ok referral remove 2 --socket "$socket"
told 10 ' 2 '

# What cannot be.
lh_fails 'in use' listener add "$(target)" --socket "$socket"
lh_fails 'no such address' listener add "$(scheme)://203.0.113.9:$second" --socket "$socket"
other=verbs
[ "$fabric" = iwarp ] || other=iwarp
lh_fails "fabric \"$other\" is not open" listener add "$([ $other = iwarp ] && echo iwarp || echo rdma)://$addr:$second" --socket "$socket"
lh_fails 'expected one of' listener add "$(by "$second")" --ana lost --socket "$socket"
lh_fails 'from 1 to 32' listener add "$(by "$second")" --ana 33:optimized --socket "$socket"
lh_fails 'already' listener add "$(by "$second")" --ana 2:optimized --ana 2:change --socket "$socket"
lh_fails 'is wanted here' listener add "$(by "$second")/data" --socket "$socket"
lh_fails 'only listener add' listener list --ana optimized --socket "$socket"
lh_fails 'only listener remove' listener list --disconnect --socket "$socket"
lh_fails 'only listener ana' listener list --group 1 --socket "$socket"
lh_fails 'no listener "2"; there are 1' listener remove 2 --socket "$socket"
lh_fails 'no referral 1' referral remove 1 --socket "$socket"
lh_fails 'expected an NQN' referral add rdma://192.0.2.77 --nqn x --socket "$socket"
for bad in '{"v":1,"cmd":"listener-add"}' '{"v":1,"cmd":"listener-add","listener":[]}' \
	'{"v":1,"cmd":"listener-add","listener":{"fabric":"iwarp","address":"localhost"}}' \
	'{"v":1,"cmd":"listener-add","listener":{"fabric":"iwarp","address":"127.0.0.1","port":0}}' \
	'{"v":1,"cmd":"listener-add","listener":{"address":"127.0.0.1"}}' \
	'{"v":1,"cmd":"listener-add","listener":{"fabric":"iwarp","address":"127.0.0.1","ana_groups":[1]}}' \
	'{"v":1,"cmd":"listener-add","listener":{"fabric":"iwarp","address":"127.0.0.1","more":1}}' \
	'{"v":1,"cmd":"listener-remove"}' '{"v":1,"cmd":"listener-remove","listener":1}' \
	'{"v":1,"cmd":"listener-remove","listener":"1","disconnect":1}' \
	'{"v":1,"cmd":"listener-remove","listener":"1","force":true}' \
	'{"v":1,"cmd":"referral-remove","id":"1"}' '{"v":1,"cmd":"referral-remove","id":65537}' \
	'{"v":1,"cmd":"referral-list","more":1}'; do
	expect "ok of $bad" "$(admin "$bad" | jq .ok)" false
done
# None of these was a change.
sleep 0.5
told 10 ' 2 '

# Many times: nothing grows, nothing stops.
for n in $(seq 20); do
	listener add "$(by "$second")"
	[ $((n % 2)) = 0 ] || lh_ok list "$(by "$second")"
	if [ $((n % 3)) = 0 ]; then listener remove "$addr:$second"; else listener remove "$addr:$second" --disconnect; fi
done
expect "listeners" "$(lists .port_id)" 1

rm "$tmp/go"
for p in "${loads[@]}"; do
	wait "$p" || fail "a client by the first listener failed: $(tail -qn1 "$tmp"/load*.out)"
done
for name in load load-direct; do
	[ "$(grep -c round "$tmp/$name.out")" -ge 2 ] || fail "$name came to nothing: $(tail -1 "$tmp/$name.out")"
done
client_reports "$tmp"/load*.out

# The last one may go as well; the discovery controller stays and hears of it.
lh_ok discover -o json "$(target)"
wait_for 10 "the last log of all" said watch "^log $(jq .generation "$tmp/out") "
events=$(grep -c '^event ' "$tmp/watch.out")
listener remove 1
expect_text "the note" "$(cat "$tmp/err")" 'the last listener'
told $((events + 1)) '^log [0-9]+ 0$'
wait_for 5 "nobody at the first port" no_listen "$(port)"
# An export that is added meanwhile is there for who comes later.
make_file "$files/b" 1
lh_ok export add b "$files/b" --socket "$socket"
listener add "$(target)"
lh_ok get --block "$(target b)" "$tmp/got"
same_files "$tmp/got" "$files/b"
[ "$(grep '^log ' "$tmp/watch.out" | awk '{ if ($2 < last) bad = 1; last = $2 } END { print bad + 0 }')" = 0 ] || fail "the generation fell"
lh_ok export remove b --socket "$socket"
client_kill watch
