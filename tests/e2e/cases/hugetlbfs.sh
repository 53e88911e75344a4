#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a file on hugetlbfs is served, with a volatile cache announced
# limit: 90
huge=''
for dir in /run/hugetlb /dev/hugepages; do
	mountpoint -q "$dir" 2>/dev/null && huge=$dir
done
[ -n "$huge" ] || skip "no hugetlbfs is mounted on this machine"
free=$(awk '$1 == "HugePages_Free:" { print $2 }' /proc/meminfo)
[ "$free" -ge 8 ] || skip "only $free huge pages are free, 8 are needed"
use d
file=$huge/leasehold-e2e-$$
truncate -s 16M "$file"
trap 'rm -f "$file"; finish' EXIT
make_file "$tmp/a" 16
add_export data "$file"
daemon_start
expect "medium" "$(status .exports[0].medium)" memory
expect "volatile_cache" "$(status .exports[0].volatile_cache)" true
lh_ok put --direct --allocate "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
lh_ok put --block "$tmp/a" "$(target data)"
lh_ok get --direct "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
