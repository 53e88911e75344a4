#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# info: what a client is told of one export agrees with what the daemon says, also of one that cannot be held
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 90
use d
make_file "$files/data" 8
make_file "$files/fixed" 2
make_file "$files/copied" 2
truncate -s 4M "$files/sparse"
add_export data "$files/data"
add_export fixed "$files/fixed" 'read_only = true;'
add_export copied "$files/copied" 'registration = "staged";'
add_export sparse "$files/sparse"
set_option 'recall_deadline_ms = 1700;'
daemon_start

# of JQ EXPORT: a field of the JSON.
of() {
	lh_ok info --json "$(target "$2")"
	jq -r "$1" "$tmp/out"
}
expect "names" "$(of '[.name, .nsid, .nqn, .uuid] | join(" ")' data)" \
	"data $(status '.exports[0] | "\(.nsid)"') $(status .daemon.nqn) $(status '.exports[0].uuid')"
nguid=$(grep -rhoP '^nguid=\K.*' "$tmp/d/state" | tr -d - | sort | head -40)
grep -qx "$(jq -r .nguid "$tmp/out" | tr -d -)" <<<"$nguid" || fail "the nguid is none of the target's: $(jq -r .nguid "$tmp/out")"
expect "its nguid is not its uuid" "$(jq '.nguid != .uuid' "$tmp/out")" true
expect "size, blocks, generation" "$(jq -r '[.size_bytes, .block_bytes, .generation, .state, .read_only] | join(" ")' "$tmp/out")" \
	"$((8 << 20)) $(status '.exports[0].lba_bytes') 1 serving false"
expect "direct access" "$(jq -r '.direct | [.now, .why_not, .rung, .access, .recall_deadline_ms] | join(" ")' "$tmp/out")" \
	"true  $(status '.exports[0].rungs[0].rung') read-write 1700"
expect "the round trip" "$(jq '.round_trip | .min_ns > 0 and .min_ns <= .median_ns and .median_ns <= .max_ns and .max_ns < 60e9' "$tmp/out")" true
# The level is the one that a grant gets.
said_level=$(jq -r .direct.durability "$tmp/out")
client c hold --range 0:1M "$(target data)"
wait_for 10 "a grant" said c granted
expect "the durability of a grant" "$(admin '{"v":1,"cmd":"grants"}' | jq -r '.result.grants[0].durability')" "$said_level"
client_end c INT

# Those of which no grant can be had, and why; the one that can be read only.
expect "one that is copied" "$(of '.direct | [.now, .rung] | join(" ")' copied)" "false staged"
expect_text "why not" "$(jq -r .direct.why_not "$tmp/out")" '^it is staged: .* \(asked for\)$'
expect "one without blocks" "$(of '.direct.now' sparse)" false
expect_text "what helps" "$(jq -r .direct.why_not "$tmp/out")" 'allocate'
expect "the read-only one" "$(of '[.read_only, .direct.now, .direct.access] | join(" ")' fixed)" "true true read"
lh_ok info "$(target fixed)"
expect_text "the text of it" "$(cat "$tmp/out")" '^  direct access +yes, .*, to read$'
! grep -q 'direct writes' "$tmp/out" || fail "it speaks of writes to what is read-only"
lh_ok info "$(target copied)"
expect_text "the text of the one that is copied" "$(cat "$tmp/out")" '^  direct access +not now: '
lh_ok info "$(target data)"
expect_text "the text" "$(cat "$tmp/out")" "^  size +8\\.0 MiB: 8388608 bytes, in blocks of $(status '.exports[0].lba_bytes')$"

# Another generation, another size: it asks anew each time. It holds nothing, so nobody is recalled for it.
head -c 1 "$files/data" >/dev/null
wait_serving
expect "the next generation" "$(of .generation data)" "$(generation)"
fallocate -l 10M "$files/data"
wait_serving
expect "the new size" "$(of .size_bytes data)" $((10 << 20))
expect "grants given for all this" "$(stats .grants)" 1

# While the file system has the blocks.
exec 9<"$files/data"
wait_for 10 "the daemon to have let go" eval '[ "$(export_state)" = released ]'
expect "what is said of it then" "$(of '[.state, .direct.now] | join(" ")' data)" "reacquiring false"
exec 9<&-
wait_serving

lh_fails 'no export "nothing"' info "$(target nothing)"
lh_fails 'names no export' info "$(target)"
lh_fails 'info wants one target' info
lh_fails 'no listener|refused' info "$(scheme)://$addr:1/data"
daemon_flat
