#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# cut off and grown again, over and over
# limit: 600
. "$E2E_CASES/../storm.sh"
storm truncate
