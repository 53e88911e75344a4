#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # arena.sh looks at it
# gives its grant back and goes on writing, on the same queue and on new ones; keys are windows
# limit: 60
grant_keys=window
. "$E2E_CASES/keeps-writing.sh"
