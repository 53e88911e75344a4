#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# put and get with --verify succeed; a put of a file larger than the export is refused
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 16
make_file "$tmp/a" 16
for how in --direct --block; do
	lh_ok put --verify "$how" "$tmp/a" "$(target data)"
	lh_ok get --verify "$how" "$(target data)" "$tmp/b"
	same_files "$tmp/a" "$tmp/b"
done
make_file "$tmp/large" 17
lh_fails 'larger|does not fit|bytes|range' put "$tmp/large" "$(target data)"
lh_ok get "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
