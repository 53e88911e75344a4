#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# writes and reads past its range: a byte, a page, around the end of all addresses; and against its access
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
rogue beyond $prey >"$tmp/foe.out" 2>&1 || fail "beyond: $(grep worked "$tmp/foe.out" || tail -1 "$tmp/foe.out")"
refused 11
rogue read-only $prey >"$tmp/foe.out" 2>&1 || fail "read-only: $(tail -1 "$tmp/foe.out")"
refused 1
landlord
helper check "$files/data" $prey $mib "$pattern" || fail "what was refused has changed bytes"
verdict 0
