#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # arena.sh looks at it
# uses old keys: released ones and recalled ones, on the queue that they were granted to, beside newer grants; keys are windows
# limit: 60
grant_keys=window
. "$E2E_CASES/old-keys.sh"
