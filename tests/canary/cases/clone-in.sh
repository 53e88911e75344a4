#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# another file cloned into it, which stays as it was
# limit: 600
. "$E2E_CASES/../storm.sh"
[ -z "$vm" ] || is_xfs || skip "only xfs clones"
cp --reflink=always /dev/null "$files/probe" 2>/dev/null || skip "this file system does not clone"
storm clone-in 100
