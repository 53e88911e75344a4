#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# never answers a Recall and goes on writing, on the same queue and on new ones
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
rogue_start foe ignore $((4 + slow)) $prey $((2 * mib))
foe_says granted 10
landlord
foe_ends
refused 1
last=$(awk '$1 == "worked" { at = $2 } END { print at == "" ? 0 : at }' "$tmp/foe.out")
[ "$last" -gt 0 ] || fail "the key never worked, so the test proves nothing"
[ "$last" -lt "$landlord_done" ] || fail "the key worked $(((last - landlord_done) / 1000)) µs after the landlord went on"
verdict 1
