#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a target whose queues are smaller than the client would have them: put, get, list and hold keep to them
# limit: 120
use d
make_file "$files/data" 8
add_export data "$files/data"
set_option 'limits = { queue_depth = 48; };'
daemon_start
lh_ok list "$(target)"
for way in direct block; do
	make_file "$tmp/$way" 8
	lh_ok put "--$way" --verify "$tmp/$way" "$(target data)"
	lh_ok get "--$way" "$(target data)" "$tmp/back"
	same_files "$tmp/back" "$tmp/$way"
done
client holder hold --write "$(target data)"
wait_for 10 "a grant" said holder '\bgranted\b'
# A target may come back with smaller ones: it is asked anew.
daemon_kill
sed -i 's/queue_depth = 48/queue_depth = 32/' "$tmp/d/options"
daemon_start
wait_for 20 "a grant of the new target" said holder '\bregranted\b'
client_end holder INT
