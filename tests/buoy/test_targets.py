"""What a node looks at for helm, and what it does not look at for whoever stole helm."""

from __future__ import annotations

import ipaddress

import pytest
import trio
import trio.testing

from pharos.buoy.targets import AT_ONCE, EVERY, LookRefusedError, TargetDesk
from pharos.wire.errors import ParameterError
from pharos.wire.reality.routing import Routes
from pharos.wire.reality.target import CheckLimits
from pharos.wire.reality.targetreport import Check, Verdict
from tests.support.sites import HOST, SITE_NAME, Resolver, running_tcp, running_tls, site_context, trusting

LOOPBACK = Routes(allowed=(ipaddress.ip_network("127.0.0.0/8"),))
PATIENT = CheckLimits(connect=30, visit=30, whole=60)
NAMES = (SITE_NAME,)


async def test_a_good_site_is_reported_as_good() -> None:
    desk = TargetDesk(routes=LOOPBACK, trust=trusting(), limits=PATIENT)
    async with running_tls(site_context(SITE_NAME)) as port:
        report = await desk.look(HOST, port, NAMES)
    assert report.usable
    assert {finding.verdict for finding in report.findings} <= {Verdict.GOOD, Verdict.NOTE}


async def test_a_stolen_helm_learns_nothing_of_what_stands_beside_the_node() -> None:
    visits = 0

    async def count(_: trio.SocketStream) -> None:
        nonlocal visits
        visits += 1

    async with running_tcp(count) as port:
        # A node that were allowed to would tell that somebody is there.
        weak = await TargetDesk(routes=LOOPBACK, trust=trusting(), limits=PATIENT).look(HOST, port, NAMES)
        assert Check.REACHABLE in {finding.check for finding in weak.findings}
        seen = visits
        assert seen
        opened = await TargetDesk(trust=trusting()).look(HOST, port, NAMES)
        assert visits == seen
    closed = await TargetDesk(trust=trusting()).look(HOST, port, NAMES)
    # Whether somebody listens there makes no difference.
    assert opened.findings == closed.findings
    assert [finding.verdict for finding in opened.findings] == [Verdict.FORBIDS]


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"]
)
async def test_a_name_does_not_lead_inside(address: str) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(address))
    report = await TargetDesk(trust=trusting()).look(SITE_NAME, 443, NAMES)
    assert not report.usable
    assert (report.address, len(report.findings)) == ("", 1)
    assert address not in report.findings[0].text


async def test_sites_are_looked_at_one_at_a_time() -> None:
    visited = trio.Event()

    async def hold(stream: trio.SocketStream) -> None:
        if await stream.receive_some(1):
            visited.set()
            await trio.sleep_forever()

    desk = TargetDesk(routes=LOOPBACK, trust=trusting(), limits=PATIENT)
    async with running_tcp(hold) as port, trio.open_nursery() as nursery:
        nursery.start_soon(desk.look, HOST, port, NAMES)
        await visited.wait()
        with pytest.raises(LookRefusedError, match="another site"):
            await desk.look(HOST, port, NAMES)
        nursery.cancel_scope.cancel()


async def test_looks_are_seldom(autojump_clock: trio.testing.MockClock) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver("10.0.0.1"))
    desk = TargetDesk(trust=trusting())
    for _ in range(AT_ONCE):
        await desk.look(SITE_NAME, 443, NAMES)
    for _ in range(3):
        # Asking in vain makes the wait no longer.
        with pytest.raises(LookRefusedError, match="try again in 10 s"):
            await desk.look(SITE_NAME, 443, NAMES)
    await trio.sleep(EVERY)
    await desk.look(SITE_NAME, 443, NAMES)
    with pytest.raises(LookRefusedError):
        await desk.look(SITE_NAME, 443, NAMES)


async def test_what_is_no_target_is_not_looked_at() -> None:
    with pytest.raises(ParameterError):
        await TargetDesk(trust=trusting()).look(SITE_NAME, 0, NAMES)
