#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Small things that bash cannot do, for tests/e2e/lib.sh.

now                              CLOCK_MONOTONIC in ns
free-port ADDR                   a TCP port that nobody listens on
raw SOCKET                       standard input to the admin socket; prints what comes back in 2 s
spam SOCKET COUNT SECONDS        that many connections to it that ask for status without an end; half never read
drop SOCKET                      standard input to the admin socket, and away before an answer comes
truncate FILE SIZE               truncate(2); prints CLOCK_MONOTONIC before and after, ns
open FILE                        the same for open(2), read-only, and close
pattern FILE OFFSET LENGTH TEXT  fills the range with the text, over and over
check FILE OFFSET LENGTH TEXT    fails and says where if the range holds something else
reread FILE TEXT SECONDS         checks the whole file again and again
hold FILE SECONDS                keeps it open read-write; prints "open" first
can-watch FILE                   fails and says why if the kernel has no pre-content events for it
pread-loop FILE SECONDS          opens it, reads all of it in pieces, again and again; prints "open" first, at the
                                 end "reads N longest NS ms"; it holds the file open
pwrite FILE OFFSET LENGTH TEXT   one pwrite(2); prints CLOCK_MONOTONIC before and after, ns, of open(2) and it
notified SOCKET                  prints what a service manager is told there (sd_notify), until it is ended
keep-fds NOTIFY GIVE             a service manager's store of descriptors (FDSTORE, sd_notify) at the socket NOTIFY; who
                                 connects to GIVE gets them; prints each change, until it is ended
with-fds GIVE COMMAND...         becomes the command with those descriptors, as sd_listen_fds(3) has it
tear JOURNAL FILE                undoes half a block of each write that was under way (of a daemon that was killed:
                                 target/export/journal_file.h), as if it had been written to that point; prints
                                 offset and length of each such write, and the text of its bytes, if it is one
cpu PID                          user and system time so far, ticks of 10 ms
freeze TID SECONDS               stops that one thread of another process (ptrace(2)); prints "frozen"; then lets it go on
half-open ADDR PORT COUNT SECONDS  that many connections that send half a request and wait
garbage ADDR PORT SEED COUNT     that many connections that speak nonsense
stranger ADDR PORT KIND [COUNT]  that many connections of one kind of nonsense, one after the other; each
                                 until the other end closes it
