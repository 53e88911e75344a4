#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# an rdma:// client at a listener of the software fabric only, and the reverse: an error that helps
# limit: 90
serve 1
if [ "$fabric" = iwarp ]; then
	lh_fails 'rdma|RDMA|refused|iwarp' list "rdma://$addr:$(port)/data"
else
	lh_fails 'refused|rdma|RDMA|nobody listens' list "iwarp://$addr:$(port)/data"
	make_file "$shm/soft" 1
	use soft
	add_export data "$shm/soft"
	add_listener iwarp "$addr" "$(port)"
	daemon_start
	lh_ok list "iwarp://$addr:$(port)/data"
	lh_fails 'refused|iwarp|nobody listens|not' list "rdma://$addr:$(port)/data"
	daemon_stop
	use d
fi
lh_ok list "$(target)"
