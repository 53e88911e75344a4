#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# a hole punched and filled again, over and over
# limit: 600
. "$E2E_CASES/../storm.sh"
storm punch