"""
import ctypes
import fcntl
import os
import random
import select
import socket
import struct
import sys
import time


RECORD = struct.Struct("=QQQQIII20x")
RECORD_MAGIC = 0x64726f636572686C
HEAD_BYTES = 4096
SLOTS = 16
SLOT_BYTES = 4096 + 2 * (128 << 10)


def tear(journal, path):
    with open(journal, "rb") as j, open(path, "r+b") as f:
        for slot in range(SLOTS):
            j.seek(HEAD_BYTES + slot * SLOT_BYTES)
            magic, _, _, offset, length, lba, _ = RECORD.unpack(j.read(RECORD.size))
            if magic != RECORD_MAGIC:
                continue
            old, new = j.read(length), j.read(length)
            done = length // lba // 2 * lba + lba // 2
            f.seek(offset)
            f.write(new[:done] + old[done:])
            print(offset, length, new[:8].decode("ascii", "replace"))


def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def free_port(addr):
    with socket.socket() as s:
        # Below the range that the system itself takes ports from.
        for _ in range(200):
            port = random.randrange(15000, 30000)
            try:
                s.bind((addr, port))
                return port
            except OSError:
                continue
    sys.exit("no free port")


def ask(path, data, wait, lines=1):
    out = b""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(wait)
        s.connect(path)
        s.sendall(data)
        try:
            while out.count(b"\n") < lines:
                got = s.recv(65536)
                if not got:
                    break
                out += got
        except (socket.timeout, ConnectionError):
            pass
    return out


def spam(path, count, seconds):
    line = b'{"v":1,"cmd":"status"}\n' * 2800
    socks = []
    for _ in range(count):
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        s.setblocking(False)
        socks.append([s, line])
    print("open", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i, entry in enumerate(socks):
            s, rest = entry
            try:
                # Only whole lines in a row, or it would be garbage.
                entry[1] = rest[s.send(rest) :] or line
            except BlockingIOError:
                pass
            try:
                if i % 2:
                    s.recv(1 << 20)
            except BlockingIOError:
                pass
        time.sleep(0.001)


def timed(call):
    start = now()
    call()
    print(start, now())


def repeated(text, offset, length):
    unit = text.encode()
    skip = offset % len(unit)
    return (unit * (length // len(unit) + 2))[skip : skip + length]


def spans(offset, length):
    step = 1 << 20
    while length > 0:
        n = min(step, length)
        yield offset, n
        offset += n
        length -= n


def fill(path, offset, length, text):
    with open(path, "r+b", buffering=0) as f:
        for at, n in spans(offset, length):
            f.seek(at)
            f.write(repeated(text, at, n))


def check(path, offset, length, text):
    with open(path, "rb", buffering=0) as f:
        for at, n in spans(offset, length):
            f.seek(at)
            got = f.read(n)
            want = repeated(text, at, n)
            if got != want:
                bad = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), len(got))
                sys.exit(f"{path}: byte {at + bad} is {got[bad:bad + 16]!r}, not {want[bad:bad + 16]!r}")


def reread(path, text, seconds):
    end = time.monotonic() + seconds
    size = os.path.getsize(path)
    times = 0
    while time.monotonic() < end or times < 2:
        check(path, 0, size, text)
        times += 1
        time.sleep(0.05)


def hold(path, seconds):
    fd = os.open(path, os.O_RDWR)
    print("open", flush=True)
    time.sleep(seconds)
    os.close(fd)


def can_watch(path):
    """FAN_CLASS_PRE_CONTENT, then FAN_PRE_ACCESS | FAN_OPEN_PERM on the file, and off again."""
    libc = ctypes.CDLL(None, use_errno=True)
    group = libc.fanotify_init(0x08 | 0x01, os.O_RDONLY)
    if group < 0:
        sys.exit(f"no pre-content events of fanotify here: {os.strerror(ctypes.get_errno())}")
    mark = libc.fanotify_mark
    mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]
    if mark(group, 1, 0x00100000 | 0x00010000, -100, path.encode()) != 0:
        sys.exit(f"no pre-content events of fanotify on this file: {os.strerror(ctypes.get_errno())}")
    os.close(group)


def pread_loop(path, seconds):
    fd = os.open(path, os.O_RDONLY)
    print("open", flush=True)
    end = time.monotonic() + seconds
    reads, longest, offset = 0, 0, 0
    size = os.fstat(fd).st_size
    while time.monotonic() < end:
        begun = now()
        os.pread(fd, 65536, offset)
        longest = max(longest, now() - begun)
        offset = (offset + 65536) % size
        reads += 1
    print("reads", reads, "longest", longest // 1000000, "ms", flush=True)


def pwrite(path, offset, data):
    begun = now()
    fd = os.open(path, os.O_WRONLY)
    n = os.pwrite(fd, data, offset)
    print(begun, now())
    os.close(fd)
    if n != len(data):
        sys.exit(f"{n} of {len(data)} bytes were written")


def notified(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        while True:
            print(s.recv(4096).decode(), flush=True)


def keep_fds(notify, give):
    """Names may repeat, as a manager's may."""
    store = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, socket.socket(socket.AF_UNIX) as asked:
        told.bind(notify)
        asked.bind(give)
        asked.listen()
        while True:
            ready, _, _ = select.select([told, asked], [], [])
            if told in ready:
                text, fds, _, _ = socket.recv_fds(told, 4096, 16)
                lines = text.decode().splitlines()
                name = next((line[7:] for line in lines if line.startswith("FDNAME=")), "")
                if "FDSTORE=1" in lines:
                    store += [(name, fd) for fd in fds]
                    print("kept", name, len(fds), flush=True)
                elif "FDSTOREREMOVE=1" in lines:
                    for _, fd in [entry for entry in store if entry[0] == name]:
                        os.close(fd)
                    store = [entry for entry in store if entry[0] != name]
                    print("removed", name, flush=True)
            if asked in ready:
                with asked.accept()[0] as s:
                    names = ":".join(name for name, _ in store)
                    socket.send_fds(s, [names.encode() + b"\n"], [fd for _, fd in store])


