#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# windows are believed where their bounds are proven, and not where soft-RoCE only claims them
# needs: vm
# why: it takes both kinds of rxe (scripts/testbed --rdma fixed-mw)
# limit: 90
case ${LEASEHOLD_TESTBED_RDMA-} in
fixed) proven=false ;;
fixed-mw) proven=true ;;
*) skip "it is about rxe with on-demand paging mended" ;;
esac
serve 8
expect "windows proven" "$(status .exports[0].rungs[0].windows_proven)" $proven
[ $proven = true ] || expect_text "the reason" "$(status .exports[0].rungs[0].why)" 'window'
make_file "$tmp/a" 8
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
