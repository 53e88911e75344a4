#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# two listeners, two groups: access by each as configured and as set at run time; what is held stays
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 90
use d
make_file "$files/a" 4
make_file "$files/b" 4
add_export a "$files/a"
add_export b "$files/b" 'ana_group = 2;'
other=$(helper free-port "$addr")
add_listener "$fabric" "$addr" "$(port)"
add_listener "$fabric" "$addr" "$other" 'ana = "non-optimized"; ana_groups = ( { group = 2; state = "inaccessible"; } );'
daemon_start
socket=$tmp/d/admin.sock
# by PORT EXPORT
by() { echo "$(scheme)://$addr:$1/$2"; }
# states PORT: of its groups
states() {
	"$leasehold" listener list -o json --socket "$socket" |
		jq -r --arg a "$addr:$1" '.listeners[] | select(.address == $a) | [.ana[] | "\(.group):\(.state)"] | join(" ")'
}
# ana LISTENER STATE [OPTION...]
ana() { lh_ok listener ana "$@" --socket "$socket"; }

expect "the first listener" "$(states "$(port)")" "1:optimized 2:optimized"
expect "the second listener" "$(states "$other")" "1:non-optimized 2:inaccessible"
expect "in status" "$(status '.listeners[1].ana[1].state')" inaccessible
lh_ok listener list --socket "$socket"
expect_text "the table" "$(cat "$tmp/out")" "^2 +$fabric +$addr:$other +0 +1:non-optimized 2:inaccessible"

# As configured: b by the first only.
lh_ok get --block "$(by "$(port)" b)" "$tmp/got"
same_files "$tmp/got" "$files/b"
lh_ok get --block "$(by "$other" a)" "$tmp/got"
lh_fails inaccessible get --block "$(by "$other" b)" "$tmp/got"
lh_fails inaccessible get --no-fallback "$(by "$other" b)" "$tmp/got"

# What is held stays: the memory is the same by any path. What is new is refused.
client hold hold --write --range 0:64k "$(by "$(port)" a)"
wait_for 10 "a grant" grep -q granted "$tmp/hold.out"
ana 1 inaccessible --group 1
expect "the first listener" "$(states "$(port)")" "1:inaccessible 2:optimized"
expect "grants" "$(status '.exports[0].grants')" 1
lh_fails inaccessible get --block "$(by "$(port)" a)" "$tmp/got"
lh_fails inaccessible hold --seconds 1 "$(by "$(port)" a)"
lh_ok get --block "$(by "$(port)" b)" "$tmp/got"
lh_ok get --block "$(by "$other" a)" "$tmp/got"
client_alive hold || fail "the client that held a grant has gone"
ana "$addr:$(port)" optimized
expect "the first listener" "$(states "$(port)")" "1:optimized 2:optimized"
client_end hold INT
expect_text "the end of hold" "$(cat "$tmp/hold.out")" 'ended .* 0 recalls, 0 fences'

# A change passes: the client waits for it.
ana 1 change
"$leasehold" get --block "$(by "$(port)" a)" "$tmp/late" >"$tmp/late.out" 2>&1 &
late=$!
sleep 0.5
kill -0 $late 2>/dev/null || fail "it did not wait for the change to pass: $(cat "$tmp/late.out")"
ana 1 optimized
wait $late || fail "the command that waited failed: $(cat "$tmp/late.out")"
same_files "$tmp/late" "$files/a"

lh_fails 'no listener "3"; there are 1 \(' listener ana 3 optimized --socket "$socket"
lh_fails '"state" must be' listener ana 1 lost --socket "$socket"
lh_fails '"group" must be' listener ana 1 optimized --group 33 --socket "$socket"
lh_fails 'give a number' listener ana 1 optimized --group x --socket "$socket"
lh_fails 'listener wants' listener ana 1 --socket "$socket"
for bad in '{"v":1,"cmd":"listener-ana"}' '{"v":1,"cmd":"listener-ana","state":"change"}' \
	'{"v":1,"cmd":"listener-ana","state":"change","listener":1}' \
	'{"v":1,"cmd":"listener-ana","state":"change","listener":"1","group":"1"}' \
	'{"v":1,"cmd":"listener-ana","state":"change","listener":"1","group":-1}'; do
	expect "ok of $bad" "$(admin "$bad" | jq .ok)" false
done
expect "the first listener" "$(states "$(port)")" "1:optimized 2:optimized"
