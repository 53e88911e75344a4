#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # arena.sh looks at it
# writes and reads past its range: a byte, a page, around the end of all addresses; and against its access; keys are windows
# limit: 60
grant_keys=window
. "$E2E_CASES/past-its-range.sh"
