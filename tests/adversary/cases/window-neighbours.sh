#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # arena.sh looks at it
# uses a neighbour's key, and guesses: values near its own key and near the neighbour's; keys are windows
# limit: 90
grant_keys=window
. "$E2E_CASES/neighbours.sh"
