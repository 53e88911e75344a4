# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/testbed and the other pieces
# Common to all pieces of scripts/testbed: speaking, downloading, and caching by temporary name and rename.
# Sourced; expects $cache (the folder everything is kept in) and $quiet (0 or 1).

declare -rA EXIT=([usage]=2 [setup]=96 [pins]=97 [unfinished]=98 [kernel]=99)

say() {
	[ "$quiet" -eq 1 ] || printf 'testbed: %s\n' "$*" >&2
}

warn() {
	printf 'testbed: %s\n' "$*" >&2
}

die() { # usage | setup | pins | unfinished | kernel, MESSAGE...
	local status=${EXIT[$1]}

	shift
	warn "$*"
	exit "$status"
}

# Runs a command with its output in a log of the cache; shows the log's end and gives up if the command fails.
logged() { # NAME COMMAND...
	local log=$cache/$1.log

	shift
	"$@" > "$log" 2>&1 && return
	tail -n 40 "$log" >&2
	die setup "failed: $* (all of its output: $log)"
}

hash_of() { # FILE...: one hash over the files' contents, in the order given
	cat "$@" | sha256sum | cut -c1-16
}

# One set-up at a time. What carries .tmp. in its name was left by a set-up that did not live to finish it.
cache_lock() {
	mkdir -p "$cache"
	exec 9> "$cache/lock"
	if ! flock -n 9; then
		say "waiting for another set-up in $cache"
		flock 9
	fi
	find "$cache" -maxdepth 2 -name '*.tmp.*' -exec rm -rf {} +
}

cache_unlock() {
	exec 9>&-
}

# The mirror that apt is set up with, for Debian's own archive (not for security, not for third parties).
mirror() {
	local site

	site=$(debian_site)
	if [ -z "$site" ]; then
		say "apt knows no index of Debian yet: apt-get update"
		logged apt apt-get update
		site=$(debian_site)
	fi
	[ -n "$site" ] || die setup "apt is set up with no mirror of Debian"
	printf '%s\n' "${site%/}"
}

debian_site() {
	# shellcheck disable=SC2016 # the variables are apt's
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(SITE)' 'Created-By: Packages' 2> /dev/null |
		awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 ~ /^(https?|file):/ && !found++ { print $3 }'
}

# A proxy that only apt knows of is used by curl and debootstrap too.
proxy_from_apt() {
	local http='' https=''

	eval "$(apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy)"
	[ -z "$http" ] || [ "$http" = DIRECT ] || export http_proxy=${http_proxy:-$http}
	[ -z "$https" ] || [ "$https" = DIRECT ] || export https_proxy=${https_proxy:-$https}
}

# Downloads with retries; the file appears under its name only when it is whole and has the hash it should have.
download() { # URL FILE [SHA256]
	local url=$1 file=$2 sha256=${3:-} try status

	for try in 1 2 3; do
		status=0
		download_once "$url" "$file.tmp.$$" "$sha256" || status=$?
		if [ "$status" -eq 0 ]; then
			mv "$file.tmp.$$" "$file"
			return
		fi
		rm -f "$file.tmp.$$"
		[ "$status" -ne 22 ] || return 1 # not there, says the server: asking again does not help
		[ "$try" -eq 3 ] || sleep $((try * 3))
	done
	return 1
}

download_once() { # URL FILE SHA256
	curl -fsSL --retry 3 --connect-timeout 20 --speed-limit 1000 --speed-time 60 -o "$2" "$1" || return
	[ -z "$3" ] && return
	[ "$(sha256sum < "$2")" = "$3  -" ] && return
	warn "$1 does not have the SHA256 its index names"
	return 1
}

# Debian's keyring, or nothing and a warning.
debian_keyring() {
	local ring

	for ring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		if [ -r "$ring" ]; then
			printf '%s\n' "$ring"
			return
		fi
	done
	warn "no debian-archive-keyring on this machine: signatures are NOT checked"
}
