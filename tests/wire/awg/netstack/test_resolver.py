from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import dns.message
import dns.rcode
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.addresses import Address, Datagram
from pharos.wire.awg.netstack.dialling import resolve_all
from pharos.wire.awg.netstack.dnscache import MAX_NAMES, DnsCache
from pharos.wire.awg.netstack.dnsmessage import MAX_TTL, Outcome, Question
from pharos.wire.awg.netstack.resolver import Resolver
from tests.wire.awg.netstack.nameserver import NEGATIVE_TTL, Mangle, NameServer, serving, truncated
from tests.wire.awg.netstack.stacks import FAR4, FAR6, Pair, open_pair

RECORDS = {
    ("both.example", "A"): (300, ["192.0.2.1", "192.0.2.2"]),
    ("both.example", "AAAA"): (300, ["2001:db8::1"]),
    ("alias.example", "CNAME"): (300, ["other.example."]),
    ("other.example", "CNAME"): (20, ["both.example."]),
    ("four.example", "A"): (0, ["192.0.2.4"]),
    ("loop.example", "CNAME"): (300, ["pool.example."]),
    ("pool.example", "CNAME"): (300, ["loop.example."]),
    ("here.example", "A"): (300, [FAR4]),
    ("here.example", "AAAA"): (300, [FAR6]),
    ("forever.example", "A"): (2**31 - 1, ["192.0.2.5"]),
    ("xn--bcher-kva.example", "A"): (300, ["192.0.2.6"]),
}


@asynccontextmanager
async def asking(
    mangle: Mangle = lambda message, by_udp: message, **options: object
) -> AsyncIterator[tuple[Pair, Resolver, NameServer]]:
    server = NameServer(RECORDS, mangle)
    async with open_pair(**options) as pair, serving(server, pair.far):
        yield pair, pair.near.resolver, server


def strings(addresses: list[object]) -> list[str]:
    return sorted(map(str, addresses))


async def test_a_name_is_looked_up_once_for_as_long_as_its_ttl(autojump_clock: trio.testing.MockClock):
    async with asking() as (_, resolver, server):
        for _ in range(3):
            assert strings(await resolver.resolve("Both.Example", 4)) == ["192.0.2.1", "192.0.2.2"]
        assert server.asked == {("both.example", "A"): 1}
        await trio.sleep(301)
        await resolver.resolve("both.example.", 4)
        assert server.asked["both.example", "A"] == 2


async def test_an_answer_of_no_time_is_asked_for_again():
    async with asking() as (_, resolver, server):
        for _ in range(2):
            await resolver.resolve("four.example", 4)
        assert server.asked["four.example", "A"] == 2


async def test_no_answer_is_kept_for_longer_than_an_hour(autojump_clock: trio.testing.MockClock):
    async with asking() as (_, resolver, server):
        await resolver.resolve("forever.example", 4)
        await trio.sleep(MAX_TTL + 1)
        await resolver.resolve("forever.example", 4)
        assert server.asked["forever.example", "A"] == 2


async def test_aliases_are_followed_and_kept_for_the_shortest_of_their_times(autojump_clock: trio.testing.MockClock):
    async with asking() as (_, resolver, server):
        assert strings(await resolver.resolve("alias.example", 6)) == ["2001:db8::1"]
        await trio.sleep(21)
        await resolver.resolve("alias.example", 6)
        assert server.asked["alias.example", "AAAA"] == 2


async def test_an_alias_whose_addresses_were_not_told_is_asked_for():
    def only_alias(message: dns.message.Message, by_udp: bool) -> dns.message.Message:
        del message.answer[1:]
        message.authority.clear()
        return message

    async with asking(only_alias) as (_, resolver, server):
        assert strings(await resolver.resolve("alias.example", 4)) == ["192.0.2.1", "192.0.2.2"]
        assert list(server.asked) == [("alias.example", "A"), ("other.example", "A"), ("both.example", "A")]


async def test_aliases_in_a_circle_are_an_error():
    async with asking() as (_, resolver, _):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("loop.example", 4)


async def test_a_name_that_is_not_there_is_remembered_for_as_long_as_its_zone_says(
    autojump_clock: trio.testing.MockClock,
):
    async with asking() as (_, resolver, server):
        for _ in range(2):
            with pytest.raises(socket.gaierror, match="no such name"):
                await resolver.resolve("nobody.example", 4)
        assert server.asked["nobody.example", "A"] == 1
        await trio.sleep(NEGATIVE_TTL + 1)
        with pytest.raises(socket.gaierror, match="no such name"):
            await resolver.resolve("nobody.example", 4)
        assert server.asked["nobody.example", "A"] == 2


