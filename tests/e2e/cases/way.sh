#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# put and get say truly how the bytes went, and how long it took, when no grant or not all of one is to be had
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/data" 16
make_file "$files/sparse" 4
truncate -s 8M "$files/sparse"
add_export data "$files/data"
add_export sparse "$files/sparse"
daemon_start
way() { jq -r '"\(.way) \(.direct_bytes) \(.block_bytes)"' "$tmp/out"; }
all=$((16 << 20)) half=$((4 << 20))
make_file "$tmp/a" 16
lh_ok put -o json "$tmp/a" "$(target data)"
expect "the way of a put" "$(way)" "direct $all 0"
lh_ok get -o json --verify --block "$(target data)" "$tmp/b"
expect "the way of a get by block commands" "$(way)" "block 0 $all"
lh_ok get -o json --verify "$(target sparse)" "$tmp/b"
expect "the way of a get of a file with holes" "$(way)" "mixed $half $half"
same_files "$tmp/b" "$files/sparse"
lh_ok get "$(target sparse)" "$tmp/b"
expect_text "a get of a file with holes" "$(cat "$tmp/out")" '4\.0* MiB directly, 4\.0* MiB by block commands'

# Another process has it open: no grant until it closes it, and block commands go on without a pause.
make_file "$tmp/a" 16
helper_start opener hold "$files/data" 600
wait_for 10 "the open" grep -q open "$tmp/opener.out"
begun=$(now_ns)
lh_ok put -o json --verify "$tmp/a" "$(target data)"
took=$(($(now_ns) - begun))
expect "the way of a put without a grant" "$(way)" "block 0 $all"
expect_text "what it says of it" "$(cat "$tmp/err")" 'until it is granted: .*(recall|ready|granted)'
[ $took -lt $((8000000000 * slow)) ] || fail "it waited $((took / 1000000)) ms for a grant"
told=$(jq '.seconds * 1e9 | floor' "$tmp/out")
[ "$told" -gt 900000000 ] || fail "it does not count the wait: $(cat "$tmp/out")"
lh_ok get "$(target data)" "$tmp/b"
expect_text "a get without a grant" "$(cat "$tmp/out")" 'by block commands'
same_files "$tmp/a" "$tmp/b"
lh_ok read "$(target data)" 0 512
expect_text "a read without a grant" "$(cat "$tmp/err")" 'going by block commands: .*(recall|ready|granted)'
client_kill opener
wait_serving
lh_ok put -o json "$tmp/a" "$(target data)"
expect "the way of a put when it is closed" "$(way)" "direct $all 0"
