#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a file on tmpfs is served, with a volatile cache announced; both ways work, recall too
# limit: 90
use d
make_file "$shm/data" 16
make_file "$tmp/a" 16
add_export data "$shm/data"
daemon_start
expect "medium" "$(status .exports[0].medium)" memory
expect "volatile_cache" "$(status .exports[0].volatile_cache)" true
expect "rung" "$(status .exports[0].rungs[0].rung)" pinned
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
client writer hold --write --allocate "$(target data)"
wait_for 10 "a grant" said writer '\bgranted\b'
resize "$shm/data" $((8 << 20))
wait_for 10 "granted again" said writer '\bregranted\b'
expect "size" "$(size_of "$shm/data")" $((8 << 20))
client_end writer INT
