#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# uses old keys: released ones and recalled ones, on the queue that they were granted to, beside newer grants
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
attack old-keys
foe_says ready 20
landlord
foe_says 'done' 30
foe_ends TERM
refused 8
verdict 0
