#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# another file cloned into it, which stays as it was
# limit: 600
. "$E2E_CASES/../storm.sh"
needs_clones
storm clone-in
