#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # a variable of storm.sh
# a hole is punched and filled again by a local program: nothing remote reaches that while it has the file open
# limit: 600
directly=1
. "$E2E_CASES/../storm.sh"
storm refill
