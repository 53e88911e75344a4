#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the same inode twice in one configuration, or by two daemons, is refused; the first one serves on
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
make_file "$files/data" 4
ln "$files/data" "$files/other-name"
use twice
add_export one "$files/data"
add_export two "$files/other-name"
daemon_refuses 'already|twice|served'

use first
add_export data "$files/data"
daemon_start
client writer hold --write "$(target data)"
wait_for 10 "a grant" said writer '\bgranted\b'
use second
add_export data "$files/other-name"
write_config
status=0
timeout $((20 * slow)) "$daemon" --config "$tmp/second/conf" >"$tmp/second/log" 2>&1 || status=$?
expect "exit status of the second daemon" "$status" 1
expect_text "its log" "$(log)" 'already|served'
expect_text "its log" "$(log)" "${d_pid[first]}"
use first
# Its try did not even recall the first one's lease.
expect "recalls" "$(status .exports[0].recalls)" 0
expect "generation" "$(generation)" 1
is_serving || fail "the first one does not serve any more"
client_end writer INT
