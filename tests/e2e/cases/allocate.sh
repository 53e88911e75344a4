#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# put --allocate fills the holes of a sparse file and goes directly; prepare = allocate does at start
# limit: 90
use d
truncate -s 16M "$files/data"
truncate -s 8M "$files/prepared"
add_export data "$files/data"
add_export prepared "$files/prepared" 'prepare = "allocate";'
daemon_start
expect "hole_bytes of the prepared one" "$(status .exports[1].hole_bytes)" 0
expect "hole_bytes" "$(status .exports[0].hole_bytes)" $((16 << 20))
make_file "$tmp/a" 16
lh_fails 'backed|hole|allocate' hold --seconds 1 "$(target data)"
lh_ok put --direct --allocate "$tmp/a" "$(target data)"
expect "hole_bytes after put --allocate" "$(status .exports[0].hole_bytes)" 0
expect "the sentence about its holes" "$(status .exports[0].why | grep -c 'in holes' || true)" 0
expect "size" "$(size_of "$files/data")" $((16 << 20))
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
