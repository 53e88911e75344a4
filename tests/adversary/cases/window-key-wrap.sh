#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # arena.sh looks at it
# acquires and releases 300 times, so that a key of 8 bits comes round, and uses the keys of before; keys are windows
# limit: 90
grant_keys=window
. "$E2E_CASES/key-wrap.sh"
