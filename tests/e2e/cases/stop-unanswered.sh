#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# a stop while requests of the admin socket are unanswered: clean, and whoever asked is told
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/data" 16
add_export data "$files/data"
set_option 'recall_deadline_ms = 2000;'
round=0
recalling() { log | grep -q 'generation 1 is recalled'; }
# stop_while WHAT ARG...: a client does not let go, so what is asked for takes its time; the stop comes first.
stop_while() {
	local status=0 silent=silent$((++round)) asker=asker$round
	daemon_start
	client "$silent" hold --write "$(target data)"
	wait_for 10 "a grant" said "$silent" '\bgranted\b'
	suspend "${c_pid[$silent]}"
	client "$asker" "$@" --socket "$tmp/d/admin.sock"
	wait_for 2 "the recall for $*" recalling
	client_alive "$asker" || fail "$* was answered before the stop: $(cat "$tmp/$asker.out")"
	daemon_stop busy
	wait "${c_pid[$asker]}" || status=$?
	unset "c_pid[$asker]"
	client_reports "$tmp/$asker.out"
	expect "exit status of $*" "$status" 1
	expect_text "$*" "$(cat "$tmp/$asker.out")" 'is being stopped'
	client_kill "$silent"
}
stop_while export resize data 40M
stop_while export resize data 8M
stop_while export rung data staged
stop_while export remove data
stop_while reclaim data --hold 600
