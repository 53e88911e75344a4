#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# commits ranges not its own, stale generations, after the recall, before Hello
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
attack commits
foe_says ready 20
landlord
foe_says 'done' 30
foe_ends TERM
verdict 0
