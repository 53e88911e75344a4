#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# answers twice, for other generations, for other ranges, for others' grants
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
# So that there is a generation gone by.
resize "$files/data" $((16 * mib))
wait_serving
attack answers
foe_says ready 20
landlord
foe_says 'done' 30
foe_ends TERM
verdict 0
