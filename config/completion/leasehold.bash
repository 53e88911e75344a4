# SPDX-License-Identifier: BSD-3-Clause
# bash completion for leasehold(1): verbs, their options, and names of exports of this machine's daemon. What there
# is comes from the program's own help, so it is never out of date.
# shellcheck shell=bash disable=SC2207 # words without blanks

_leasehold_verbs() { leasehold --help 2>/dev/null | sed -n '/^  leasehold /d; s/^  \([a-z]\{3,\}\)  *[a-z].*/\1/p'; }
_leasehold_options() { leasehold "$1" --help 2>/dev/null | grep -oE -- '(^|[ ,|])(--[a-z][a-z-]*)' | grep -oE -- '--[a-z-]+' | sort -u; }
# The words of a verb that come first, of usages like "add NAME [PATH] | remove NAME | list".
_leasehold_actions() { leasehold "$1" --help 2>/dev/null | sed -n '1s/^Usage: leasehold [a-z]* \(\[OPTIONS\] \)*//p' | tr '|' '\n' | sed -n 's/^ *\([a-z]\{3,\}\)\( .*\)*$/\1/p'; }
_leasehold_exports() { leasehold export list -o json 2>/dev/null | sed -n 's/^ *"name": *"\(.*\)",*$/\1/p'; }

_leasehold() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "$(_leasehold_verbs) help --help --version" -- "$word"))
		return
	fi
	case $before in
	-o | --output)
		COMPREPLY=($(compgen -W json -- "$word"))
		return
		;;
	--socket) COMPREPLY=($(compgen -f -- "$word")) && return ;;
	help) COMPREPLY=($(compgen -W "$(_leasehold_verbs)" -- "$word")) && return ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$(_leasehold_options "$verb")" -- "$word"))
		return
	fi
	case $verb:$COMP_CWORD in
	export:2 | listener:2 | referral:2 | host:2) COMPREPLY=($(compgen -W "$(_leasehold_actions "$verb")" -- "$word")) ;;
	export:3 | reclaim:2) COMPREPLY=($(compgen -W "$(_leasehold_exports)" -- "$word")) ;;
	status:*) [ "$before" != --grants ] || COMPREPLY=($(compgen -W "$(_leasehold_exports)" -- "$word")) ;;
	export:4 | put:2 | get:3) COMPREPLY=($(compgen -f -- "$word")) ;;
	esac
}
complete -F _leasehold leasehold
