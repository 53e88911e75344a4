#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# a truncate through an overlay, which asks nobody, is warned of, noticed, and what is left is served
# needs: host
# why: nothing in it depends on the adapter
# limit: 90
[ "$(id -u)" = 0 ] || skip "to mount an overlay takes root"
mkdir "$files/up" "$files/low" "$files/work" "$tmp/merged"
make_file "$files/up/data" 8
make_file "$files/beside" 1
mount -t overlay overlay -o "lowerdir=$files/low,upperdir=$files/up,workdir=$files/work" "$tmp/merged" 2>"$tmp/mount" ||
	skip "no overlay can be mounted here: $(head -1 "$tmp/mount")"
at_end() { umount -l "$tmp/merged" 2>/dev/null || true; }

size_is() { [ "$(status .exports[0].size_bytes)" = "$1" ]; }
# A writer of block commands and a direct one at the end that goes; a reader of what stays.
use d
add_export data "$files/up/data"
add_export beside "$files/beside"
daemon_start
expect_text "the warning at start" "$(log)" "data: .*upper directory of the overlay on $tmp/merged: a truncate"
expect_text "the warning in status" "$(status '.exports[0].warnings[]')" 'upper directory of the overlay'
expect "none for the file beside" "$(status '.exports[1].warnings | map(select(test("overlay"))) | length')" 0
client end hold --range 6M:2M "$(target data)"
client start hold --range 0:1M "$(target data)"
wait_for 10 "both grants" grants_are 2

resize "$tmp/merged/data" $((4 << 20))
wait_for 15 "the size that the file has" size_is $((4 << 20))
wait_serving 0
expect_text "the log" "$(log)" 'data: .*was changed by somebody who did not have to ask.* it has 4194304 bytes'
expect "counted" "$(stats .unasked_changes)" 1
expect "its generation" "$(generation)" 2
expect "the other's" "$(generation 1)" 1
wait_for 10 "the grant of what stays" said start '\bregranted\b'
lh_ok get "$(target data)" "$tmp/out.data"
same_files "$tmp/out.data" "$files/up/data"
expect "fenced clients" "$(stats .clients_fenced)" 0

# Longer, by the same way: the new end is served.
resize "$tmp/merged/data" $((12 << 20))
wait_for 15 "the new size" size_is $((12 << 20))
wait_serving 0
expect "counted again" "$(stats .unasked_changes)" 2
client_end start INT
client_kill end
