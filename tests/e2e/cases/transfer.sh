#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# put and get, directly and by block, each read back the other way; SHA-256 of 64 MiB
# limit: 120
serve 64
make_file "$tmp/a" 64
make_file "$tmp/b" 64
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/a2"
expect "SHA-256 of put --direct, get --block" "$(sha "$tmp/a2")" "$(sha "$tmp/a")"
lh_ok put --block "$tmp/b" "$(target data)"
lh_ok get --direct "$(target data)" "$tmp/b2"
expect "SHA-256 of put --block, get --direct" "$(sha "$tmp/b2")" "$(sha "$tmp/b")"
# Neither way may have used the other's.
expect "grants left" "$(status .exports[0].grants)" 0
daemon_flat
daemon_stop
same_files "$files/data" "$tmp/b"
