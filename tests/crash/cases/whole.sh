#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC1091
# with a journal no block is torn, and no Write in pieces, by a power failure at any moment
# needs: iwarp host
# why: another daemon than the one that is installed, on a file that is no DAX
# limit: 3600
. "$E2E_CASES/../sweep.sh"
sweep whole '' 'sector_atomic = "journal";'
