#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a key tried on a target that dies under it is not proven refused; one that lives works
# needs: host
# why: how an adapter tells that its peer is gone is its own affair, and takes its time
# limit: 60
serve 1
trial=$bin/tests/e2e/trial
[ -x "$trial" ] || skip "there is no $trial"
mkfifo "$tmp/go"
# trial NAME: waits for a line in the pipe, open on descriptor 7
trial() {
	"$trial" "$(target data)" <"$tmp/go" >"$tmp/$1.out" 2>&1 &
	c_pid["$1"]=$!
	exec 7>"$tmp/go"
	wait_for 10 "a grant" said "$1" '^ready'
}
trial living
echo go >&7
exec 7>&-
client_end living
expect_text "a trial of a key that lives" "$(cat "$tmp/living.out")" '^works'

trial orphan
suspend "$(pid)"
echo go >&7
exec 7>&-
sleep 0.5
daemon_kill
client_end orphan
expect_text "a trial on a target that died" "$(cat "$tmp/orphan.out")" '^not proven: .*(lost|no end)'
