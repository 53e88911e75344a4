#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# leasehold bench: rows that are true of what was done, nothing written unless asked for, and only there
# needs: host
# why: nothing in it depends on the adapter or on the file system
use d
make_file "$files/data" 4
add_export data "$files/data"
make_file "$files/holes" 1
truncate -s 4M "$files/holes"
add_export holes "$files/holes"
daemon_start
before=$(sha "$files/data")
wait_serving

# rows JQ: of the last bench
rows() { jq -r "$1" "$tmp/out"; }
lh_ok bench -o json --seconds 1 --depth 3 --size 8k "$(target data)"
expect "ways" "$(rows 'map(.way + " " + .op) | join(",")')" "direct read,block read"
expect "sizes and depths" "$(rows 'map([.size_bytes, .depth]) | unique | tojson')" "[[8192,3]]"
expect "rows that make no sense" "$(rows 'map(select(.operations < 1 or .p50_us > .p99_us or .p99_us > .max_us or .seconds < 1
	or ((.operations / .seconds / .operations_per_second - 1) | fabs > 0.01))) | length')" 0
direct=$(stats .nvme_reads)
lh_ok bench -o json --seconds 1 --direct "$(target data)" --size 4k
expect "block reads during a direct bench" "$(($(stats .nvme_reads) - direct))" 0
lh_ok bench --seconds 1 --block "$(target data)"
expect "rows for people" "$(grep -cE '^block +read +[0-9.]+ [KM]iB +[0-9]+ ' "$tmp/out")" 4
wait_serving
expect "the file after reads" "$(sha "$files/data")" "$before"

# Writes only where it was told to.
wait_serving
head -c $((1 << 20)) "$files/data" >"$tmp/head"
tail -c $((2 << 20)) "$files/data" >"$tmp/tail"
wait_serving
lh_ok bench -o json --seconds 1 --write --persist --range 1M:1M --size 4k --depth 8 "$(target data)"
expect "ways" "$(rows 'map(.way + " " + .op + " " + (.persist | tostring)) | join(",")')" "direct write true,block write true"
head -c $((1 << 20)) "$files/data" | cmp -s - "$tmp/head" || fail "what lies before the range was written to"
tail -c $((2 << 20)) "$files/data" | cmp -s - "$tmp/tail" || fail "what lies behind the range was written to"
[ "$(sha "$files/data")" != "$before" ] || fail "nothing was written"

# Holes are granted to nobody.
lh_ok bench --seconds 1 --size 4k "$(target holes)"
expect_text "what it says" "$(cat "$tmp/err")" 'not direct: 1048576 of 4194304 bytes are granted'
! grep -q ^direct "$tmp/out" || fail "it has a direct row of what is not granted"
lh_fails '1048576 of 4194304 bytes are granted: the others have no blocks' bench --seconds 1 --direct "$(target holes)"

lh_fails 'overwrites: say which bytes, by --range' bench --write "$(target data)"
lh_fails 'persist is of writes' bench --persist "$(target data)"
lh_fails 'depth 65: give a number from 1 to 64' bench --depth 65 "$(target data)"
lh_fails 'size 0: give a number' bench --size 0 "$(target data)"
lh_fails 'write it as OFFSET:LENGTH' bench --range 1M "$(target data)"
lh_fails 'range error: 2097152 bytes at offset 3145728 are not all inside data' bench --range 3M:2M "$(target data)"
lh_fails 'less than one operation' bench --range 0:4k --size 8k "$(target data)"
daemon_stop
