#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # storm.sh has it
# cloned into another file, unshared for who writes directly; the clone stays as it was
# limit: 600
unshare=yes
. "$E2E_CASES/../storm.sh"
needs_clones
storm clone-out
