#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a client killed in the middle of writing leaves nothing behind; the next one gets its range
# limit: 90
serve 64
make_file "$tmp/a" 64
for n in 1 2 3; do
	client writer hold --write "$(target data)"
	wait_for 10 "a grant" said writer '\bgranted\b'
	sleep 0.2
	client_kill writer
	wait_for 10 "its grants gone" grants_are 0
	client putter put --direct "$tmp/a" "$(target data)"
	sleep 0.0$((n * 3))
	# It may have been quicker.
	client_alive putter && client_kill putter
	unset "c_pid[putter]"
done
wait_for 20 "all clients gone" eval '[ "$(status ".clients | length")" = 0 ]'
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
expect "recalls" "$(status .exports[0].recalls)" 0
