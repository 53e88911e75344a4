#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a file another process has open: refused and the process named; with busy = "wait" waited for
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
use d
make_file "$files/data" 4
add_export data "$files/data" 'busy = "refuse";'
helper_start opener hold "$files/data" 600
opener=${c_pid[opener]}
wait_for 10 "the open" grep -q open "$tmp/opener.out"
daemon_refuses "\(pid $opener\)"
expect_text "the log" "$(log)" 'python'

use waits
add_export data "$files/data" 'busy = "wait";'
daemon_start
expect_text "the log" "$(log)" "pid $opener"
[ "$(export_state)" != serving ] || fail "it is served while another process has it open"
lh_ok list "$(target)"
lh_fails 'is offline' get "$(target data)" "$tmp/empty"
[ ! -e "$tmp/empty" ] || fail "a get of an export that is not there made a file"
lh_fails 'is offline' read "$(target data)" 0 512
make_file "$tmp/a" 1
lh_fails 'is offline' put --block "$tmp/a" "$(target data)"
client_kill opener
wait_serving
make_file "$tmp/a" 4
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
daemon_flat
