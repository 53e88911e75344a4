#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a file's last bytes, fewer than a block, are not served: log, status and get say so, and what to do helps
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
use d
head -c 1000000 /dev/urandom >"$shm/data"
add_export data "$shm/data"
daemon_start
warning='data has 1000000 bytes, not a multiple of 4096: the last 576 are not served; leasehold export resize data 1003520'
at=(--socket "$tmp/d/admin.sock")
expect_text "the log" "$(log)" "(<4>|warning ).*$warning"
expect_text "status" "$(status '.exports[0].warnings[]')" "$warning"
lh_ok status "${at[@]}"
expect_text "status for people" "$(cat "$tmp/out")" "warnings: .*$warning"
lh_ok get "$(target data)" "$tmp/back"
expect "the size of what was got" "$(size_of "$tmp/back")" 999424
expect_text "get" "$(cat "$tmp/err")" 'data ends at 999424.*does not serve'
lh_ok get --length 4096 "$(target data)" "$tmp/back"
[ ! -s "$tmp/err" ] || fail "get of a part says: $(cat "$tmp/err")"

lh_ok export resize data 1003520 "${at[@]}"
expect "warnings of a whole number of blocks" "$(status '.exports[0].warnings | length')" 0
lh_ok get "$(target data)" "$tmp/back"
[ ! -s "$tmp/err" ] || fail "get of all says: $(cat "$tmp/err")"
cmp -s "$tmp/back" "$shm/data" || fail "the last bytes differ"

# One that gets its tail, or its warnings, while the daemon runs.
resize "$shm/data" 999990
wait_for 10 "a warning of the new tail" grep -q 'data has 999990 bytes' "$tmp/d/log"
truncate -s 12345 "$shm/more"
lh_ok export add more "$shm/more" "${at[@]}"
expect_text "the log" "$(log)" 'warning .*more has 12345 bytes.*the last 57 '
expect_text "export add" "$(status '.exports[1].warnings[]')" 'more is sparse'
lh_ok export remove more "${at[@]}"
