#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The landlord of tests/canary: takes blocks of an exported file away, gives them to another file at once,
and fails if a byte of that ever changes.

landlord.py OP FILE CANARY OFFSET LENGTH SECONDS SOCKET GRANTS [--whole] [COMMAND...]

OP is what is done with the LENGTH bytes at OFFSET, the arena, round after round for SECONDS, and thrice at least:
  truncate   the file ends there, and is as long as before again when the canary has gone
  punch      a hole
  collapse   they are cut out, what lies behind moves there, and later back again
  refill     a hole, filled again by a local pwrite: what is there stays so while the file is open here
  unlink     the file goes as a whole; COMMAND ends its export; once
  clone-out  the canary is a clone of them, and must stay so
  clone-in   they are a clone of the canary
  rewrite    written here; COMMAND, which reads them from remote, must have just that
A round begins when the export at the admin SOCKET has GRANTS grants. Each writes the canary, looks at it
at once, then while clients have grants again, and frees its blocks. With LENGTH bytes of the arena full of
"tail" behind it, collapse checks them too. With --whole a clone goes on until clients are granted all of the
arena but its first MiB again.
Prints "rounds N given G of B blocks, waits p50 X max Y us".
"""
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, INSERT_RANGE = 1, 2, 8, 32
FICLONERANGE = 0x4020940D
FIEMAP = 0xC020660B
FIEMAP_SYNC, FIEMAP_LAST = 1, 1
BLOCK = 4096
TAIL = b"tail: it moves, and nobody writes here. "
WAIT_S = 60
LEAST_ROUNDS = 3  # however long they take: a race takes more than one

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length) != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def pattern(unit, length):
    return (unit * (length // len(unit) + 1))[:length]


def blocks(fd, offset, length):
    """The numbers of the file's blocks in the range, as a set."""
    found = set()
    end = offset + length
    while offset < end:
        n = 128
        buf = bytearray(struct.pack("=QQIIII", offset, end - offset, FIEMAP_SYNC, 0, n, 0) + bytes(56 * n))
        fcntl.ioctl(fd, FIEMAP, buf)
        mapped = struct.unpack_from("=I", buf, 20)[0]
        if mapped == 0:
            break
        for i in range(mapped):
            logical, physical, size, _, _, flags = struct.unpack_from("=QQQQQI", buf, 32 + 56 * i)
            first = max(logical, offset)
            last = min(logical + size, end)
            found.update(range((physical + first - logical) // BLOCK, (physical + last - logical) // BLOCK))
            if flags & FIEMAP_LAST:
                return found
        offset = logical + size
    return found


class Landlord:
    def __init__(self, op, path, canary, offset, length, admin, grants, whole, command):
        self.whole = whole
        self.path, self.canary, self.offset, self.length = path, canary, offset, length
        self.admin, self.grants, self.command = admin, grants, command
        self.size = os.path.getsize(path)
        self.act = getattr(self, op.replace("-", "_"))
        self.least = 1 if op == "unlink" else LEAST_ROUNDS
        self.waits = []
        self.given = self.of = self.rounds = 0
        self.had = set()
        self.fd, self.at = -1, 0

    # ---- the export

    def ask(self, command):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(WAIT_S)
            s.connect(self.admin)
            s.sendall(json.dumps({"v": 1, "cmd": command}).encode() + b"\n")
            return json.loads(s.makefile().readline())["result"]

    def granted(self, grants):
        return sum(e["grants"] for e in self.ask("status")["exports"]) >= grants

    def all_granted(self):
        first, end = self.offset + (1 << 20), self.offset + self.length
        held = [(max(g["offset"], first), min(g["offset"] + g["length"], end)) for g in self.ask("grants")["grants"]]
        return sum(max(0, b - a) for a, b in held) >= end - first

    def wait_granted(self):
        self.wait_for(lambda: self.granted(self.grants), lambda: None)

    def watch_granted(self):
        """Until clients have what is left to them."""
        self.wait_for(lambda: self.granted(min(1, self.grants)), self.check)

    def watch_clone(self):
        """The same, of all that was cloned where that is to be had; then while it is written to."""
        if self.whole:
            self.wait_for(self.all_granted, self.check)
        else:
            self.watch_granted()
        self.watch(0.2)

    def wait_for(self, granted, also):
        end = time.monotonic() + WAIT_S
        while not granted():
            also()
            if time.monotonic() > end:
                sys.exit(f"round {self.rounds}: not granted again in {WAIT_S} s")
            time.sleep(0.002)

    def timed(self, call):
        """The landlord's own wait."""
        begun = time.monotonic_ns()
        result = call()
        self.waits.append((time.monotonic_ns() - begun) // 1000)
        return result

    def open(self):
        return self.timed(lambda: os.open(self.path, os.O_RDWR))

    def restore(self):
        """The file as it was: all of it there, and allocated."""
        fd = os.open(self.path, os.O_RDWR)
        os.ftruncate(fd, self.size)
        self.had = blocks(fd, self.offset, self.length)
        # Where all of it is there xfs wants as much again to be free.
        if len(self.had) < self.length // BLOCK:
            self.allocate(fd, 0, self.offset, self.length)
            self.had = blocks(fd, self.offset, self.length)
        os.close(fd)

    # ---- the canary

    def allocate(self, fd, mode, offset, length):
        """What was freed just before is free when the journal says so."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                fallocate(fd, mode, offset, length)
                return
            except OSError as err:
                if err.errno != 28 or time.monotonic() > end:
                    raise
                libc.syncfs(fd)

    def give(self):
        """What was taken away becomes the canary's."""
        self.fd = os.open(self.canary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self.allocate(self.fd, 0, 0, self.length)
        has = blocks(self.fd, 0, self.length)
        self.given += len(has & self.had)
        self.of += len(self.had)
        self.text = pattern(f"canary {self.rounds}: nobody writes here. ".encode(), self.length)
        os.pwrite(self.fd, self.text, 0)
        self.check()

    def check(self):
        got = os.pread(self.fd, self.length, self.at)
        if got == self.text:
            return
        bad = next(i for i, (a, b) in enumerate(zip(got, self.text)) if a != b)
        sys.exit(
            f"round {self.rounds}: byte {bad} of the canary is {got[bad:bad + 16]!r}, not {self.text[bad:bad + 16]!r}"
        )

    def free(self):
        self.check()
        os.ftruncate(self.fd, 0)
        os.close(self.fd)
        os.unlink(self.canary)

    def watch(self, seconds=0.03):
        """While whoever has kept a key could use it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()

    # ---- rounds

    def truncate(self):
        self.timed(lambda: os.truncate(self.path, self.offset))
        self.give()
        self.watch()
        self.free()
        self.restore()

    def punch(self):
        fd = self.open()
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, self.offset, self.length)
        os.close(fd)
        self.give()
        self.watch_granted()
        self.watch()
        self.free()
        self.restore()

    def refill(self):
        self.fd, self.at = self.open(), self.offset
        fallocate(self.fd, KEEP_SIZE | PUNCH_HOLE, self.offset, self.length)
        self.allocate(self.fd, 0, self.offset, self.length)
        self.text = pattern(f"round {self.rounds}: filled here. ".encode(), self.length)
        os.pwrite(self.fd, self.text, self.offset)
        self.watch(0.1)
        os.close(self.fd)
        self.given = self.of = 1

    def collapse(self):
        fd = self.open()
        os.pwrite(fd, pattern(TAIL, self.size - self.offset - self.length), self.offset + self.length)
        fallocate(fd, COLLAPSE_RANGE, self.offset, self.length)
        os.close(fd)
        self.give()
        self.watch_granted()
        self.watch()
        self.free()
        fd = os.open(self.path, os.O_RDWR)
        moved = os.pread(fd, self.size - self.offset - self.length, self.offset)
        if moved != pattern(TAIL, len(moved)):
            sys.exit(f"round {self.rounds}: what collapse moved has changed")
        self.allocate(fd, INSERT_RANGE, self.offset, self.length)
        os.close(fd)
        self.restore()

    def unlink(self):
        os.unlink(self.path)
        self.timed(lambda: subprocess.run(self.command, check=True, stdout=subprocess.DEVNULL))
        self.give()
        self.watch()
        self.free()

    def clone_out(self):
        fd = self.open()
        self.fd = os.open(self.canary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        fcntl.ioctl(self.fd, FICLONERANGE, struct.pack("=qQQQ", fd, self.offset, self.length, 0))
        self.text = os.pread(self.fd, self.length, 0)
        self.given += len(blocks(self.fd, 0, self.length) & self.had)
        self.of += len(self.had)
        os.close(fd)
        self.watch_clone()
        self.free()
        self.restore()

    def clone_in(self):
        self.had = set()
        self.give()
        fd = self.open()
        fcntl.ioctl(fd, FICLONERANGE, struct.pack("=qQQQ", self.fd, 0, self.length, self.offset))
        self.had = blocks(self.fd, 0, self.length)
        self.given += len(blocks(fd, self.offset, self.length) & self.had)
        self.of += len(self.had)
        os.close(fd)
        self.watch_clone()
        self.free()
        fd = os.open(self.path, os.O_RDWR)
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, self.offset, self.length)
        os.close(fd)
        self.restore()

    def rewrite(self):
        text = pattern(f"round {self.rounds}: rewritten. ".encode(), self.length)
        fd = self.open()
        os.pwrite(fd, text, self.offset)
        os.close(fd)
        got = subprocess.run(self.command, check=True, stdout=subprocess.PIPE).stdout
        if got != text:
            sys.exit(f"round {self.rounds}: {len(got)} bytes that begin with {got[:24]!r} are read, not {text[:24]!r}")
        self.given = self.of = 1

    def run(self, seconds):
        end = time.monotonic() + seconds
        self.restore()
        while time.monotonic() < end or self.rounds < self.least:
            self.wait_granted()
            self.rounds += 1
            self.act()
        self.waits.sort()
        print(
            f"rounds {self.rounds} given {self.given} of {self.of} blocks, "
            f"waits p50 {self.waits[len(self.waits) // 2]} max {self.waits[-1]} us",
            flush=True,
        )


def main(args):
    if len(args) < 8:
        sys.exit(__doc__)
    op, path, canary, offset, length, seconds, admin, grants = args[:8]
    whole = args[8:9] == ["--whole"]
    command = args[9:] if whole else args[8:]
    Landlord(op, path, canary, int(offset), int(length), admin, int(grants), whole, command).run(float(seconds))


main(sys.argv[1:])
