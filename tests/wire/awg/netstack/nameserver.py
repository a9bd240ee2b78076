"""A resolver for tests: answers by UDP and TCP from what it was told, and may misbehave."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

from pharos.wire.addresses import Datagram
from pharos.wire.awg.netstack.stack import Netstack
from pharos.wire.awg.netstack.tcpstream import NetstackStream

Records = Mapping[tuple[str, str], tuple[int, list[str]]]
"""By name and type: TTL and data."""
Mangle = Callable[[dns.message.Message, bool], dns.message.Message | bytes | None]
"""What becomes of an answer, by UDP or not; None: nothing is sent."""
NEGATIVE_TTL = 60


class NameServer:
    """What it was asked is in ``asked``."""

    def __init__(self, records: Records, mangle: Mangle = lambda message, by_udp: message) -> None:
        self.records = records
        self.mangle = mangle
        self.asked: Counter[tuple[str, str]] = Counter()
        self.by_tcp = 0

    def answer(self, query: bytes, *, by_udp: bool) -> bytes | None:
        asked = dns.message.from_wire(query)
        answer = dns.message.make_response(asked)
        question = asked.question[0]
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        self.asked[name.to_text(omit_final_dot=True), kind] += 1
        for _ in range(8):
            text = name.to_text(omit_final_dot=True)
            for found in (kind, "CNAME"):
                if (text, found) in self.records:
                    ttl, data = self.records[text, found]
                    answer.answer.append(dns.rrset.from_text(name, ttl, "IN", found, *data))
                    break
            else:
                if not any(known == text for known, _ in self.records):
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                if not answer.answer or answer.answer[-1].rdtype == dns.rdatatype.CNAME:
                    data = f"a. b. 1 2 3 4 {NEGATIVE_TTL}"
                    answer.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", data))
                break
            if found != "CNAME" or kind == "CNAME":
                break
            name = answer.answer[-1][0].target
        mangled = self.mangle(answer, by_udp)
        return mangled.to_wire() if isinstance(mangled, dns.message.Message) else mangled

    async def serve_udp(self, netstack: Netstack, *, task_status: trio.TaskStatus[None]) -> None:
        async with await netstack.bind_udp(53) as sock:
            task_status.started()
            while True:
                datagram = await sock.receive_datagram()
                answer = self.answer(datagram.data, by_udp=True)
                if answer is not None:
                    await sock.send_datagram(Datagram(datagram.address, answer))

    async def serve_stream(self, stream: NetstackStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            head = await stream.receive_some(2)
            query = b""
            while len(query) < struct.unpack(">H", head)[0]:
                query += await stream.receive_some()
            self.by_tcp += 1
            answer = self.answer(query, by_udp=False)
            if answer is not None:
                await stream.send_all(struct.pack(">H", len(answer)) + answer)


@asynccontextmanager
async def serving(server: NameServer, netstack: Netstack) -> AsyncIterator[None]:
    """Have a stack answer at port 53 while the block lasts."""
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve_udp, netstack)
        await nursery.start(netstack.serve_tcp, 53, server.serve_stream)
        yield
        nursery.cancel_scope.cancel()


def truncated(message: dns.message.Message, by_udp: bool) -> dns.message.Message:
    """Say by UDP that the answer is too long for it."""
    if by_udp:
        message.flags |= dns.flags.TC
        message.answer.clear()
    return message
