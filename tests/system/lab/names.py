"""A server of names in a lab."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import trio

from tests.system.lab.namespace import Namespace

Zone = Mapping[str, tuple[str, ...]]
"""Records by name: ``A 192.0.2.1``, ``CNAME other.``, as a zone file has them."""


async def serve_names(
    space: Namespace, address: str, zone: Zone, asked: list[str], *, task_status: trio.TaskStatus[None]
) -> None:
    """Answer questions for names by UDP, and by TCP what is longer than a datagram takes."""
    sock = await space.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener = await space.listen(address, 53)
    with sock:
        await sock.bind((address, 53))

        async def streams() -> None:
            async with listener:
                while True:
                    async with await listener.accept() as stream:
                        data = await stream.receive_some()
                        said = reply(data[2:], zone, asked, limit=65_535)
                        await stream.send_all(len(said).to_bytes(2, "big") + said)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(streams)
            task_status.started()
            while True:
                data, peer = await sock.recvfrom(65_535)
                await sock.sendto(reply(data, zone, asked, limit=512), peer)


def reply(data: bytes, zone: Zone, asked: list[str], *, limit: int) -> bytes:
    """Answer one question by a zone, along its aliases."""
    query = dns.message.from_wire(data)
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.RA
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    asked.append(name)
    if name not in zone:
        answer.set_rcode(3)
    while name in zone:
        records = zone[name]
        kind = dns.rdatatype.to_text(question.rdtype)
        found = [one.split(" ", 1)[1] for one in records if one.split(" ", 1)[0] == kind]
        if found:
            answer.answer.append(dns.rrset.from_text(f"{name}.", 30, "IN", kind, *found))
        alias = next((one.split(" ", 1)[1] for one in records if one.startswith("CNAME ")), None)
        if alias is None:
            break
        answer.answer.append(dns.rrset.from_text(f"{name}.", 30, "IN", "CNAME", alias))
        name = alias.rstrip(".")
    said = answer.to_wire()
    if len(said) > limit:
        answer.answer.clear()
        answer.flags |= dns.flags.TC
        said = answer.to_wire()
    return said
