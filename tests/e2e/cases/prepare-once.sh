#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# prepare = allocate fills holes when an export is new or adopted; one that is punched stays over restarts
# limit: 90
use d
truncate -s 8M "$files/data"
add_export data "$files/data" 'prepare = "allocate";'
holes() { status .exports[0].hole_bytes; }
holes_are() { [ "$(holes)" = "$1" ]; }
punch() { fallocate -p -o "$1" -l 1M "$files/data"; }

daemon_start
expect "bytes in holes of a new one" "$(holes)" 0
make_file "$tmp/a" 1
lh_ok put "$tmp/a" "$(target data)"
# By the landlord while it is served, …
punch 4M
wait_serving
wait_for 5 "the hole seen" holes_are $((1 << 20))
blocks=$(stat -c %b "$files/data")
daemon_stop
daemon_start
expect "bytes in holes after a restart" "$(holes)" $((1 << 20))
[ "$(stat -c %b "$files/data")" -le "$blocks" ] || fail "the file has $(stat -c %b "$files/data") blocks after a restart, and had $blocks"
# … while nobody serves it, …
daemon_stop
punch 6M
daemon_start
expect "bytes in holes after another one" "$(holes)" $((2 << 20))
# … and while a daemon is gone that was killed.
daemon_kill
punch 2M
daemon_start
expect "bytes in holes after a crash" "$(holes)" $((3 << 20))
# Who wants some filled says so.
lh_ok put --allocate --offset 6M "$tmp/a" "$(target data)"
expect "bytes in holes after --allocate" "$(holes)" $((2 << 20))
lh_ok export remove data --socket "$tmp/d/admin.sock"
lh_ok export add data "$files/data" --prepare allocate --socket "$tmp/d/admin.sock"
expect "bytes in holes of one that is known" "$(holes)" $((2 << 20))
lh_ok export remove data --socket "$tmp/d/admin.sock"
lh_ok export add --adopt data "$files/data" --prepare allocate --socket "$tmp/d/admin.sock"
expect "bytes in holes of one that is adopted" "$(holes)" 0
lh_ok get --length 1M "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
