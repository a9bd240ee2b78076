from __future__ import annotations

import ssl
from typing import Any

import pytest
import trio

from pharos.wire.errors import ParameterError
from pharos.wire.reality.target import CheckLimits, check_target
from pharos.wire.reality.targetreport import Check, TargetReport, Verdict
from tests.support.sites import HOST, SITE_NAME, Resolver, running_tcp, running_tls, site_context, trusting

OTHER_NAME = "other.site.test"
PATIENT = CheckLimits(connect=30, visit=30, whole=60)
"""Nothing in these tests takes a second; a machine that was asleep must not fail them."""


async def look(port: int, *names: str, **options: Any) -> TargetReport:
    usual: dict[str, Any] = {"trust": trusting(), "limits": PATIENT}
    return await check_target(HOST, port, names or (SITE_NAME,), **usual | options)


def verdicts(report: TargetReport, name: str = SITE_NAME) -> dict[Check, Verdict]:
    """Return what was found by one name, and for all; each thing is said once."""
    found = [finding for finding in report.findings if finding.name in {"", name}]
    by_check = {finding.check: finding.verdict for finding in found}
    assert len(by_check) == len(found), report
    return by_check


def text_of(report: TargetReport, check: Check, name: str = SITE_NAME) -> str:
    [text] = [found.text for found in report.findings if found.check is check and found.name in {"", name}]
    return text


async def test_a_good_site_is_usable_and_everything_is_said_of_it() -> None:
    async with running_tls(site_context(SITE_NAME, large=True)) as port:
        report = await look(port)
    assert report.usable
    found = verdicts(report)
    assert found.pop(Check.ADDRESS) is Verdict.WARNING
    post_quantum = Verdict.GOOD if ssl.OPENSSL_VERSION_INFO >= (3, 5) else Verdict.NOTE
    assert found.pop(Check.POST_QUANTUM) is post_quantum
    assert found == dict.fromkeys(
        (
            Check.REACHABLE,
            Check.ROUND_TRIP,
            Check.TLS13,
            Check.NO_RETRY,
            Check.KEY_EXCHANGE,
            Check.RECORDS,
            Check.MLDSA65_ROOM,
            Check.CERTIFICATE,
            Check.HTTP2,
        ),
        Verdict.GOOD,
    )
    assert (report.address, report.port, report.names) == (HOST, port, (SITE_NAME,))
    assert report.round_trip is not None
    assert [finding.check for finding in report.findings] == [
        c for c in Check if c not in {Check.SAME_FOR_ALL, Check.OTHER}
    ]


async def test_a_site_with_a_small_certificate_has_no_room_for_a_post_quantum_one() -> None:
    async with running_tls(site_context(SITE_NAME)) as port:
        report = await look(port)
    assert report.usable
    assert verdicts(report)[Check.MLDSA65_ROOM] is Verdict.NOTE
    assert "in 4 records of" in text_of(report, Check.RECORDS)


async def test_a_site_of_tls12_is_not_usable() -> None:
    context = site_context(SITE_NAME)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running_tls(context) as port:
        report = await look(port)
    assert not report.usable
    assert verdicts(report)[Check.TLS13] is Verdict.FORBIDS
    assert text_of(report, Check.TLS13) == "speaks an older TLS than 1.3"


async def test_a_site_that_asks_for_another_hello_is_not_usable() -> None:
    context = site_context(SITE_NAME)
    context.set_ecdh_curve("prime256v1")
    async with running_tls(context) as port:
        report = await look(port)
    assert not report.usable
    found = verdicts(report)
    assert (found[Check.TLS13], found[Check.NO_RETRY]) == (Verdict.GOOD, Verdict.FORBIDS)
    assert text_of(report, Check.NO_RETRY) == "asks a browser for another hello, with P-256"
    # The rest is said all the same.
    assert found[Check.CERTIFICATE] is Verdict.GOOD


async def test_a_site_without_http2_is_warned_of() -> None:
    async with running_tls(site_context(SITE_NAME, alpn=())) as port:
        report = await look(port)
    assert report.usable
    assert verdicts(report)[Check.HTTP2] is Verdict.WARNING


@pytest.mark.parametrize(
    ("options", "why"),
    [({"expired": True}, "certificate has expired"), ({"self_signed": True}, "")],
    ids=["expired", "self-signed"],
)
async def test_a_certificate_that_no_browser_believes_forbids_the_site(options: dict[str, Any], why: str) -> None:
    async with running_tls(site_context(SITE_NAME, **options)) as port:
        report = await look(port)
    assert not report.usable
    found = verdicts(report)
    assert found.pop(Check.CERTIFICATE) is Verdict.FORBIDS
    assert why in text_of(report, Check.CERTIFICATE)
    # What else it speaks is learnt from whoever shows it.
    assert found[Check.HTTP2] is Verdict.GOOD
    assert Verdict.FORBIDS not in found.values()


async def test_a_name_that_is_not_in_the_certificate_forbids_the_site_by_that_name_only() -> None:
    async with running_tls(site_context(SITE_NAME)) as port:
        report = await look(port, SITE_NAME, OTHER_NAME)
    assert not report.usable
    assert verdicts(report)[Check.CERTIFICATE] is Verdict.GOOD
    assert verdicts(report, OTHER_NAME)[Check.CERTIFICATE] is Verdict.FORBIDS
    assert verdicts(report)[Check.SAME_FOR_ALL] is Verdict.GOOD


