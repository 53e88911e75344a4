# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # variables of lib.sh
# Blocks of files: which they have, and how freed ones come to be another file's at once. A case that
# looks after stray writes sources this.

# The rest of the file system is filled, so that there are no blocks for the canary but those freed.
# Twice, since what was deleted shortly before is free only when the journal says so.
fill_up() {
	local step device
	# Both keep blocks back that no file can fill up, and would give the canary those once others are freed.
	if [ "$(stat -f -c %T "$files")" = xfs ]; then
		xfs_io -x -c 'resblks 0' "$files" >/dev/null
	else
		device=$(findmnt -n -o SOURCE -T "$files")
		echo 0 >"/sys/fs/ext4/${device##*/}/reserved_clusters"
	fi
	: >"$files/filler"
	for step in 256M 32M 4M 256K 4K 32M 4M 256K 4K; do
		[ $step != 32M ] || sync -f "$files"
		while fallocate -o "$(size_of "$files/filler")" -l $step "$files/filler" 2>/dev/null; do :; done
	done
	filled=$(size_of "$files/filler")
}

# leave BYTES: so much is free after all, or more, for what the file system notes down. xfs wants some
# even to write to what is allocated.
leave() {
	[ "$(size_of "$files/filler")" -le $((filled - $1)) ] || truncate -s $((filled - $1)) "$files/filler"
}

blocks_of() { filefrag -v -b4096 "$1" 2>/dev/null | sed -n 's/^ *[0-9]*: *[0-9]*\.\. *[0-9]*: *\([0-9]*\)\.\. *\([0-9]*\):.*/\1 \2/p'; }
# How many blocks two lists of extents have in common.
shared_blocks() {
	awk 'NR == FNR { a[NR] = $1; b[NR] = $2; n = NR; next }
		{ for (i = 1; i <= n; i++) { lo = $1 > a[i] ? $1 : a[i]; hi = $2 < b[i] ? $2 : b[i]; if (hi >= lo) sum += hi - lo + 1 } }
		END { print sum + 0 }' "$1" "$2"
}
