#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC1091
# with a journal what was answered survives a power failure at every moment, as without
# needs: iwarp host
# why: another daemon than the one that is installed, on a file that is no DAX
# limit: 3600
. "$E2E_CASES/../sweep.sh"
sweep block '' 'sector_atomic = "journal";'
