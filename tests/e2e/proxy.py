#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A way between a client and an iwarp target on which bytes can be late, for tests/e2e.

proxy.py ADDR PORT TARGET_PORT SOCKET

Passes everything on both ways. Prints "ready", then does what the lines say that come by the UNIX
socket, one after the other; each is answered by "ok" once it is done:

hold       keeps what clients send from here on, on the direct queues that are open now
kept N     waits until N bytes are kept
cut        ends those connections towards the client, by a reset; the target is not told
cut-all    ends all connections that are open now like that
deny       ends new connections at once
allow      passes them again
release    lets the kept bytes go, waits till the target has ended those connections, at most
           LATE_S, and ends them
"""
import asyncio
import struct
import sys

CHUNK_BYTES = 65536
LATE_S = 0.5  # what a key lets in is there long before
DIRECT_RECFMT = struct.pack("<H", 0x4C48)  # LH_CM_RECFMT
MPA_REQUEST = b"MPA ID Req Frame"
MPA_HEADER_BYTES, MPA_DEPTHS_BYTES, MPA_ENHANCED = 20, 4, 0x10  # RFC 5044 §7.1, RFC 6581 §9


def opens_direct(first):
    """A connection's first bytes: do they ask for a direct queue?"""
    if not first.startswith(MPA_REQUEST) or len(first) < MPA_HEADER_BYTES:
        return False
    private = MPA_HEADER_BYTES + (MPA_DEPTHS_BYTES if first[16] & MPA_ENHANCED else 0)
    return first[private:].startswith(DIRECT_RECFMT)


async def receive(reader):
    try:
        return await reader.read(CHUNK_BYTES)
    except ConnectionError:
        return b""


async def send(writer, data):
    try:
        if not writer.is_closing():
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass


class Link:
    def __init__(self, client, target):
        self.from_client, self.to_client = client
        self.from_target, self.to_target = target
        self.direct = False
        self.kept = None  # bytes, while it is held
        self.ended = asyncio.Event()  # by the target

    async def forth(self):
        data = await receive(self.from_client)
        self.direct = opens_direct(data)
        while data:
            if self.kept is None:
                await send(self.to_target, data)
            else:
                self.kept += data
            data = await receive(self.from_client)
        # A client that has left does not take back what is on its way.
        if self.kept is None:
            self.to_target.close()

    async def back(self):
        while data := await receive(self.from_target):
            await send(self.to_client, data)
        self.ended.set()
        self.to_client.close()

    def hold(self):
        if self.kept is None:
            self.kept = b""

    def cut(self):
        self.hold()
        self.to_client.transport.abort()

    async def release(self):
        data, self.kept = self.kept, None
        await send(self.to_target, data)
        try:
            await asyncio.wait_for(self.ended.wait(), LATE_S)
        except asyncio.TimeoutError:
            pass
        self.to_target.close()
        self.to_client.close()


class Proxy:
    def __init__(self):
        self.links = set()
        self.denies = False

    async def connect(self, addr, port, client):
        if self.denies:
            client[1].transport.abort()
            return
        link = Link(client, await asyncio.open_connection(addr, port))
        self.links.add(link)
        await asyncio.gather(link.forth(), link.back())
        self.links.discard(link)

    async def command(self, verb, number):
        held = [link for link in self.links if link.kept is not None]
        if verb == "hold":
            for link in self.links:
                if link.direct:
                    link.hold()
        elif verb == "kept":
            while sum(len(link.kept) for link in held) < number:
                await asyncio.sleep(0.005)
        elif verb == "cut":
            for link in held:
                link.cut()
        elif verb == "cut-all":
            for link in self.links:
                link.cut()
        elif verb in ("deny", "allow"):
            self.denies = verb == "deny"
        elif verb == "release":
            await asyncio.gather(*(link.release() for link in held))
        else:
            sys.exit(__doc__)

    async def obey(self, reader, writer):
        while line := (await reader.readline()).split():
            await self.command(line[0].decode(), int(line[1]) if len(line) > 1 else 0)
            await send(writer, b"ok\n")
        writer.close()


async def main(addr, port, target_port, path):
    proxy = Proxy()

    async def serve(reader, writer):
        await proxy.connect(addr, int(target_port), (reader, writer))

    await asyncio.start_server(serve, addr, int(port))
    await asyncio.start_unix_server(proxy.obey, path)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
