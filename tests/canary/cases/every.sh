#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# all that can be done to one file, one after another, while the same clients write
# limit: 600
. "$E2E_CASES/../storm.sh"
ops=(truncate punch collapse rewrite)
! clones || ops+=(clone-out clone-in)
storm "${ops[@]}"
