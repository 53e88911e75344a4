#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# one daemon serves a file over adapters and over the software fabric at the same time
# needs: verbs
# why: it takes an RDMA device
# limit: 90
use d
soft=$(helper free-port "$addr")
make_file "$files/data" 8
add_export data "$files/data"
add_listener verbs "$addr" "$(port)"
add_listener iwarp "$addr" "$soft"
daemon_start
make_file "$tmp/a" 8
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --direct "iwarp://$addr:$soft/data" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
make_file "$tmp/a" 8
lh_ok put --direct "$tmp/a" "iwarp://$addr:$soft/data"
lh_ok get --direct "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
