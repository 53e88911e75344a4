#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# two clients: writers exclude each other, readers share; a freed range can be had again
# limit: 90
serve 8
client first hold --write "$(target data)"
wait_for 10 "a grant" said first '\bgranted\b'
lh_fails 'another client|holds' hold --write --seconds 1 "$(target data)"
# What is taken directly can still be read and written by block, and read by others.
lh_ok read --block "$(target data)" 0 4096
client_alive first || fail "the holder ended"
client_end first INT
lh_ok hold --write --seconds 1 "$(target data)"
client one hold "$(target data)"
client two hold "$(target data)"
wait_for 10 "a grant for one" said one '\bgranted\b'
wait_for 10 "a grant for two" said two '\bgranted\b'
expect "clients with grants" "$(status .exports[0].clients)" 2
resize "$files/data" $((4 << 20))
wait_for 10 "one told" said one '\btold\b'
wait_for 10 "two told" said two '\btold\b'
expect "clients in the recall" "$(status .exports[0].last_recall.clients)" 2
wait_serving
client_end one INT
client_end two INT
