#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# half connections: TCP without MPA, MPA without Connect, direct queues without Hello, queues that stop reading
# limit: 90
. "$E2E_CASES/../arena.sh"
arena
if [ "$fabric" = iwarp ]; then
	helper_start dialler half-open "$addr" "$(port)" 16 600
	wait_for 10 "connections half open" said dialler '^open'
fi
attack half-open
foe_says ready 20
landlord
foe_says 'done' 60
foe_ends TERM
[ "$fabric" != iwarp ] || client_kill dialler
# What the deaf one was being sent may still have been in flight, or not.
blocks_fenced=$(stats .nvme_block_fences)
[ "$blocks_fenced" -le 1 ] || fail "$blocks_fenced block queues were cut, though only one is deaf"
verdict 0
