#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a page-cache file: served with a warning where only the software fabric listens, else refused
# limit: 60
use d
at=$files
if [ "$fabric" = verbs ]; then
	at=$(mktemp -d /var/tmp/leasehold-e2e.XXXXXX)
	echo "$at" >>"$tmp/folders"
fi
make_file "$at/data" 1
add_export data "$at/data"
if [ "$fabric" = verbs ]; then
	daemon_refuses 'data.*(DAX|page cache)'
	skip_rest=yes
else
	daemon_start
	expect "medium" "$(status .exports[0].medium)" 'page cache'
	expect "volatile_cache" "$(status .exports[0].volatile_cache)" true
	warning='data is on a file system without DAX: .*page cache until a host flushes'
	expect_text "the log" "$(log)" "(<4>|warning ).*$warning"
	expect_text "status" "$(status '.exports[0].warnings[]')" "$warning"
	lh_ok list "$(target)"
	# What was put is on the medium when put ends, however it went there.
	make_file "$tmp/a" 1
	for way in --block --direct; do
		before=$(stats .nvme_flushes)
		lh_ok put "$way" "$tmp/a" "$(target data)"
		[ "$(stats .nvme_flushes)" -gt "$before" ] || fail "put $way ended without a flush"
	done
fi
[ -n "${skip_rest-}" ] || daemon_stop