async def test_a_name_without_an_address_of_a_version_is_told_apart():
    async with asking() as (_, resolver, _):
        with pytest.raises(socket.gaierror, match="no address"):
            await resolver.resolve("four.example", 6)
        assert strings(await resolve_all(resolver, "four.example", (6, 4))) == ["192.0.2.4"]


async def test_an_answer_that_is_too_long_comes_by_tcp():
    with trio.fail_after(10):
        async with asking(truncated) as (_, resolver, server):
            assert strings(await resolver.resolve("both.example", 4)) == ["192.0.2.1", "192.0.2.2"]
            assert server.by_tcp == 1


async def test_a_question_that_is_lost_is_asked_again(autojump_clock: trio.testing.MockClock):
    seen = []

    def lose_first(message: dns.message.Message, by_udp: bool) -> dns.message.Message | None:
        seen.append(trio.current_time())
        return message if len(seen) > 1 else None

    async with asking(lose_first) as (_, resolver, _):
        assert await resolver.resolve("both.example", 4)
        assert seen[1] - seen[0] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR])
async def test_a_resolver_that_cannot_say_is_passed_over_at_once(
    code: dns.rcode.Rcode, autojump_clock: trio.testing.MockClock
):
    failed = []

    def fail_first(message: dns.message.Message, by_udp: bool) -> dns.message.Message:
        if not failed:
            failed.append(True)
            message.answer.clear()
            message.set_rcode(code)
        return message

    begin = trio.current_time()
    async with asking(fail_first, resolvers=[ip_address(FAR4), ip_address(FAR6)]) as (_, resolver, _):
        assert await resolver.resolve("both.example", 4)
        assert trio.current_time() - begin < 0.5


async def test_a_resolver_that_refuses_is_passed_over_at_once(autojump_clock: trio.testing.MockClock):
    server = NameServer(RECORDS)
    begin = trio.current_time()
    async with open_pair(resolvers=[ip_address(FAR4)]) as pair:
        with pytest.raises(socket.gaierror):
            await pair.near.resolver.resolve("both.example", 4)
        assert trio.current_time() - begin < 0.5
        assert not server.asked


async def test_resolvers_that_are_silent_are_given_up_in_time(autojump_clock: trio.testing.MockClock):
    async with asking(lambda message, by_udp: None) as (_, resolver, _):
        with trio.fail_after(8.5), pytest.raises(socket.gaierror):
            await resolver.resolve("both.example", 4)


async def test_an_answer_with_another_number_or_question_is_waited_past():
    async def flood(pair: Pair) -> None:
        async with await pair.far.bind_udp(53) as sock:
            datagram = await sock.receive_datagram()
            query = dns.message.from_wire(datagram.data)
            forged = dns.message.make_response(query)
            forged.answer.append(dns.rrset.from_text("both.example.", 300, "IN", "A", "203.0.113.66"))
            forged.id = (query.id + 1) % 65536
            other = dns.message.make_response(dns.message.make_query("evil.example.", "A", id=query.id))
            for wrong in (forged.to_wire(), other.to_wire(), datagram.data, b"", os.urandom(40)):
                await sock.send_datagram(Datagram(datagram.address, wrong))
            right = dns.message.make_response(query)
            right.answer.append(dns.rrset.from_text("both.example.", 300, "IN", "A", "192.0.2.1"))
            await sock.send_datagram(Datagram(datagram.address, right.to_wire()))

    with trio.fail_after(10):
        async with open_pair() as pair, trio.open_nursery() as nursery:
            nursery.start_soon(flood, pair)
            assert strings(await pair.near.resolver.resolve("both.example", 4)) == ["192.0.2.1"]


async def test_an_answer_from_elsewhere_is_waited_past():
    async def answer(pair: Pair) -> None:
        async with await pair.far.bind_udp(53) as sock, await pair.far.open_udp() as elsewhere:
            datagram = await sock.receive_datagram()
            for sender, address in ((elsewhere, "203.0.113.66"), (sock, "192.0.2.1")):
                message = dns.message.make_response(dns.message.from_wire(datagram.data))
                message.answer.append(dns.rrset.from_text("both.example.", 300, "IN", "A", address))
                await sender.send_datagram(Datagram(datagram.address, message.to_wire()))

    with trio.fail_after(10):
        async with open_pair() as pair, trio.open_nursery() as nursery:
            nursery.start_soon(answer, pair)
            assert strings(await pair.near.resolver.resolve("both.example", 4)) == ["192.0.2.1"]


