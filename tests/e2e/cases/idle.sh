#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# an idle daemon sleeps, with and without connected clients: at most 2 % of a CPU over 2 s
# limit: 60
serve 8
sleep 1
idle() {
	local a b
	a=$(helper cpu "$(pid)")
	sleep 2
	b=$(helper cpu "$(pid)")
	[ $((b - a)) -le $((4 * slow)) ] || fail "idle $1 it used $(((b - a) * 10)) ms of CPU time in 2 s"
}
idle "without clients"
client reader hold "$(target data)"
wait_for 10 "a grant" said reader '\bgranted\b'
sleep 0.5
idle "with a client that holds a grant"
client_end reader INT
