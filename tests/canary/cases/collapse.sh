#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# cut out of the middle and put back, over and over: what lies behind moves
# limit: 600
. "$E2E_CASES/../storm.sh"
storm collapse
