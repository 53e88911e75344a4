#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC1091
# without a journal the same commands leave a torn block at some moment
# needs: iwarp host
# why: another daemon than the one that is installed, on a file that is no DAX
# limit: 3600
. "$E2E_CASES/../sweep.sh"
torn_somewhere
