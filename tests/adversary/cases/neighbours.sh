#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# uses a neighbour's key, and guesses: values near its own key and near the neighbour's
# limit: 90
. "$E2E_CASES/../arena.sh"
arena
attack neighbours "$(rounds 64 12)"
foe_says 'done' 60
landlord
foe_ends TERM
refused 9
verdict 0
