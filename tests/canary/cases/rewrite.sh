#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# rewritten by a local process: what it wrote is read from remote, directly or by block commands
# limit: 600
. "$E2E_CASES/../storm.sh"
storm rewrite
