#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034,SC1091 # variables of lib.sh and of bash
# the shell completes verbs, words, options and names of exports
# needs: host
# why: nothing in it depends on the adapter or on the file system
serve 4
mkdir "$tmp/bin"
ln -s "$leasehold" "$tmp/bin/leasehold"
PATH=$tmp/bin:$PATH
. "$lib/../../config/completion/leasehold.bash"
# The admin socket of the case is not where the program looks.
_leasehold_exports() { leasehold export list -o json --socket "$tmp/d/admin.sock" | sed -n 's/^ *"name": *"\(.*\)",*$/\1/p'; }

# completes WANTED WORD...: all that is offered for the last word
completes() {
	local wanted=$1
	shift
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_leasehold || true
	expect "what completes \"$*\"" "${COMPREPLY[*]}" "$wanted"
}
completes "discover" leasehold dis
completes "doctor" leasehold doc
completes "--json" leasehold doctor --j
completes "read referral reclaim reload" leasehold re
completes "add" leasehold export ad
completes "add remove resize rung offline online list" leasehold export ''
completes "data" leasehold export remove ''
completes "data" leasehold export offline ''
completes "data" leasehold reclaim d
completes "--range" leasehold reclaim --ra
completes "list add remove ana" leasehold listener ""
completes "json" leasehold status -o ''
completes "" leasehold nosuch ''
[ "$(_leasehold_options bench | wc -l)" -ge 8 ] || fail "bench has the options $(_leasehold_options bench | tr '\n' ' ')"
# Each verb of the help is one, and each has options.
_leasehold_verbs >"$tmp/verbs"
[ "$(wc -l <"$tmp/verbs")" -ge 14 ] || fail "there are few verbs: $(tr '\n' ' ' <"$tmp/verbs")"
while read -r verb; do
	_leasehold_options "$verb" | grep -qx -- --help || fail "no options are found for $verb"
done <"$tmp/verbs"
! command -v zsh >/dev/null || zsh -n "$lib/../../config/completion/_leasehold" || fail "zsh cannot read it"
daemon_stop
