#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tokens of direct queues: used twice, another controller's, nearly right, never used, after 10 s
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
attack tokens
foe_says ready 20
landlord
foe_says 'done' 40
foe_ends TERM
refused 6
verdict 0
