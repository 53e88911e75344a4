#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# SIGINT ends put, get and hold while the target is gone: in seconds, at a second signal at once
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 90
use d
make_file "$files/data" 4
truncate -s 2G "$files/big" "$tmp/big"
add_export data "$files/data"
add_export big "$files/big"
daemon_start
mkdir "$tmp/sink"
# ends_within NAME SECONDS
ends_within() {
	local status=0 end=$((SECONDS + $2 * slow))
	while client_alive "$1"; do
		[ $SECONDS -le $end ] || fail "$1 still runs $2 s after its signals"
		sleep 0.05
	done
	wait "${c_pid[$1]}" || status=$?
	unset "c_pid[$1]"
	client_reports "$tmp/$1.out"
	# A hold ends well if it says what it could not confirm.
	[ $status -ne 0 ] || said "$1" ' [1-9][0-9]* unconfirmed' || fail "$1 says that it succeeded"
}
client writer hold --write "$(target data)"
wait_for 10 "a grant" said writer '\bgranted\b'
client put put --block "$tmp/big" "$(target big)"
client get get --block "$(target big)" "$tmp/sink/copy"
wait_for 10 "three clients" eval '[ "$(status ".clients | length")" = 3 ]'
daemon_kill
client late put "$tmp/big" "$(target big)"
sleep 0.5
for name in put get writer; do client_alive $name || fail "$name ended when the daemon was killed: $(tail -1 "$tmp/$name.out")"; done
for name in put get writer late; do
	client_alive $name || continue
	kill -INT "${c_pid[$name]}"
done
sleep 0.3
client_alive get && kill -INT "${c_pid[get]}"
ends_within get 2
for name in writer put late; do ends_within $name 13; done
expect "files left by get" "$(find "$tmp/sink" -name '*.part*' | wc -l)" 0