async def test_a_site_that_answers_otherwise_by_another_name_is_warned_of() -> None:
    usual, odd = site_context(SITE_NAME, OTHER_NAME), site_context(SITE_NAME, OTHER_NAME)
    odd.set_alpn_protocols(["http/1.1"])

    def choose(sslobject: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        sslobject.context = odd if name == OTHER_NAME else usual

    front = site_context(SITE_NAME)
    front.sni_callback = choose
    async with running_tls(front) as port:
        report = await look(port, SITE_NAME, OTHER_NAME)
    assert report.usable
    # The switched context chooses the ALPN.
    assert verdicts(report, OTHER_NAME)[Check.HTTP2] is Verdict.WARNING
    assert verdicts(report)[Check.SAME_FOR_ALL] is Verdict.WARNING
    assert text_of(report, Check.SAME_FOR_ALL) == f"answers otherwise as {OTHER_NAME} than as {SITE_NAME}"


async def test_a_closed_port_is_said_to_be_closed() -> None:
    async with running_tls(site_context(SITE_NAME)) as port:
        pass
    report = await look(port)
    assert not report.usable
    assert verdicts(report) == {Check.ADDRESS: Verdict.WARNING, Check.REACHABLE: Verdict.FORBIDS}
    assert "refused" in text_of(report, Check.REACHABLE)
    assert report.round_trip is None


async def answer_in_http(stream: trio.SocketStream) -> None:
    await stream.receive_some(1 << 14)
    await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def end_at_once(stream: trio.SocketStream) -> None:
    await stream.receive_some(1 << 14)


async def never_stop(stream: trio.SocketStream) -> None:
    await stream.receive_some(1 << 14)
    while True:
        # A handshake message of 64 KiB begins, and goes on.
        await stream.send_all(b"\x16\x03\x03\x40\x00\x02\x01\x00\x00" + bytes(2**14 - 4))


async def refuse(stream: trio.SocketStream) -> None:
    await stream.receive_some(1 << 14)
    await stream.send_all(b"\x15\x03\x03\x00\x02\x02\x28")


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (answer_in_http, "does not answer in TLS"),
        (end_at_once, "ends the connection"),
        (never_stop, "answers a browser's hello with more than 32,768 octets"),
        (refuse, "refuses a browser's hello by alert 40 (handshake_failure)"),
    ],
)
async def test_what_is_no_tls_is_read_no_further(serve: Any, why: str) -> None:
    async with running_tcp(serve) as port:
        report = await look(port)
    assert not report.usable
    assert verdicts(report)[Check.TLS13] is Verdict.FORBIDS
    assert why in text_of(report, Check.TLS13)
    assert Check.CERTIFICATE not in verdicts(report)


async def test_a_site_that_says_nothing_costs_no_more_than_one_visit() -> None:
    visits = 0

    async def hold(stream: trio.SocketStream) -> None:
        nonlocal visits
        visits += bool(await stream.receive_some(1 << 14))
        await stream.receive_some(1 << 14)

    async with running_tcp(hold) as port:
        report = await look(port, limits=CheckLimits(connect=30, visit=0.2, whole=60))
    assert not report.usable
    assert text_of(report, Check.TLS13) == "does not answer a browser's hello within 0.2 s"
    assert visits == 1


async def hold_on(stream: trio.SocketStream) -> None:
    while await stream.receive_some(1 << 14):
        pass


async def test_all_visits_together_have_an_end() -> None:
    async with running_tcp(hold_on) as port:
        report = await look(port, limits=CheckLimits(connect=30, visit=30, whole=0.2))
    assert not report.usable
    [late] = [found for found in report.findings if found.verdict is Verdict.FORBIDS]
    assert late.text == "does not finish a few handshakes within 0.2 s"


async def test_whoever_may_visit_the_internet_only_sends_nothing_elsewhere() -> None:
    visits = 0

    async def count(stream: trio.SocketStream) -> None:
        nonlocal visits
        visits += 1

    async with running_tcp(count) as port:
        # Without the rule the address is visited: this is what the rule is for.
        assert not (await look(port)).usable
        seen = visits
        assert seen
        report = await look(port, only_public=True)
        assert visits == seen
    assert not report.usable
    assert verdicts(report) == {Check.ADDRESS: Verdict.FORBIDS}
    assert HOST not in text_of(report, Check.ADDRESS)


async def test_a_name_that_leads_inside_among_others_is_not_visited_by_a_node() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver("198.41.0.4", "10.0.0.1"))
    report = await check_target(SITE_NAME, only_public=True, trust=trusting())
    assert verdicts(report) == {Check.ADDRESS: Verdict.FORBIDS}


@pytest.mark.parametrize(
    ("host", "port", "names"),
    [
        ("Www.site.test", 443, ()),
        (SITE_NAME, 0, ()),
        (SITE_NAME, 65536, ()),
        (HOST, 443, ()),
        (SITE_NAME, 443, ("*.x",)),
    ],
)
async def test_what_is_no_target_is_not_looked_at(host: str, port: int, names: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError):
        await check_target(host, port, names)
