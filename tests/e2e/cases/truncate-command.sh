#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# truncate(1), which opens without waiting: refused while a lease is held, let in when it tries again
# limit: 60
serve 4
client writer hold --write "$(target data)"
wait_for 10 "a grant" said writer '\bgranted\b'
for n in 1 2 3 4 5; do
	tries=0
	until truncate -s $((4 - n % 2))M "$files/data" 2>>"$tmp/truncate.out"; do
		tries=$((tries + 1))
		[ $tries -lt 50 ] || fail "truncate(1) was refused 50 times in a row"
		sleep 0.01
	done
	expect "size" "$(size_of "$files/data")" $(((4 - n % 2) << 20))
	wait_serving
	wait_for 10 "granted again" says_at_least writer $n '\bregranted\b'
done
client_end writer INT
