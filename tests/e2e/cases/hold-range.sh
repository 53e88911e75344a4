#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# hold: a range that begins outside the export is refused, one that reaches beyond is told of; --seconds
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 90
serve 16
MIB=$((1 << 20))
wait_serving

# Outside: refused with the size of now, as read and write do, and nothing is held or written.
cp "$files/data" "$tmp/before"
for range in 17M:2M 16M:1 16M:1M 18446744073709551614:1 18446744073709551615:18446744073709551615 17M:18446744073709551615; do
	for how in '' --write; do
		status=0
		# shellcheck disable=SC2086 # no word or one
		lh hold --range $range $how --seconds 1 "$(target data)" || status=$?
		expect "the exit status of hold --range $range $how" "$status" 1
		expect_text "hold --range $range $how" "$(cat "$tmp/err")" 'range error: .* has 16777216 bytes'
		expect "events of hold --range $range $how" "$(cat "$tmp/out")" ''
	done
done

# Beyond: what there is is held; one line says so.
lh_ok hold --range 15M:2M --seconds 1 "$(target data)"
expect "what hold says" "$(cat "$tmp/err")" "leasehold: data has 16777216 bytes: of the 2097152 at offset 15728640 the first 1048576 are held, the rest when it has grown"
expect_text "its events" "$(cat "$tmp/out")" 'granted generation [0-9]+, 1048576 bytes'
lh_ok hold --range 15M:18446744073709551614 --seconds 1 "$(target data)"
expect_text "a range to the end of numbers" "$(cat "$tmp/err")" 'the first 1048576 are held'
lh_ok hold --range 15M:1M --seconds 1 "$(target data)"
expect "what hold says of a range inside" "$(cat "$tmp/err")" ''
lh_ok hold --seconds 1 "$(target data)"
expect "what hold says of all" "$(cat "$tmp/err")" ''
expect_text "all" "$(cat "$tmp/out")" 'granted generation [0-9]+, 16777216 bytes'
daemon_flat
cmp "$files/data" "$tmp/before" || fail "holding changed the file"
wait_serving

# It keeps the word about the rest.
client beyond hold --range 15M:2M "$(target data)"
wait_for 10 "its grant" said beyond 'granted .* 1048576 bytes'
fallocate -l 18M "$files/data"
wait_for 15 "what the export grew by" said beyond 'granted .* 2097152 bytes'
client_end beyond INT

# --seconds is a number of seconds, not of bytes, and no number is cut off at 64 bits.
for seconds in x 18446744074 18446744073709551616 1000000001 -1 '' ' 5' 1.5 1k; do
	status=0
	lh hold --seconds "$seconds" "$(target data)" || status=$?
	expect "the exit status of --seconds \"$seconds\"" "$status" 2
	expect_text "--seconds \"$seconds\"" "$(cat "$tmp/err")" 'whole number up to 1000000000; 0 is until a signal'
	! grep -q bytes "$tmp/err" || fail "--seconds speaks of bytes: $(cat "$tmp/err")"
done
client long hold --seconds 1000000000 "$(target data)"
wait_for 10 "its grant" said long granted
sleep 0.5
client_alive long || fail "hold --seconds 1000000000 ended: $(cat "$tmp/long.out")"
client_end long INT
