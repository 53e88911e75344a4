#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# misuses the sink keys of Read Requests that it was sent: with a Write, a second response, after use, from elsewhere
# needs: iwarp
# why: over IB and RoCE a READ names no key of the target
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
attack sinks
foe_says ready 30
# The page that it was asked for is still to come at the deadline.
blocks_fenced=1
landlord
foe_says 'done' 30
foe_ends TERM
refused 13
verdict 0
