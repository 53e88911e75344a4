#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a verbs listener where there is no RDMA device: a clear error
# needs: host iwarp
# why: the VM has an RDMA device
# limit: 60
[ -z "$(ls /sys/class/infiniband 2>/dev/null)" ] || skip "this machine has an RDMA device"
use d
make_file "$shm/data" 1
add_export data "$shm/data"
add_listener verbs "$addr" "$(port)"
daemon_refuses 'RDMA device|rdma_ucm|ib_uverbs|adapter'
# The client says so too.
use e
lh_fails 'RDMA device|rdma_ucm|ib_uverbs|adapter' list "rdma://$addr:$(port)/data"
