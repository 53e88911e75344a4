#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What nvme-cli does not do, for tests/interop.

logs CHAR                  every log page: those that page 0 lists answer, in pieces as well as whole; the others
                           are refused. Prints the pages.
features CHAR              every feature, current, default, saved and supported: those that log page 12h names
                           answer, the others are refused. Prints the features.
bad CHAR DISK              a few commands that no host should send: each refused with the status it should have
io CHAR read|write BLOCK [FILE]  one block of 4096 bytes to namespace 1 by this very controller
writer DISK FROM:TO LOG [FROM:TO]...
                           writes random blocks of a range with several threads, each block with its number and a
                           counter, and reads some back, until SIGTERM; then LOG has what was acknowledged last for
                           each block, and what was tried after. Bytes of the ranges behind LOG may be taken away
                           meanwhile: a command for them may fail, and they may be zeros, but never older than
                           what was seen there. Prints `N acknowledged`, and how many were gone, now and then.
uevents                    what the kernel tells user space of asynchronous events, one a line, until it is
                           ended: `uevent DEVICE NVME_AEN`; first `ready`
discovery CHAR             reads the discovery log, and may then be told of the next change. Prints the generation
                           and, for each record, kind:port id:service
written FILE LOG           FILE has for each block what LOG says was acknowledged, or what was tried after it
"""
import ctypes
import fcntl
import json
import mmap
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
import zlib

ADMIN, IO = 0xC0484E41, 0xC0484E43
SUCCESS, INVALID_OPCODE, INVALID_FIELD, INVALID_LOG, LBA_RANGE = 0, 1, 2, 0x109, 0x80
DNR = 0x4000
BLOCK = 4096
DATA = {0x16: (512, 0), 0x81: (16, 1)}  # features with data: bytes, cdw11
THREADS = 4


def command(fd, which, opcode, nsid=0, data=None, cdw=()):
    """Returns the status (without DNR and the bits above), whether it has DNR, and dword 0."""
    words = list(cdw) + [0] * (6 - len(cdw))
    addr = ctypes.addressof(data) if data is not None else 0
    raw = bytearray(struct.pack("<BBHIIIQQII6III", opcode, 0, 0, nsid, 0, 0, 0, addr, 0,
                                len(data) if data is not None else 0, *words, 20000, 0))
    status = fcntl.ioctl(fd, which, raw)
    return status & 0x7FF, bool(status & DNR), struct.unpack_from("<I", raw, 68)[0]


def get_log(fd, page, offset, length, nsid=0xFFFFFFFF, csi=0, retain=True):
    data = (ctypes.c_uint8 * length)()
    numd = length // 4 - 1
    # Bit 15: nothing is cleared by reading it.
    status, dnr, _ = command(fd, ADMIN, 0x02, nsid, data,
                             (page | retain << 15 | (numd & 0xFFFF) << 16, numd >> 16, offset & 0xFFFFFFFF, offset >> 32, csi << 24))
    return status, dnr, bytes(data)


def wanted(what, got, want):
    if got != want:
        sys.exit(f"{what} is {got!r}, not {want!r}")


def logs(path):
    fd = os.open(path, os.O_RDWR)
    status, _, supported = get_log(fd, 0, 0, 1024)
    wanted("status of the supported pages", status, SUCCESS)
    moving = {0x02, 0xC0, 0xC1}  # what changes by itself, or is ours
    found = []
    for page in range(256):
        listed = struct.unpack_from("<I", supported, page * 4)[0] & 1
        nsid = 0xFFFFFFFF if page != 0x0E else 1
        status, dnr, small = get_log(fd, page, 0, 512, nsid)
        if not listed:
            wanted(f"status and DNR of page {page:#x}, which is not listed", (status, dnr), (INVALID_LOG, True))
            continue
        found.append(f"{page:#04x}")
        wanted(f"status of page {page:#x}", status, SUCCESS)
        for offset, length in ((4, 4), (12, 20), (100, 412), (508, 4)):
            status, _, part = get_log(fd, page, offset, length, nsid)
            if status == INVALID_FIELD and offset > 16:
                continue  # it ends before
            wanted(f"status of page {page:#x} at {offset}", status, SUCCESS)
            if page not in moving and part != small[offset : offset + length]:
                sys.exit(f"page {page:#x}: {length} bytes at {offset} are not those of the whole")
        for offset in (1, 2, 510):
            status, _, _ = get_log(fd, page, offset, 4, nsid)
            wanted(f"status of page {page:#x} at {offset}", status, INVALID_FIELD)
        status, _, _ = get_log(fd, page, 1 << 40, 4, nsid)
        wanted(f"status of page {page:#x} far beyond its end", status, INVALID_FIELD)
    print(" ".join(found))


def features(path):
    fd = os.open(path, os.O_RDWR)
    status, _, effects = get_log(fd, 0x12, 0, 1024)
    wanted("status of log page 12h", status, SUCCESS)
    found = []
    for fid in range(256):
        listed = struct.unpack_from("<I", effects, fid * 4)[0] & 1
        answers = []
        for select in range(4):
            # What comes as data, and not as a dword; what they can do is a dword again.
            size, cdw11 = DATA.get(fid, (0, 0)) if select < 3 else (0, 0)
            data = (ctypes.c_uint8 * size)() if size else None
            nsid = 1 if fid in (0x05, 0x82, 0x83) else 0
            status, dnr, _ = command(fd, ADMIN, 0x0A, nsid, data, (fid | select << 8, cdw11))
            answers.append(status)
            if not listed:
                wanted(f"status and DNR of feature {fid:#x}, select {select}", (status, dnr), (INVALID_FIELD, True))
        if not listed:
            continue
        # The volatile write cache is there only if a namespace has one.
        if fid != 0x06:
            wanted(f"statuses of feature {fid:#x}", answers, [SUCCESS] * 4)
        found.append(f"{fid:#04x}")
    print(" ".join(found))


def bad(char, disk):
    admin, io = os.open(char, os.O_RDWR), os.open(disk, os.O_RDWR)
    data = (ctypes.c_uint8 * BLOCK)()
    tries = (
        ("an unknown admin command", admin, ADMIN, (0x70, 0), (), INVALID_OPCODE),
        ("Identify of what is not there", admin, ADMIN, (0x06, 0, data), (0x3F,), INVALID_FIELD),
        ("Create I/O Submission Queue", admin, ADMIN, (0x01, 0), (1,), INVALID_OPCODE),
        ("Set Features saved", admin, ADMIN, (0x09, 0), (0x01 | 1 << 31, 7), 0x10D),
        ("an unknown I/O command", io, IO, (0x70, 1), (), INVALID_OPCODE),
        ("Read beyond the end", io, IO, (0x02, 1, data), (0xFFFFFFF0, 0), LBA_RANGE),
        ("Read where numbers wrap", io, IO, (0x02, 1, data), (0xFFFFFFFF, 0xFFFFFFFF), LBA_RANGE),
        ("Write Uncorrectable", io, IO, (0x04, 1), (0,), INVALID_OPCODE),
    )
    for what, fd, which, head, cdw, want in tries:
        status, dnr, _ = command(fd, which, *head, cdw=cdw)
        wanted(f"status and DNR of {what}", (status, dnr), (want, True))


def io(char, verb, block, path=None):
    fd = os.open(char, os.O_RDWR)
    data = (ctypes.c_uint8 * BLOCK)()
    if path:
        with open(path, "rb") as f:
            ctypes.memmove(data, f.read(BLOCK), BLOCK)
    status, _, _ = command(fd, IO, {"read": 0x02, "write": 0x01}[verb], 1, data, (int(block), 0, 0))
    if status:
        sys.exit(f"status {status:#x}")


# ---- a writer that knows what it was told ----------------------------------------------------------

HEAD = struct.Struct("<QQI")


def block_of(number, count):
    rng = random.Random(number << 32 | count)
    body = rng.randbytes(BLOCK - HEAD.size)
    return HEAD.pack(number, count, zlib.crc32(body)) + body


def count_of(block, number):
    """The counter that a block carries; an exit if it is no block of ours."""
    got, count, crc = HEAD.unpack_from(block)
    if block == bytes(BLOCK):
        return 0
    if got != number or zlib.crc32(block[HEAD.size :]) != crc:
        sys.exit(f"block {number} is torn or another's: says {got}, count {count}")
    return count


class Gone(Exception):
    """A command for what was taken away."""


class Blocks:
    """What is known of each block of a disk."""

    def __init__(self, where, may_go):
        self.numbers = range(*(int(end) // BLOCK for end in where.split(":")))
        self.may_go = {n for r in may_go for n in range(*(int(end) // BLOCK for end in r.split(":")))}
        self.tried = dict.fromkeys(self.numbers, 0)
        self.acked = dict.fromkeys(self.numbers, 0)
        self.writes = self.gone = 0

    def read(self, fd, page, number):
        if os.preadv(fd, [page], number * BLOCK) != BLOCK:
            self.acked[number] = 0  # beyond the end: the same
            raise Gone
        got = count_of(page[:], number)
        if got == 0 and number in self.may_go:
            self.acked[number] = 0  # what was there must not come back
        if got not in (self.acked[number], self.tried[number]):
            sys.exit(f"block {number} reads {got}, acknowledged was {self.acked[number]}")
        self.acked[number] = got

    def write(self, fd, page, number):
        self.tried[number] += 1
        page[:] = block_of(number, self.tried[number])
        if os.pwrite(fd, page, number * BLOCK) != BLOCK:
            raise Gone
        self.acked[number] = self.tried[number]
        self.writes += 1

    def use(self, fd, page, number, read):
        try:
            (self.read if read else self.write)(fd, page, number)
        except (Gone, OSError) as error:
            if number not in self.may_go:
                sys.exit(f"block {number}: {error or 'beyond the end'}")
            self.gone += 1


def writer(disk, where, log, *may_go):
    blocks, stop, errors = Blocks(where, may_go), threading.Event(), []
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def work(mine):
        fd = os.open(disk, os.O_RDWR | os.O_DIRECT)
        page = mmap.mmap(-1, BLOCK)
        rng = random.Random(mine)
        try:
            while not stop.is_set():
                number = rng.choice(blocks.numbers[mine::THREADS])
                blocks.use(fd, page, number, blocks.tried[number] and rng.random() < 0.3)
        except SystemExit as error:
            errors.append(str(error))
            stop.set()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    while not stop.is_set():
        print(blocks.writes, "acknowledged,", blocks.gone, "gone", flush=True)
        stop.wait(0.2)
    for thread in threads:
        thread.join()
    with open(log, "w") as f:
        json.dump([(n, blocks.acked[n], blocks.tried[n], n in blocks.may_go) for n in blocks.numbers], f)
    print(blocks.writes, "acknowledged in all,", blocks.gone, "gone")
    if errors:
        sys.exit("; ".join(errors))


def written(path, log):
    total = 0
    with open(log) as f:
        log = json.load(f)
    with open(path, "rb") as f:
        for number, acked, tried, may_go in log:
            f.seek(number * BLOCK)
            block = f.read(BLOCK)
            if not tried or (may_go and len(block) < BLOCK):
                continue
            got = count_of(block, number)
            if not acked <= got <= tried and not (may_go and got == 0):
                sys.exit(f"block {number} has count {got}; {acked} was acknowledged, {tried} tried")
            total += acked > 0
    print(total, "blocks are as they were acknowledged")


def uevents():
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)  # NETLINK_KOBJECT_UEVENT
    kernel.bind((0, 1))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print("ready", flush=True)
    while True:
        fields = dict(f.split("=", 1) for f in kernel.recv(65536).decode(errors="replace").split("\0") if "=" in f)
        if "NVME_AEN" in fields:
            print("uevent", os.path.basename(fields["DEVPATH"]), fields["NVME_AEN"], flush=True)


def discovery(char):
    fd = os.open(char, os.O_RDWR)
    status, _, log = get_log(fd, 0x70, 0, 16384, nsid=0, retain=False)
    wanted("the status of the discovery log", status, SUCCESS)
    generation, records = struct.unpack_from("<QQ", log)
    print(generation, end="")
    for i in range(records):
        entry = log[1024 * (i + 1):1024 * (i + 2)]
        kind = {1: "referral", 2: "nvm", 3: "current"}.get(entry[2], entry[2])
        print(f" {kind}:{struct.unpack_from('<H', entry, 4)[0]}:{entry[32:64].decode().strip()}", end="")
    print()


def main():
    verb, args = sys.argv[1], sys.argv[2:]
    {"logs": logs, "features": features, "bad": bad, "io": io, "written": written,
     "uevents": uevents, "discovery": discovery,
     "writer": writer}[verb](*args)


main()
