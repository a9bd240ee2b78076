"""Row 69. Position: whoever sets a member's clock: NTP of the path, a dead battery, a snapshot. Wants: what has ended.

Countermeasure: certificates are judged by the wall clock, but never by an earlier time than the fleet has proven; that
floor is kept over restarts, and whatever is numbered goes by its number. Timers, leases among them, are monotonic.
"""

import datetime
import functools

import attrs
import pytest
import trio

from pharos.buoy.control import serve_control
from pharos.buoy.events import EventFeed
from pharos.buoy.node import Node
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.serving import is_denied
from pharos.buoy.state import DesiredState
from pharos.helm.fleet.dial import dial_member
from pharos.wire.agent import AgentKeys
from pharos.wire.desired import Fence, Push
from pharos.wire.errors import DenyListError, LinkRefusedError, PeerRejectedError
from pharos.wire.keeping import Keeping
from pharos.wire.pki.clockfloor import ClockFloor
from pharos.wire.pki.denylist import DenyList
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.roles import CONTROL, Role
from pharos.wire.seal.denylist import sign_deny_list
from tests.support.agents import grant_for, joined
from tests.support.buoy import FakePlane, SampleBuoy, make_buoy
from tests.support.pki import home_fleet, make_fleet, utc_now
from tests.support.strategies import parameters_of, peer_of
from tests.support.trust import SIGNING_KEY, Signer
from tests.wire import test_keeping as keeping_tests

