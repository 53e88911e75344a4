#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC1091
# the same, when power fails again at every moment of the start after, which makes blocks whole
# needs: iwarp host
# why: another daemon than the one that is installed, on a file that is no DAX
# limit: 3600
. "$E2E_CASES/../sweep.sh"
sweep whole 25 'sector_atomic = "journal";'
