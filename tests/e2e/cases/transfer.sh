#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# put and get, directly and by block, each read back the other way; SHA-256 of 64 MiB
# limit: 120
serve 64
make_file "$tmp/a" 64
make_file "$tmp/b" 64
# What is said to go directly must not have gone by block commands in part.
directly() { expect "way and fallbacks" "$(jq -r '"\(.way) \(.fallbacks)"' "$tmp/out")" 'direct 0'; }
lh_ok put -o json --direct "$tmp/a" "$(target data)"
directly
lh_ok get --block "$(target data)" "$tmp/a2"
expect "SHA-256 of put --direct, get --block" "$(sha "$tmp/a2")" "$(sha "$tmp/a")"
lh_ok put --block "$tmp/b" "$(target data)"
lh_ok get -o json --direct "$(target data)" "$tmp/b2"
directly
expect "SHA-256 of put --block, get --direct" "$(sha "$tmp/b2")" "$(sha "$tmp/b")"
expect "grants left" "$(status .exports[0].grants)" 0
daemon_flat
daemon_stop
same_files "$files/data" "$tmp/b"
