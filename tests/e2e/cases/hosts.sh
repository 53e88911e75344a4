#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# who may connect from another machine: nobody, a host that is allowed, then denied, any; by verb and by reload
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 90
command -v ip >/dev/null || skip "there is no ip(8)"
[ "$(id -u)" = 0 ] || skip "only root makes another machine of a network namespace"
# Another machine: it goes, with its end of the cable, when the process does.
unshare --net sleep 600 &
other=$!
at_end() { kill "$other" 2>/dev/null || true; }
wait_for 5 "a network of its own" eval '[ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]'
net=10.$((RANDOM % 200 + 20)).$((RANDOM % 250))
cable=lh$((RANDOM))
ip link add "$cable" type veth peer name eth9 netns "$other" || skip "no virtual cable can be made here"
ip addr add "$net.1/30" dev "$cable"
ip link set "$cable" up
there() { nsenter --net="/proc/$other/ns/net" "$@"; }
there ip addr add "$net.2/30" dev eth9
there ip link set eth9 up
nqn=nqn.2014-08.org.nvmexpress:uuid:0af3bb2c-0000-4000-8000-00000000000a
another=nqn.2014-08.org.nvmexpress:uuid:0af3bb2c-0000-4000-8000-00000000000b

use d
add_listener "$fabric" "$addr" "$(port)"
add_listener "$fabric" "$net.1" "$(port)"
serve 16
from=$(scheme)://$net.1:$(port)
expect_text "the log" "$(log)" 'only hosts on this machine may connect'
admin_ok() { lh_ok "$@" --socket "$tmp/d/admin.sock"; }
# from_there VERB ARG...: a client there, of that name.
from_there() { there "$leasehold" "$1" --host-nqn "$nqn" "${@:2}" >"$tmp/out" 2>"$tmp/err"; }
is_refused() {
	local status=0
	from_there "$@" || status=$?
	[ $status -ne 0 ] || fail "leasehold $* worked from another machine"
	expect_text "what the client says" "$(cat "$tmp/err")" "does not let this host \\($nqn\\).*leasehold host allow"
}
lh_ok read "$(target data)" 0 4096
lh_ok read "$from/data" 0 4096
is_refused read "$from/data" 0 4096
expect_text "the log" "$(log)" "host $nqn at $net.2:[0-9]+ is not among those that may connect"
# A name that would do something in a shell: the log has it as a word that does nothing.
! there "$leasehold" read --host-nqn 'nqn.2026-11.org.x:a $(id) b' "$from/data" 0 4096 >/dev/null 2>&1 || fail "a host with an odd name was let in"
expect_text "the log" "$(log)" "leasehold host allow 'nqn\\.2026-11\\.org\\.x:a \\\$\\(id\\) b'"
! there "$leasehold" discover "$from" --host-nqn "$nqn" 2>&1 | grep 'org.leasehold:target' || fail "discovery names what the host may not use"

admin_ok host allow "$nqn"
from_there read "$from/data" 0 4096 || fail "a host that is allowed: $(cat "$tmp/err")"
there "$leasehold" discover "$from" --host-nqn "$nqn" | grep 'org.leasehold:target' >/dev/null || fail "discovery does not name what the host may use"
lh_fails 'is allowed already' host allow "$nqn" --socket "$tmp/d/admin.sock"
lh_fails 'is no NQN' host allow 'no nqn' --socket "$tmp/d/admin.sock"
lh_fails 'is not listed' host deny "$another" --socket "$tmp/d/admin.sock"

# Whoever is there goes when it is denied, and comes back when it is allowed.
nsenter --net="/proc/$other/ns/net" "$leasehold" hold --write --host-nqn "$nqn" "$from/data" >"$tmp/holder.out" 2>&1 &
c_pid[holder]=$!
wait_for 10 "a grant" said holder '\bgranted\b'
admin_ok host list -o json
expect "its controllers" "$(jq -r '.hosts[0].controllers' "$tmp/out")" 1
admin_ok host deny "$nqn"
wait_for 10 "its controller gone" eval '[ "$(status ".clients | length")" = 0 ]'
expect "grants" "$(status .exports[0].grants)" 0
is_refused read "$from/data" 0 4096
lh_ok read "$(target data)" 0 4096
client_kill holder
unset "c_pid[holder]"

# The same by the configuration file.
set_option "hosts = ( { nqn = \"$nqn\"; } );"
write_config
admin_ok reload
from_there read "$from/data" 0 4096 || fail "a host that the file lists: $(cat "$tmp/err")"
sed -i 's/^hosts = .*/allow_any_host = true;/' "$tmp/d/options"
write_config
admin_ok reload
from_there read "$from/data" 0 4096 || fail "any host: $(cat "$tmp/err")"
lh_fails allow_any_host host deny "$nqn" --socket "$tmp/d/admin.sock"
sed -i '/allow_any_host/d' "$tmp/d/options"
write_config
admin_ok reload
is_refused read "$from/data" 0 4096
daemon_stop
