#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the kernel's own soft-RoCE misplaces bytes on demand: the self-test refuses it and says why
# needs: vm
# why: it takes the stock rxe (scripts/testbed --rdma stock)
# limit: 90
[ "${LEASEHOLD_TESTBED_RDMA-}" = stock ] || skip "rxe is mended here; run it under scripts/testbed --rdma stock"
use d
make_file "$files/data" 8
add_export data "$files/data"
add_listener verbs "$addr" "$(port)"
daemon_refuses 'data.*rxe0'
expect_text "the log" "$(log)" 'ODP|on.demand'
expect_text "the log" "$(log)" 'offset|wrong place|wrong byte|other bytes|differ'
# The same device pins memory well.
use pinned
make_file "$shm/data" 8
add_export data "$shm/data"
add_listener verbs "$addr" "$(port)"
daemon_start
expect "rung" "$(status .exports[0].rungs[0].rung)" pinned
make_file "$tmp/a" 8
lh_ok put --direct "$tmp/a" "rdma://$addr:$(port)/data"
lh_ok get --block "rdma://$addr:$(port)/data" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
daemon_stop
[ -z "$(dmesg | grep -E 'Oops|BUG:' || true)" ] || fail "the kernel oopsed"