def with_fds(give, command):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(give)
        names, fds, _, _ = socket.recv_fds(s, 4096, 64)
    # High first: some may be where others belong.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
    for fd in fds:
        os.close(fd)
    for number, fd in enumerate(high, 3):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names.decode().strip())
    os.execv(command[0], command)


def cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 100 // os.sysconf("SC_CLK_TCK")


def freeze(tid, seconds):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    seize, interrupt, detach = 0x4206, 0x4207, 17
    for request in (seize, interrupt):
        if libc.ptrace(request, tid, 0, 0) < 0:
            sys.exit(f"thread {tid} cannot be stopped: {os.strerror(ctypes.get_errno())}")
    os.waitpid(tid, 0x40000000)  # __WALL
    print("frozen", flush=True)
    time.sleep(seconds)
    if libc.ptrace(detach, tid, 0, 0) < 0:
        sys.exit(f"thread {tid}: {os.strerror(ctypes.get_errno())}")


def mpa_request(private=b"", flags=0x40, rev=1):
    return b"MPA ID Req Frame" + struct.pack(">BBH", flags, rev, len(private)) + private


def fpdu(ulpdu):
    framed = struct.pack(">H", len(ulpdu)) + ulpdu
    framed += b"\0" * (-len(framed) % 4)
    return framed + b"\0\0\0\0"