HOME, HELM = home_fleet(), Signer()
NOW = utc_now().replace(microsecond=0)
MINUTE, HOUR, DAY = (datetime.timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
YEAR = 365 * DAY
COLD = datetime.datetime(1970, 1, 1, 0, 3, tzinfo=datetime.UTC)
LOST = HOME.identity(Role.DEVICE, "device-1")
PUSH = Push(
    fence=Fence(5, 2, 7),
    snapshot=True,
    upsert=(peer_of(1), peer_of(2)),
    awg=parameters_of(1),
    addresses=("10.86.0.1", "fd00::1"),
    manifest=HELM.manifest(3),
)


def microseconds(at):
    return round(at.timestamp() * 1_000_000)


def agent(folder, keys, wall):
    """A node's agent that comes up from disk, by a clock that stands at ``wall``."""
    membership = keys.membership(now=NOW)
    keeping = Keeping(folder, keys, membership, wall=lambda: wall)
    state, plane = DesiredState(folder), FakePlane()
    state.load()
    node = Node(
        keeping=keeping,
        keys=keys,
        state=state,
        plane=plane,
        meter=QuotaMeter(folder),
        wall=lambda: microseconds(wall),
    )
    return SampleBuoy(state=state, plane=plane, keeping=keeping, node=node)


def without_a_floor(patch):
    """Weakened: the clock decides alone."""
    patch.setattr(ClockFloor, "now", lambda self, wall: wall)


def helm_of(fleet=HOME, *, at=NOW):
    """The certificate of a helm, issued then."""
    return der(fleet.member(Role.CONTROLLER, now=at).certificate)


@pytest.mark.red_inside
async def test_a69_clock_back_a_year_revives_no_certificate(tmp_path, monkeypatch):
    fleet = make_fleet(now=NOW - 500 * DAY)
    keys = AgentKeys(tmp_path, Role.NODE)
    keys.install(grant_for(keys.make_request(), fleet=fleet, now=NOW), now=NOW)
    # It ended a month ago, and somebody has its key.
    stolen = helm_of(fleet, at=NOW - 400 * DAY)
    with monkeypatch.context() as weakened:
        without_a_floor(weakened)
        agent(tmp_path, keys, NOW - YEAR).keeping.standing.admit(CONTROL, stolen)
    for wall in (NOW, NOW - HOUR, NOW - YEAR, COLD):
        standing = agent(tmp_path, keys, wall).keeping.standing
        with pytest.raises(PeerRejectedError, match="does not verify"):
            standing.admit(CONTROL, stolen)
        standing.admit(CONTROL, helm_of(fleet))


@pytest.mark.red_inside
async def test_a69_agent_that_starts_in_1970_serves_and_denies_as_before(tmp_path, monkeypatch):
    keys = joined(tmp_path, name="node-1", now=NOW)
    before = agent(tmp_path, keys, NOW)
    await before.node.push(attrs.evolve(PUSH, checkpoint=HELM.checkpoint(7)))
    await before.node.push(
        Push(fence=Fence(5, 2, 8), snapshot=False, deny_list=HELM.deny_list(LOST, version=2)),
    )
    cold = agent(tmp_path, keys, COLD)
    await cold.node.start()
    assert list(cold.plane.applied[-1].peers) == ["device-2"]
    assert cold.keeping.standing.now() >= NOW - 5 * MINUTE
    # Red: by its clock alone helm's certificate, and every other one, begins in half a century.
    with monkeypatch.context() as weakened:
        without_a_floor(weakened)
        with pytest.raises(PeerRejectedError):
            agent(tmp_path, keys, COLD).keeping.standing.admit(CONTROL, helm_of())
    cold.keeping.standing.admit(CONTROL, helm_of())
    with pytest.raises(DenyListError, match="in use"):
        await cold.node.push(Push(fence=Fence(5, 2, 9), snapshot=False, deny_list=HELM.deny_list(version=1)))
    held = await cold.node.push(Push(fence=Fence(5, 2, 9), snapshot=False, upsert=(peer_of(1),)))
    assert list(held.peers) == ["device-2"]
    assert is_denied(cold.keeping.standing.deny_list, peer_of(1))


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.red_inside
async def test_a69_agent_an_hour_off_does_as_helm_says(hours, tmp_path, monkeypatch):
    keys = joined(tmp_path, name="node-1", now=NOW)
    wrong = agent(tmp_path, keys, NOW + hours * HOUR)
    standing = wrong.keeping.standing
    await wrong.node.push(attrs.evolve(PUSH, checkpoint=HELM.checkpoint(7, at=NOW), deny_list=HELM.deny_list(LOST)))
    assert list(wrong.plane.applied[-1].peers) == ["device-2"]
    # A helm that has renewed its certificate this minute.
    with monkeypatch.context() as weakened:
        without_a_floor(weakened)
        if hours < 0:
            with pytest.raises(PeerRejectedError):
                standing.admit(CONTROL, helm_of())
    standing.admit(CONTROL, helm_of())
    for edge in (NOW - YEAR - 2 * HOUR, NOW + 2 * HOUR):
        with pytest.raises(PeerRejectedError):
            standing.admit(CONTROL, helm_of(at=edge))


async def test_a69_who_was_cut_by_a_clock_ahead_is_back_when_it_is_right(tmp_path):
    keys = joined(tmp_path, name="node-1", now=NOW)
    ends = microseconds(NOW + HOUR / 2)
    short = attrs.evolve(peer_of(2), expires_at=ends)
    clock = [NOW + HOUR]
    buoy = make_buoy(tmp_path, keys=keys, membership=keys.membership(now=NOW), wall=lambda: microseconds(clock[0]))
    await buoy.node.push(attrs.evolve(PUSH, upsert=(peer_of(1), short)))
    assert list(buoy.plane.applied[-1].peers) == ["device-1"]
    clock[0] = NOW
    await buoy.node.review()
    assert list(buoy.plane.applied[-1].peers) == ["device-1", "device-2"], "it was cut, and not forgotten"
    clock[0] = NOW + HOUR
    await buoy.node.review()
    assert list(buoy.plane.applied[-1].peers) == ["device-1"]


@pytest.mark.red_inside
async def test_a69_deny_lists_go_by_their_number_whatever_time_they_have(tmp_path, monkeypatch):
    """A helm whose clock was a year back revoked somebody; a member must not think that older."""
    keys = joined(tmp_path, name="node-1", now=NOW)
    back = attrs.evolve(HOME.deny_list(LOST, version=2), issued=int((NOW - YEAR).timestamp()))
    revoked = sign_deny_list(back, signing_key=SIGNING_KEY)
    with monkeypatch.context() as weakened:
        weakened.setattr(DenyList, "order", property(lambda self: (self.issued, self.version)))
        naive = agent(tmp_path, keys, NOW)
        await naive.keeping.take(manifest=HELM.manifest(3), deny_list=HELM.deny_list())
        with pytest.raises(DenyListError, match="in use"):
            await naive.keeping.take(deny_list=revoked)
    for wall in (NOW, NOW + HOUR, NOW - YEAR, COLD):
        member = agent(tmp_path, keys, wall)
        await member.keeping.take(manifest=HELM.manifest(3), deny_list=revoked)
        assert is_denied(member.keeping.standing.deny_list, peer_of(1))


@pytest.mark.red_inside
async def test_a69_helm_whose_clock_is_years_ahead_ends_nobody(tmp_path, monkeypatch):
    # Red inside: with any time believed, the member's own fleet has ended.
    await keeping_tests.test_helm_whose_clock_is_years_ahead_does_not_shut_us_out(tmp_path, monkeypatch)


@attrs.frozen
class Dialler:
    """What of helm's keys a dial takes."""

    trust: object
    controller: object


@pytest.mark.red_inside
async def test_a69_helm_whose_clock_is_back_takes_no_node_that_has_expired(tmp_path, monkeypatch):
    """Somebody has the key of a node's last certificate. OpenSSL goes by the true time; ours is 13 months later."""
    keys = joined(tmp_path, name="node-1", now=NOW)
    buoy = make_buoy(tmp_path, keys=keys, membership=keys.membership(now=NOW))
    helm = Dialler(HOME.trust, HOME.member(Role.CONTROLLER, now=NOW + 395 * DAY))
    async with trio.open_nursery() as nursery:
        serve = functools.partial(serve_control, buoy.node, EventFeed(), host="127.0.0.1", port=0)
        _, port = await nursery.start(serve)
        dial = functools.partial(dial_member, helm, Role.NODE, "node-1", "127.0.0.1", port, wall=utc_now)
        with monkeypatch.context() as weakened:
            without_a_floor(weakened)
            stream, _ = await dial()
            await trio.aclose_forcefully(stream)
        with pytest.raises(LinkRefusedError, match="does not verify"):
            await dial()
        nursery.cancel_scope.cancel()


async def test_a69_agent_whose_machine_has_no_clock_starts_and_serves(tmp_path):
    keys = joined(tmp_path, name="node-1", now=NOW)
    await agent(tmp_path, keys, NOW).node.push(PUSH)
    # Of a battery that died, and of a helm that was away for longer than the certificate lasts.
    for wall in (COLD, NOW + 3 * YEAR):
        cold = make_buoy(
            tmp_path, keys=keys, membership=keys.membership(now=wall), wall=lambda at=wall: microseconds(at)
        )
        await cold.node.start()
        assert list(cold.plane.applied[-1].peers) == ["device-1", "device-2"]


@pytest.mark.red_inside
async def test_a69_access_that_ended_does_not_begin_again(tmp_path, monkeypatch):
    keys = joined(tmp_path, name="node-1", now=NOW)
    ended = attrs.evolve(peer_of(2), expires_at=microseconds(NOW - DAY))
    await agent(tmp_path, keys, NOW).node.push(attrs.evolve(PUSH, upsert=(peer_of(1), ended)))
    for wall in (NOW - 2 * DAY, NOW - YEAR, COLD):
        back = agent(tmp_path, keys, wall)
        # Red: the clock decides alone.
        with monkeypatch.context() as weakened:
            weakened.setattr(Node, "_now", lambda self: self._wall())
            await back.node.start()
            assert list(back.plane.applied[-1].peers) == ["device-1", "device-2"]
        await back.node.review()
        assert list(back.plane.applied[-1].peers) == ["device-1"]
