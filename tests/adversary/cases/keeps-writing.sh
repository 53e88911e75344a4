#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# gives its grant back and goes on writing, on the same queue and on new ones
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
rogue_start foe keep $((3 + slow)) $prey $((2 * mib))
foe_says granted 10
landlord
foe_ends
refused 1
said foe '^released' || fail "it was not told, or did not release"
verdict 0