def nonsense(rng):
    """What one connection sends, and whether it waits for an answer before the second part."""
    good = mpa_request(struct.pack("<HHHHH22x", 0, 0, 32, 31, 0))
    # A Send of a whole capsule is DDP untagged (0x41), RDMAP Send (0x43), queue 0, sequence 1.
    head = struct.pack(">BBIIII", 0x41, 0x43, 0, 0, 1, 0)
    kinds = [
        lambda: (rng.randbytes(rng.randrange(1, 4096)), b""),
        lambda: (good[: rng.randrange(1, len(good))], b""),
        lambda: (b"", b""),
        lambda: (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        lambda: (mpa_request(rng.randbytes(512)), b""),
        lambda: (mpa_request(rng.randbytes(32)), b""),
        lambda: (mpa_request(b"", flags=0xE0, rev=rng.randrange(0, 256)), b""),
        lambda: (b"MPA ID Req Frame" + struct.pack(">BBH", 0x40, 1, 65535) + rng.randbytes(2000), b""),
        lambda: (good, fpdu(head + rng.randbytes(30))),
        lambda: (good, fpdu(head + rng.randbytes(64))),
        lambda: (good, fpdu(head + rng.randbytes(64))[: rng.randrange(1, 60)]),
        lambda: (good, rng.randbytes(rng.randrange(1, 8192))),
        lambda: (good, fpdu(struct.pack(">BBIQ", 0xC1, 0x40, rng.getrandbits(32), rng.getrandbits(64)) + rng.randbytes(100))),
        lambda: (good, fpdu(struct.pack(">BBIIIIIQIIQ", 0x41, 0x41, 0, 1, 1, 0, 1, 2, 4096, rng.getrandbits(32), rng.getrandbits(64)))),
        lambda: (good, b"\xff\xff" + rng.randbytes(100)),
        lambda: (good, fpdu(b"")),
    ]
    return rng.choice(kinds)()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def connect_capsule():
    """Fabrics Connect, an admin queue; its data are to be read from us under a key that we never answer for."""
    sgl = struct.pack("<Q", 0x1000) + (1024).to_bytes(3, "little") + struct.pack("<IB", 77, 0x40)
    return struct.pack("<BBHB19x16sHHHB", 0x7F, 0x40, 7, 1, sgl, 0, 0, 31, 0) + bytes(17)


def stranger(addr, port, kind):
    good = mpa_request(struct.pack("<HHHHH22x", 0, 0, 32, 31, 0))
    unit = fpdu(struct.pack(">BBIIII", 0x41, 0x43, 0, 0, 1, 0) + connect_capsule())
    unit = unit[:-4] + crc32c(unit[:-4])
    # What is said, what after an answer, and whether that is all.
    first, second, ends = {
        "random": (b"\x1b[2J\xff" + os.urandom(60), b"", False),
        "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"", False),
        "revision": (mpa_request(b"", rev=7), b"", False),
        "nothing": (b"", b"", True),
        "header": (b"MPA ID Re", b"", True),
        "unit": (good, unit[:50], True),
        "sum": (good, unit[:-1] + bytes([unit[-1] ^ 1]), False),
        "connect": (good, unit, True),
        "late-connect": (good, unit, False),
    }[kind]
    with socket.create_connection((addr, port), timeout=60) as s:
        try:
            s.sendall(first)
            if second:
                s.recv(4096)
                s.sendall(second)
            if ends and second == unit:
                s.recv(4096)  # the READ for its data
            if ends:
                s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass
        except ConnectionError:
            pass  # closed hard, with something of ours unread


def garbage(addr, port, seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        first, second = nonsense(rng)
        try:
            with socket.create_connection((addr, port), timeout=5) as s:
                s.settimeout(0.5)
                s.sendall(first)
                if second:
                    s.recv(4096)
                    s.sendall(second)
                how = rng.randrange(3)
                if how == 0:
                    s.shutdown(socket.SHUT_WR)
                    s.recv(4096)
                elif how == 1:
                    # Closed hard: a reset.
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except ConnectionRefusedError:
            sys.exit("connection refused: nobody listens any more")
        except OSError:
            pass  # it has closed first, or says nothing


def half_open(addr, port, count, seconds):
    socks = [socket.create_connection((addr, port), timeout=5) for _ in range(count)]
    for s in socks:
        s.sendall(b"MPA ID Req F")
    print("open", flush=True)
    time.sleep(seconds)


def main(args):
    verb, rest = args[0], args[1:]
    if verb == "now":
        print(now())
    elif verb == "free-port":
        print(free_port(rest[0]))
    elif verb == "raw":
        data = sys.stdin.buffer.read()
        sys.stdout.write(ask(rest[0], data, 2, max(1, data.count(b"\n"))).decode(errors="replace"))
    elif verb == "drop":
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(rest[0])
            s.sendall(sys.stdin.buffer.read())
    elif verb == "spam":
        spam(rest[0], int(rest[1]), float(rest[2]))
    elif verb == "truncate":
        timed(lambda: os.truncate(rest[0], int(rest[1])))
    elif verb == "open":
        timed(lambda: os.close(os.open(rest[0], os.O_RDONLY)))
    elif verb == "pattern":
        fill(rest[0], int(rest[1]), int(rest[2]), rest[3])
    elif verb == "check":
        check(rest[0], int(rest[1]), int(rest[2]), rest[3])
    elif verb == "reread":
        reread(rest[0], rest[1], float(rest[2]))
    elif verb == "hold":
        hold(rest[0], float(rest[1]))
    elif verb == "can-watch":
        can_watch(rest[0])
    elif verb == "pread-loop":
        pread_loop(rest[0], float(rest[1]))
    elif verb == "pwrite":
        pwrite(rest[0], int(rest[1]), repeated(rest[3], int(rest[1]), int(rest[2])))
    elif verb == "notified":
        notified(rest[0])
    elif verb == "keep-fds":
        keep_fds(*rest)
    elif verb == "with-fds":
        with_fds(rest[0], rest[1:])
    elif verb == "tear":
        tear(*rest)
    elif verb == "cpu":
        print(cpu(rest[0]))
    elif verb == "freeze":
        freeze(int(rest[0]), float(rest[1]))
    elif verb == "half-open":
        half_open(rest[0], int(rest[1]), int(rest[2]), float(rest[3]))
    elif verb == "stranger":
        for _ in range(int(rest[3]) if rest[3:] else 1):
            stranger(rest[0], int(rest[1]), rest[2])
    elif verb == "garbage":
        garbage(rest[0], int(rest[1]), int(rest[2]), int(rest[3]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
