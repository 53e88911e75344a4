#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC1091
# the same, when the file is opened again and again, which recalls it
# needs: iwarp host
# why: another daemon than the one that is installed, on a file that is no DAX
# limit: 3600
. "$E2E_CASES/../sweep.sh"
sweep recall
