#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# installed in a folder of its own: the library has what its header declares, and the examples built with it work
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
# Not grep -q: nm, which has much to say, would be ended by that, and the pipe fail.
if nm "$bin/initiator/lib/libleasehold.so" 2>/dev/null | grep -E '__(asan|tsan)_init' >/dev/null; then
	skip "built with sanitizers, which other programs are not"
fi
for tool in cc pkg-config cmake; do
	command -v $tool >/dev/null || skip "there is no $tool"
done
root=$tmp/root
DESTDIR=$root cmake --install "$bin" >"$tmp/install.out" 2>&1 || fail "it does not install: $(tail -1 "$tmp/install.out")"
prefix=$(sed -n 's/^prefix=//p' "$(find "$root" -name leasehold.pc)")
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$root LD_LIBRARY_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$root" -name leasehold.pc)")
LD_LIBRARY_PATH=$(dirname "$(find "$root" -name libleasehold.so.1)")
read -ra flags <<<"$(pkg-config --cflags --libs leasehold)"
for installed in bin/leasehold sbin/leaseholdd include/leasehold.h; do
	[ -e "$root$prefix/$installed" ] || fail "$prefix/$installed is not installed"
done

# What can be seen is what the header declares.
header=$root$prefix/include/leasehold.h
cc -fpreprocessed -dD -E -P "$header" | grep -oE '\blh_[a-z_0-9]+\(' | tr -d '(' | sort -u >"$tmp/declared"
nm -D --defined-only "$LD_LIBRARY_PATH/libleasehold.so.1" | awk '$2 == "T" { sub("@.*", "", $3); print $3 }' | sort -u >"$tmp/seen"
diff "$tmp/declared" "$tmp/seen" >"$tmp/diff" || fail "header and library differ: $(grep '^[<>]' "$tmp/diff" | tr '\n' ' ')"
[ "$(wc -l <"$tmp/declared")" -gt 30 ] || fail "the header declares next to nothing"
expect_text "the library" "$(objdump -p "$LD_LIBRARY_PATH/libleasehold.so.1")" 'SONAME +libleasehold\.so\.1$'

examples=$lib/../../examples
for example in copy counter log; do
	cc -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror "$examples/$example.c" "${flags[@]}" -o "$tmp/$example" 2>"$tmp/cc.out" ||
		fail "$example does not build: $(head -1 "$tmp/cc.out")"
done
printf '#include <leasehold.h>\nint main() { return lh_version() == 0; }\n' >"$tmp/plus.cc"
! command -v c++ >/dev/null || c++ -Wall -Werror "$tmp/plus.cc" "${flags[@]}" -o "$tmp/plus" || fail "the header is no C++"

serve 4
example() {
	local name=$1
	shift
	"$tmp/$name" "$@" 2>"$tmp/err" || fail "$name: $(tail -1 "$tmp/err")"
}
# The first 8 bytes are zero.
zero() { lh_ok write "$(target data)" 0 < <(head -c 8 /dev/zero); }
example copy "$(target data)" "$tmp/copied"
same_files "$files/data" "$tmp/copied"
zero
example counter "$(target data)" count 1000 >"$tmp/count"
expect "counted" "$(cat "$tmp/count")" 1000
expect "seen" "$(example counter "$(target data)" look)" 1000
zero
expect "lines" "$(printf 'one\ntwo\nthree\n' | example log "$(target data)" | tail -1)" 3
expect "a line more" "$(printf 'four\n' | example log "$(target data)")" 1
lh_ok read "$(target data)" 8 19
expect "the log" "$(tr '\n' ' ' <"$tmp/out")" "one two three four "
daemon_stop
