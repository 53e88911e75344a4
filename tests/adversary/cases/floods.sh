#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# floods of Acquire, Release and Renew one after another, then everything there is to be had
# limit: 60
. "$E2E_CASES/../arena.sh"
arena
attack flood 64
foe_says ready 20
sleep 2
landlord
fenced=$(status .exports[0].last_recall.fenced_clients)
[ "$fenced" -le 1 ] || fail "$fenced clients were fenced, but only one does not answer"
foe_says 'done' 60
foe_ends TERM
verdict "$(status .exports[0].last_recall.fenced_clients)"
