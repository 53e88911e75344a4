#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# kill -9 of the daemon: the file and its lease are free at once; restarted, clients go on
# limit: 120
serve 16
make_file "$tmp/a" 16
uuid=$(status .exports[0].uuid)
client writer hold --write "$(target data)"
wait_for 10 "a grant" said writer '\bgranted\b'
old=$(pid)
daemon_kill
expect "leases left" "$(lease_of "$old")" ''
read -r begun ended <<<"$(helper open "$files/data")"
[ $((ended - begun)) -lt $((1000000000 * slow)) ] || fail "open(2) took $(((ended - begun) / 1000)) µs after kill -9"
daemon_start
expect "UUID" "$(status .exports[0].uuid)" "$uuid"
# The same client finds it by itself; then a new one has its turn.
wait_for 30 "the client connected and granted again" said writer '\bregranted\b|\breconnected\b'
wait_for 30 "the client's grant" eval '[ "$(status .exports[0].grants)" -gt 0 ]'
client_end writer INT
wait_for 10 "its grants gone" grants_are 0
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
expect "probe files left" "$(find "$files" -name '.leasehold*' | wc -l)" 0
