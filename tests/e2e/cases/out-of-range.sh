#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a range outside the export is refused by both ways, and nothing is changed
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 1
cp "$files/data" "$tmp/before"
wait_serving
for how in --direct --block; do
	lh_fails 'outside|range|beyond' read "$how" "$(target data)" 1048576 1
	lh_fails 'outside|range|beyond' read "$how" "$(target data)" 1048575 2
	echo hello >"$tmp/word"
	lh_fails 'outside|range|beyond' write "$how" "$(target data)" 1048572 <"$tmp/word"
	lh_fails 'outside|range|beyond|number' read "$how" "$(target data)" 18446744073709551615 2
	lh_fails 'outside|range|beyond|number' read "$how" "$(target data)" 9223372036854775807 9223372036854775807
done
daemon_stop
same_files "$files/data" "$tmp/before"
