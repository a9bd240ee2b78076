"""Names of nodes are asked of the machine's own resolvers, and of nobody else, from sockets that stay outside."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest
import trio

from pharos.caravel.system.dnsask import frame, receive_frame
from pharos.caravel.system.dnstext import Server
from pharos.caravel.system.endpoints import Endpoints

RECORDS = {
    ("node.example.", "A"): ("192.0.2.1", "192.0.2.2"),
    ("node.example.", "AAAA"): ("2001:db8::1",),
    ("four.example.", "A"): ("192.0.2.4",),
}


def answer(query: bytes, *, truncated: bool = False) -> bytes:
    asked = dns.message.from_wire(query)
    (question,) = asked.question
    said = dns.message.make_response(asked)
    kind = dns.rdatatype.to_text(question.rdtype)
    addresses = RECORDS.get((question.name.to_text(), kind), ())
    if truncated:
        said.flags |= dns.flags.TC
    elif addresses:
        said.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *addresses))
    return said.to_wire()


@asynccontextmanager
async def resolver(*, truncating: bool = False) -> AsyncIterator[Server]:
    """Run one on loopback; one that truncates says everything by TCP alone."""
    with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

        async def datagrams() -> None:
            while True:
                query, source = await sock.recvfrom(2000)
                await sock.sendto(answer(query, truncated=truncating), source)

        async def stream(peer: trio.SocketStream) -> None:
            query = await receive_frame(peer)
            assert query is not None
            await peer.send_all(frame(answer(query)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(datagrams)
            if truncating:
                listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
                nursery.start_soon(trio.serve_listeners, stream, listeners)
            yield Server("127.0.0.1", port)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("truncating", [False, True], ids=["at once", "by TCP"])
async def test_a_node_has_all_its_addresses_and_each_socket_is_protected(truncating: bool) -> None:
    protected: list[socket.socket] = []
    with trio.fail_after(10):
        async with resolver(truncating=truncating) as server:
            resolve = Endpoints(lambda: [server], protected.append)
            found = await resolve("node.example")
            assert (sorted(found[:2]), found[2:]) == (["192.0.2.1", "192.0.2.2"], ["2001:db8::1"])
            assert await resolve("four.example") == ["192.0.2.4"]
            with pytest.raises(OSError, match="has no address"):
                await resolve("none.example")
    assert len(protected) >= 6


async def test_an_address_is_asked_of_nobody() -> None:
    assert await Endpoints(list, lambda sock: None)("192.0.2.1") == ["192.0.2.1"]


async def test_a_machine_without_resolvers_says_so() -> None:
    with pytest.raises(OSError, match="names no resolver"):
        await Endpoints(list, lambda sock: None)("node.example")


async def test_what_is_no_name_is_no_name() -> None:
    with pytest.raises(OSError, match="is not a domain name"):
        await Endpoints(lambda: [Server("127.0.0.1", 9)], lambda sock: None)("a" * 64 + ".example")