async def test_somebody_who_guesses_makes_us_ask_by_tcp():
    server = NameServer(RECORDS)

    async def guess(pair: Pair) -> None:
        async with await pair.far.bind_udp(53) as sock:
            datagram = await sock.receive_datagram()
            for _ in range(40):
                await sock.send_datagram(Datagram(datagram.address, os.urandom(30)))
            await trio.sleep_forever()

    with trio.fail_after(10):
        async with open_pair() as pair, trio.open_nursery() as nursery:
            nursery.start_soon(guess, pair)
            await nursery.start(pair.far.serve_tcp, 53, server.serve_stream)
            assert await pair.near.resolver.resolve("both.example", 4)
            assert server.by_tcp == 1
            nursery.cancel_scope.cancel()


async def test_who_asks_the_same_at_the_same_time_shares_the_answer():
    async with asking() as (_, resolver, server), trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(resolver.resolve, "both.example", 4)
    assert server.asked["both.example", "A"] == 1


async def test_who_waits_for_one_that_is_cancelled_asks_by_himself(autojump_clock: trio.testing.MockClock):
    silent = True

    def hold_back(message: dns.message.Message, by_udp: bool) -> dns.message.Message | None:
        return None if silent else message

    async with asking(hold_back) as (_, resolver, _), trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        @nursery.start_soon
        async def _() -> None:
            with scope:
                await resolver.resolve("both.example", 4)

        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(resolver.resolve, "both.example", 4)
        await trio.testing.wait_all_tasks_blocked()
        silent = False
        scope.cancel()


async def test_without_resolvers_a_name_is_a_clear_error():
    async with open_pair(resolvers=[]) as pair:
        with pytest.raises(socket.gaierror, match="no resolvers"):
            await pair.near.open_tcp_stream("both.example", 80)


@pytest.mark.parametrize(
    "host", ["", "a..b", "x" * 64 + ".example", "spaces in.it", "localhost", "www.localhost.", ".".join(["abc"] * 70)]
)
async def test_what_cannot_be_beyond_the_tunnel_is_not_asked_for(host: str):
    async with asking() as (_, resolver, server):
        with pytest.raises(socket.gaierror):
            await resolver.resolve(host, 4)
        assert not server.asked


async def test_a_name_of_other_letters_is_asked_for_as_resolvers_know_it():
    async with asking() as (_, resolver, _):
        assert strings(await resolver.resolve("Bücher.example", 4)) == ["192.0.2.6"]


async def test_an_address_is_its_own_answer():
    async with asking() as (_, resolver, server):
        assert strings(await resolver.resolve("192.0.2.9", 4)) == ["192.0.2.9"]
        with pytest.raises(socket.gaierror):
            await resolver.resolve("192.0.2.9", 6)
        assert not server.asked


async def test_a_stream_and_a_datagram_are_opened_by_name():
    with trio.fail_after(10):
        async with asking() as (pair, _, server), trio.open_nursery() as nursery:
            port = await nursery.start(pair.far.serve_tcp, 0, lambda stream: stream.send_all(b"hello"))
            async with await pair.near.open_tcp_stream("here.example", port) as stream:
                assert await stream.receive_some() == b"hello"
            async with await pair.near.open_udp() as near, await pair.far.bind_udp(7) as far:
                await near.send_datagram(Datagram(Address("here.example", 7), b"by name"))
                assert (await far.receive_datagram()).data == b"by name"
            assert server.asked == {("here.example", "A"): 1, ("here.example", "AAAA"): 1}
            nursery.cancel_scope.cancel()


async def test_what_another_path_says_is_forgotten_with_it():
    async with asking() as (pair, resolver, server):
        await resolver.resolve("both.example", 4)
        pair.near.path_changed()
        await resolver.resolve("both.example", 4)
        assert server.asked["both.example", "A"] == 2


def test_the_cache_is_bounded():
    cache = DnsCache()
    for number in range(MAX_NAMES + 10):
        cache.put((f"{number}.example", 4), (), exists=True, until=1.0)
    assert cache.get(("9.example", 4), 0.0) is None
    assert cache.get(("10.example", 4), 0.0) is not None
    assert cache.get(("10.example", 4), 1.0) is None


@given(st.binary(max_size=300))
def test_hostile_answers_raise_nothing(data: bytes):
    question = Question("both.example", 4, 7)
    question.read(data)
    # The same with a head that fits.
    question.read(question.render()[:2] + b"\x81\x80" + data)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_damaged_answers_raise_nothing(at: int, damage: bytes):
    server = NameServer(RECORDS)
    question = Question("alias.example", 6, 7)
    data = bytearray(server.answer(question.render(), by_udp=True))
    data[at % len(data) : at % len(data) + len(damage)] = damage
    answer = question.read(bytes(data))
    assert answer is None or answer.outcome in Outcome


def test_who_never_asks_does_not_load_what_reads_answers():
    code = "import sys, pharos.wire.awg.netstack.stack; sys.exit('dns' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
