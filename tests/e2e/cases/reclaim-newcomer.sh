#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# a client that comes while a part is reclaimed is granted all around it at once, and told what is kept out
# needs: host
# why: it is the library's and the daemon's, whatever the adapter (reclaim runs there), and takes minutes
# limit: 150
serve 64
socket=$tmp/d/admin.sock
mib=$((1 << 20))
reclaimed_is() { [ "$(status ".exports[0].reclaimed | length")" = "$1" ]; }
granted() { grep -oE 'granted generation [0-9]+, [0-9]+ bytes' "$tmp/$1.out" | tail -1 | grep -oE '[0-9]+ bytes'; }
granted_is() { [ "$(granted "$1")" = "$2 bytes" ]; }

lh_ok reclaim --socket "$socket" --range 8M:4M --hold 3600 data
lh_ok reclaim --socket "$socket" --range 10M:4M --hold 3600 data
lh_ok reclaim --socket "$socket" --range 40M:1M --hold 3600 data
# What is kept out is no hole, and nobody is told to have any filled.
expect "reclaimed bytes" "$(status .exports[0].reclaimed_bytes)" $((7 * mib))
expect "bytes in holes" "$(status .exports[0].hole_bytes)" 0
expect "backed bytes" "$(status .exports[0].backed_bytes)" $((57 * mib))
expect "warnings of holes" "$(status '.exports[0].warnings[]' | grep -c sparse)" 0
expect_text "why" "$(status .exports[0].why)" '7340032 bytes are reclaimed'
begun=$(now_ns)
client new hold --write "$(target data)"
wait_for 8 "grants around what is reclaimed" granted_is new $((57 * mib))
took=$((($(now_ns) - begun) / 1000000))
[ "$took" -lt $((5000 * slow)) ] || fail "the grants took $took ms"
wait_for 5 "the reason" said new 'waiting .*reclaimed on its target from byte 8388608'
client_end new INT

# Around it straight into memory, in it by block commands, and all of it right.
make_file "$tmp/a" 64
lh_ok put "$tmp/a" "$(target data)"
lh_ok get "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
fs=$(stats .nvme_write_fs_bytes)
[ "$fs" -ge $((7 * mib)) ] || fail "only $fs bytes came by block commands"
[ "$fs" -lt $((32 * mib)) ] || fail "$fs bytes came by block commands: most should have come straight"

# Nothing but the part: the client has no grant, and works.
client inside hold --write --range 9M:1M "$(target data)"
wait_for 8 "the reason" said inside 'waiting .*reclaimed on its target'
client_alive inside || fail "a client inside of what is reclaimed ended"

lh_ok reclaim --socket "$socket" --end data
wait_for 10 "the end of the hold" reclaimed_is 0
wait_for 10 "a grant for the part" granted_is inside $mib
client_end inside INT

# All of it: who cannot be granted anything is told that it is reclaimed, and waits no longer than a recall.
lh_ok reclaim --socket "$socket" --hold 3600 data
expect "reclaimed" "$(status '.exports[0].reclaimed[0] | "\(.offset) \(.length) \(.whole)"')" "0 $((64 * mib)) true"
lh_fails 'reclaimed on its target' hold --seconds 1 "$(target data)"
lh_ok put "$tmp/a" "$(target data)"
lh_ok reclaim --socket "$socket" --end data
wait_serving

# What is answered, and what makes no sense.
answer=$(admin '{"v":1,"cmd":"reclaim","name":"data","offset":1048576,"length":1048576,"hold_ms":3600000}')
expect "the answer" "$(jq -c '.result.reclaimed[0] | [.offset, .length, .left_ms, .whole]' <<<"$answer")" '[1048576,1048576,3600000,false]'
lh_ok reclaim --socket "$socket" --range 60M: --hold 3600 data
expect "the open range" "$(status .exports[0].reclaimed[1].length)" $((4 * mib))
lh_ok reclaim --socket "$socket" --range 63M:8M --hold 3600 data
expect_text "the note" "$(cat "$tmp/err")" 'ends at byte 67108864: only 1048576 of the 8388608 bytes of the range are in it'
expect "the clipped range" "$(status .exports[0].reclaimed[2].length)" $mib
expect_text "a length of 0" "$(admin '{"v":1,"cmd":"reclaim","name":"data","offset":0,"length":0}')" 'a .*length.* of 0 is no range'
lh_fails 'behind its end: nothing of it' reclaim --socket "$socket" --range 64M:1M data
for _ in $(seq 61); do
	admin '{"v":1,"cmd":"reclaim","name":"data","offset":4096,"length":4096,"hold_ms":3600000}' >/dev/null
done
lh_fails '64 reclaims of it are under way' reclaim --socket "$socket" --range 1M:1M data
lh_ok reclaim --socket "$socket" --end data
wait_for 10 "their end" reclaimed_is 0
expect "reclaimed bytes" "$(status .exports[0].reclaimed_bytes)" 0
