#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# SIGTERM while clients read and write, directly and by block: ends cleanly in time, nothing left
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/a" 32
make_file "$files/b" 32
add_export a "$files/a"
add_export b "$files/b"
make_file "$tmp/a" 32
for round in 1 2; do
	daemon_start
	client direct hold --write "$(target a)"
	wait_for 10 "a grant" said direct '\bgranted\b'
	: >"$tmp/go"
	(while [ -e "$tmp/go" ]; do timeout -k 1 3 "$leasehold" put --block "$tmp/a" "$(target b)" >/dev/null 2>&1 || true; done) &
	block=$!
	sleep 1
	rm "$tmp/go"
	daemon_stop busy
	client_kill direct
	wait "$block"
	expect "size of a after round $round" "$(size_of "$files/a")" $((32 << 20))
	expect "size of b after round $round" "$(size_of "$files/b")" $((32 << 20))
done
