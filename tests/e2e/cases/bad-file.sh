#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# an export that is missing, a folder, empty or no plain file: refused with its path and why
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
n=0
refused() {
	n=$((n + 1))
	use "d$n"
	add_export data "$1"
	daemon_refuses "$2"
	expect_text "the log" "$(log)" "$1"
}
refused "$files/missing" 'No such file|not there|missing|does not exist'
refused "$files" '[Dd]irectory|folder'
: >"$files/empty"
refused "$files/empty" 'empty'
mkfifo "$files/pipe"
refused "$files/pipe" 'regular|plain'
refused /dev/null 'neither a regular file nor a device-dax device'
ln -s "$files/missing" "$files/dangling"
refused "$files/dangling" 'No such file|not there|missing|does not exist'
printf x >"$files/tiny"
refused "$files/tiny" 'smaller|block|empty|LBA'
# One bad export among good ones: nothing is served, nothing is left.
make_file "$files/good" 1
use both
add_export good "$files/good"
add_export data "$files/missing"
daemon_refuses 'missing'
expect "size of the good one" "$(size_of "$files/good")" $((1 << 20))
expect "files made" "$(find "$files" -name '.leasehold*' | wc -l)" 0
