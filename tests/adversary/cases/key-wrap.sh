#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# acquires and releases 300 times, so that a key of 8 bits comes round, and uses the keys of before
# limit: 90
. "$E2E_CASES/../arena.sh"
arena
attack wrap "$(rounds 24 6)"
foe_says 'done' 60
landlord
foe_ends TERM
refused 1
verdict 0
