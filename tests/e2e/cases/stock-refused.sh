#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the kernel's own soft-RoCE misplaces bytes on demand: the self-test refuses it and says why; copies serve
# needs: vm
# why: it takes the stock rxe (scripts/testbed --rdma stock)
# limit: 90
[ "${LEASEHOLD_TESTBED_RDMA-}" = stock ] || skip "rxe is mended here; run it under scripts/testbed --rdma stock"
use d
make_file "$files/data" 8
add_export data "$files/data" 'registration = "odp";'
add_listener verbs "$addr" "$(port)"
daemon_refuses 'data.*rxe0'
expect_text "the log" "$(log)" 'ODP|on.demand'
expect_text "the log" "$(log)" 'offset|wrong place|wrong byte|other bytes|differ'
# Unless something else will do: then bytes are copied, durably, and it says why.
use staged
add_export data "$files/data"
add_listener verbs "$addr" "$(port)"
daemon_start
expect "rung" "$(status .exports[0].rungs[0].rung)" staged
expect_text "why" "$(status .exports[0].rungs[0].why)" 'odp: .*(offset|wrong place|wrong byte|other bytes|differ)'
expect_text "the log" "$(log)" 'data: with rxe0 bytes are copied'
expect "volatile_cache" "$(status .exports[0].volatile_cache)" false
make_file "$tmp/a" 8
lh_ok put -o json "$tmp/a" "rdma://$addr:$(port)/data"
expect "the way of a put" "$(jq -r .way "$tmp/out")" block
lh_ok get --verify --block "rdma://$addr:$(port)/data" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
resize "$files/data" $((4 << 20))
wait_serving
expect "size" "$(size_of "$files/data")" $((4 << 20))
lh_fails 'odp: ' export rung data odp --socket "$tmp/staged/admin.sock"
expect "rung" "$(status .exports[0].rungs[0].rung)" staged
daemon_stop
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
