#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034 # storm.sh has it
# another file cloned into it, unshared for who writes directly; the origin stays as it was
# limit: 600
unshare=yes
. "$E2E_CASES/../storm.sh"
needs_clones
storm clone-in
