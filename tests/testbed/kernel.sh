# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/testbed and the other pieces
# The guest's kernel: the newest of Debian 13's backports, with its modules, headers and the sources of rxe and siw.
# A kernel is fetched as one set, all or nothing: the mirror drops old versions, and half a set could never be
# completed. Nothing is installed on the host. Sourced; kernel_prepare sets $kernel (version) and $kernel_dir:
#   root/    vmlinuz and modules       build/  headers and kbuild       source/{rxe,siw}

readonly SUITE=trixie-backports

kernel_prepare() { # REFRESH (0 or 1)
	kernel=${LEASEHOLD_TESTBED_KERNEL:-}
	if [ -z "$kernel" ] && [ "$1" -eq 0 ] && [ -e "$cache/kernel/current" ]; then
		kernel=$(< "$cache/kernel/current")
	fi
	if [ -z "$kernel" ] || [ ! -d "$cache/kernel/$kernel" ]; then
		index_fetch
		: "${kernel:=$(kernel_newest)}"
		[ -n "$kernel" ] || die setup "no kernel in $SUITE of $(mirror)"
		[ -d "$cache/kernel/$kernel" ] || kernel_fetch
	fi
	[ -n "${LEASEHOLD_TESTBED_KERNEL:-}" ] || printf '%s\n' "$kernel" > "$cache/kernel/current"
	kernel_dir=$cache/kernel/$kernel
}

# The suite's index of packages, checked against its Release file, which is checked against Debian's keyring.
index_fetch() {
	local site base sha256

	site=$(mirror)
	base=$site/dists/$SUITE
	mkdir -p "$cache/index" "$cache/kernel"
	say "reading the index of $SUITE from $site"
	download "$base/InRelease" "$cache/index/InRelease" || die setup "cannot read $base/InRelease"
	release_verify
	sha256=$(release_sha256 main/binary-amd64/Packages.xz)
	[ -n "$sha256" ] || die setup "$base/InRelease names no main/binary-amd64/Packages.xz"
	# By hash first: the plain name may already be a newer index than the Release file just read.
	download "$base/main/binary-amd64/by-hash/SHA256/$sha256" "$cache/index/Packages.xz" "$sha256" 2> /dev/null ||
		download "$base/main/binary-amd64/Packages.xz" "$cache/index/Packages.xz" "$sha256" ||
		die setup "cannot read the index of packages of $base"
}

# Leaves in index/Release what the signature covers, no more.
release_verify() {
	local ring

	ring=$(debian_keyring)
	rm -f "$cache/index/Release"
	if [ -z "$ring" ]; then
		sed '1,/^$/d; /^-----BEGIN PGP SIGNATURE/,$d' "$cache/index/InRelease" > "$cache/index/Release"
		return
	fi
	logged index/gpgv gpgv --keyring "$ring" --output "$cache/index/Release" "$cache/index/InRelease"
}

release_sha256() { # PATH
	awk -v path="$1" '/^[^ ]/ { in_sha256 = /^SHA256:/ } in_sha256 && $3 == path { print $1; exit }' \
		"$cache/index/Release"
}

kernel_newest() {
	xz -dc "$cache/index/Packages.xz" |
		sed -nE 's/^Package: linux-image-([0-9.]+\+deb[0-9]+-amd64)$/\1/p' | sort -V | tail -n 1
}

kernel_fetch() {
	local dir=$cache/kernel/$kernel.tmp.$$ abi=${kernel%-amd64} series version

	series=$(grep -oE '^[0-9]+\.[0-9]+' <<< "$kernel")
	version=$(package_field "linux-binary-$kernel" '' Version)
	[ -n "$version" ] || die setup "the mirror has no linux-binary-$kernel (any more): try --refresh"
	say "fetching kernel $kernel ($version): kernel, modules, headers, source"
	mkdir -p "$dir"/{root,build,source}
	package_unpack "linux-binary-$kernel" "$version" "$dir/root"
	package_unpack "linux-modules-$kernel" "$version" "$dir/root"
	package_unpack "linux-base-$kernel" "$version" "$dir/root"
	package_unpack "linux-headers-$kernel" "$version" "$dir/build"
	package_unpack "linux-headers-$abi-common" "$version" "$dir/build"
	package_unpack "linux-kbuild-$abi" "$version" "$dir/build"
	package_unpack "linux-source-$series" "$version" "$dir/source.deb"
	tar -xJf "$dir/source.deb/usr/src/linux-source-$series.tar.xz" -C "$dir/source" --strip-components=4 \
		"linux-source-$series/drivers/infiniband/sw/rxe" "linux-source-$series/drivers/infiniband/sw/siw"
	rm -rf "$dir/source.deb"
	ln -s usr/lib "$dir/root/lib"
	depmod -b "$dir/root" "$kernel"
	mv "$dir" "$cache/kernel/$kernel"
}

package_unpack() { # NAME VERSION DIR
	local deb=$cache/kernel/package.deb sha256 file

	file=$(package_field "$1" "$2" Filename)
	sha256=$(package_field "$1" "$2" SHA256)
	[ -n "$file$sha256" ] || die setup "$SUITE has no package $1 of version $2: try --refresh"
	say "  $1"
	download "$(mirror)/$file" "$deb" "$sha256" || die setup "cannot download $(mirror)/$file"
	dpkg-deb -x "$deb" "$3" || die setup "cannot unpack $file"
	rm -f "$deb"
}

# A field of a package in the index; several versions of one package may be there (VERSION empty: any).
package_field() { # NAME VERSION FIELD
	xz -dc "$cache/index/Packages.xz" | awk -v RS= -v FS='\n' -v name="$1" -v version="$2" -v field="$3" '
		$1 == "Package: " name && (version == "" || index($0 "\n", "\nVersion: " version "\n")) {
			for (i = 1; i <= NF; i++)
				if (index($i, field ": ") == 1 && !done++)
					print substr($i, length(field) + 3)
		}'
}
