"""The resolver on loopback: each question to its side, its addresses led before its answer, whatever comes."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import attrs
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.dnsask import Asker, frame, receive_frame
from pharos.caravel.system.dnspacket import NO_NAME, SERVER_FAILURE, Question, code_of, read_question
from pharos.caravel.system.dnsproxy import CANARY, DnsProxy, open_proxy
from pharos.caravel.system.dnstext import Server
from pharos.caravel.system.plan import IpAddress
from pharos.caravel.system.splitnames import Names

OWN = f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}.5"
"""Of this test alone, so that a port can be chosen."""
PORT = 5300


def query(name: str = "www.a.org.", kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind, use_edns=0).to_wire()


def response(asked: bytes, *records: str) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(asked))
    for record in records:
        name, kind, value = record.split(" ", 2)
        message.answer.append(dns.rrset.from_text(name, 300, "IN", kind, value))
    return message.to_wire()


@attrs.define
class Fake:
    """An asker that says what it is told to."""

    say: Callable[[bytes], bytes | None]
    asked: list[str] = attrs.field(factory=list)

    async def ask(self, data: bytes, question: Question, *, stream: bool) -> bytes | None:
        await trio.lowlevel.checkpoint()
        self.asked.append(question.name)
        return self.say(data)


@attrs.define
class Table:
    """Takes addresses down, or cannot."""

    works: bool = True
    led: list[str] = attrs.field(factory=list)

    async def add(self, addresses: Iterable[IpAddress], ttl: float) -> None:
        await trio.lowlevel.checkpoint()
        if not self.works:
            raise SystemModeError("nft: no")
        self.led += [str(one) for one in addresses]


def proxy_of(
    table: Table, named: Fake, others: Fake, *, domains: tuple[str, ...] = ("a.org",), strict: bool = False
) -> DnsProxy:
    return DnsProxy(Names(domains), table, named=named, others=others, strict=strict)  # type: ignore[arg-type]


def says(*records: str) -> Fake:
    return Fake(lambda data: response(data, *records))


async def test_a_named_question_goes_to_its_side_and_its_addresses_are_led_before_the_answer() -> None:
    table, named, others = Table(), says("www.a.org. A 192.0.2.1"), says("b.org. A 192.0.2.2")
    proxy = proxy_of(table, named, others)
    said = await proxy.answer(query(), stream=False)
    assert said is not None
    assert dns.message.from_wire(said).answer[0][0].address == "192.0.2.1"
    assert (table.led, named.asked, others.asked) == (["192.0.2.1"], ["www.a.org"], [])
    await proxy.answer(query("b.org."), stream=False)
    assert (table.led, others.asked) == (["192.0.2.1"], ["b.org"])


async def test_an_alias_is_meant_from_then_on() -> None:
    table = Table()
    named = says("www.a.org. CNAME edge.cdn.net.")
    proxy = proxy_of(table, named, says())
    await proxy.answer(query(), stream=False)
    await proxy.answer(query("edge.cdn.net."), stream=False)
    assert named.asked == ["www.a.org", "edge.cdn.net"]


async def test_addresses_of_this_machine_are_led_nowhere() -> None:
    table = Table()
    await proxy_of(table, says("www.a.org. A 127.0.0.1"), says()).answer(query(), stream=False)
    assert table.led == []


@pytest.mark.parametrize("strict", [True, False])
async def test_what_cannot_be_led_is_answered_only_if_it_then_goes_into_the_tunnel(
    strict: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for table, named in (
        (Table(works=False), says("www.a.org. A 192.0.2.1")),
        (Table(), Fake(lambda data: data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + b"\xff" * 40)),
    ):
        said = await proxy_of(table, named, says(), strict=strict).answer(query(), stream=False)
        assert said is not None
        assert (code_of(said) == SERVER_FAILURE) is strict
    caplog.clear()


async def test_nobody_who_answers_is_a_failure_that_is_told() -> None:
    said = await proxy_of(Table(), Fake(lambda data: None), says()).answer(query(), stream=False)
    assert said is not None
    assert code_of(said) == SERVER_FAILURE


async def test_browsers_are_told_not_to_ask_elsewhere() -> None:
    others = says()
    said = await proxy_of(Table(), says(), others).answer(query(f"{CANARY}."), stream=False)
    assert said is not None
    assert dns.message.from_wire(said).rcode() == NO_NAME
    assert others.asked == []


@given(st.binary(max_size=300), st.binary(max_size=300), st.booleans())
def test_no_question_and_no_answer_breaks_it(asked: bytes, said: bytes, strict: bool) -> None:
    async def main() -> None:
        proxy = proxy_of(Table(), Fake(lambda data: said), Fake(lambda data: said), domains=("a.org",), strict=strict)
        await proxy.answer(asked, stream=False)
        await proxy.answer(query(), stream=True)

    trio.run(main)


@given(st.data())
def test_no_answer_that_was_changed_on_its_way_breaks_it(data: st.DataObject) -> None:
    whole = bytearray(
        response(
            query(kind="HTTPS"),
            "www.a.org. CNAME b.org.",
            "b.org. HTTPS 1 c.org. alpn=h3 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
            "b.org. A 192.0.2.1",
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    said = bytes(whole[: data.draw(st.integers(12, len(whole)))])

    async def main() -> None:
        await proxy_of(Table(), Fake(lambda asked: said), says()).answer(query(kind="HTTPS"), stream=False)

    trio.run(main)


# -- resolvers on loopback


@asynccontextmanager
async def resolver(host: str, answer: Callable[[bytes], list[bytes]], port: int = PORT) -> AsyncIterator[Server]:
    """Answer each datagram by some, and each stream by the first of them."""
    listener = (await trio.open_tcp_listeners(port, host=host))[0]
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind((host, port))

        async def datagrams() -> None:
            while True:
                data, peer = await sock.recvfrom(65_535)
                for said in answer(data):
                    await sock.sendto(said, peer)

        async def streams() -> None:
            while True:
                async with await listener.accept() as stream:
                    data = await receive_frame(stream)
                    assert data is not None
                    await stream.send_all(frame(answer(data)[0]))

        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(datagrams)
            nursery.start_soon(streams)
            yield Server(host, port)
            nursery.cancel_scope.cancel()


def failing(data: bytes) -> list[bytes]:
    message = dns.message.make_response(dns.message.from_wire(data))
    message.set_rcode(dns.rcode.SERVFAIL)
    return [message.to_wire()]


def good(data: bytes) -> list[bytes]:
    return [response(data, "www.a.org. A 192.0.2.1")]


async def ask(*servers: Server, stream: bool = False) -> bytes | None:
    protected: list[socket.socket] = []
    data = query()
    with trio.fail_after(20):
        said = await Asker(lambda: servers, protected.append).ask(data, read_question(data), stream=stream)
    assert len(protected) >= len(servers[:1])
    assert said is None or said[:2] == data[:2]
    return said


async def test_the_next_resolver_is_asked_where_one_refuses_or_fails() -> None:
    async with resolver(OWN, failing) as first, resolver(OWN, good, PORT + 1) as second:
        nobody = Server(OWN, PORT + 2)
        for stream in (False, True):
            said = await ask(nobody, first, second, stream=stream)
            assert said is not None
            assert code_of(said) == 0
        said = await ask(first)
        assert said is not None
        assert code_of(said) == SERVER_FAILURE
        assert await ask(nobody) is None


async def test_forgeries_are_passed_over() -> None:
    def forged(data: bytes) -> list[bytes]:
        other = bytes([data[0] ^ 1]) + data[1:]
        return [response(other, "www.a.org. A 192.0.2.66"), b"", b"\0", response(query("www.b.org.")), *good(data)]

    async with resolver(OWN, forged) as server:
        said = await ask(server)
        assert said is not None
        assert dns.message.from_wire(said).answer[0][0].address == "192.0.2.1"


async def test_each_question_goes_by_an_identification_of_its_own() -> None:
    seen: set[bytes] = set()

    def note(data: bytes) -> list[bytes]:
        seen.add(data[:2])
        return good(data)

    async with resolver(OWN, note) as server:
        for _ in range(8):
            data = b"\0\7" + query()[2:]
            said = await Asker(lambda: [server]).ask(data, read_question(data), stream=False)
            assert said is not None
            assert said[:2] == b"\0\7"
    assert len(seen) > 4


async def test_programs_are_answered_by_datagrams_and_streams() -> None:
    table = Table()
    async with resolver(OWN, good, PORT + 1) as server:
        asker = Asker(lambda: [server])
        proxy = DnsProxy(Names(["a.org"]), table, named=asker, others=asker, strict=True)
        with trio.fail_after(20):
            async with open_proxy(proxy, OWN, PORT):
                with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    await sock.connect((OWN, PORT))
                    # What is none is passed over, and the next is answered.
                    await sock.send(b"")
                    await sock.send(b"?")
                    asked = query()
                    await sock.send(asked)
                    assert dns.message.from_wire(asked).is_response(dns.message.from_wire(await sock.recv(4096)))
                async with await trio.open_tcp_stream(OWN, PORT) as stream:
                    for _ in range(2):
                        await stream.send_all(frame(asked))
                        said = await receive_frame(stream)
                        assert said is not None
                        assert dns.message.from_wire(said).answer[0][0].address == "192.0.2.1"
                    await stream.send_all(b"\0\1?")
                    assert await receive_frame(stream) is None
    assert set(table.led) == {"192.0.2.1"}


async def test_another_program_at_the_port_is_told_of() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((OWN, PORT))
        with pytest.raises(SystemModeError, match="another program answers there"):
            async with open_proxy(proxy_of(Table(), says(), says()), OWN, PORT):
                pass


def test_addresses_are_of_the_loopback() -> None:
    assert ipaddress.ip_address(OWN).is_loopback
