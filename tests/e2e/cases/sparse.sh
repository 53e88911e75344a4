#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a sparse file is served, with a warning that names the bytes; holes read as zeros, take writes
# limit: 60
use d
make_file "$files/data" 1
truncate -s 16M "$files/data"
add_export data "$files/data"
daemon_start
warning='data is sparse: 15728640 of 16777216 bytes are in holes.*prepare = allocate'
expect_text "the log" "$(log)" "(<4>|warning ).*$warning"
expect_text "status" "$(status '.exports[0].warnings[]')" "$warning"
expect "hole_bytes" "$(status .exports[0].hole_bytes)" 15728640
before=$(stat -c %b "$files/data")
lh_ok read --block "$(target data)" $((8 << 20)) 65536
cmp -s "$tmp/out" <(head -c 65536 /dev/zero) || fail "a hole does not read as zeros"
lh_ok read "$(target data)" $((8 << 20)) 65536
cmp -s "$tmp/out" <(head -c 65536 /dev/zero) || fail "a hole does not read as zeros, directly"
expect "blocks after reading holes" "$(stat -c %b "$files/data")" "$before"
head -c 100000 /dev/urandom >"$tmp/piece"
lh_ok write --block "$(target data)" $(((8 << 20) + 12345)) <"$tmp/piece"
lh_ok read --block "$(target data)" $(((8 << 20) + 12345)) 100000
cmp -s "$tmp/out" "$tmp/piece" || fail "what was written to a hole does not read back"
lh_ok read --block "$(target data)" $((12 << 20)) 4096
cmp -s "$tmp/out" <(head -c 4096 /dev/zero) || fail "another hole was changed"
