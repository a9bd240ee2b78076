"""Row 24. Position: a beacon that carries an enrolment. Wants: the ticket for a device of its own, or other keys in it.

Countermeasures: the passage is Noise_NKpsk0 to helm's key in the ticket, with a psk that is derived from its secret;
the other half of the secret claims it, inside; and the device's keys travel inside as well.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.helm.accounts import claim as claims
from pharos.helm.store.devices import list_devices
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import TicketId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.passage.accepted import AcceptedPassage
from pharos.wire.passage.metadata import PURPOSE_HEADER
from pharos.wire.rpc.server import Service
from pharos.wire.seal import ticket as tickets
from pharos.wire.seal.ticket import TicketKeys, TicketLink
from tests.support.evilbeacon import PlaysHelm, RelayFleet, fleet_behind
from tests.support.frameforward import Edit, pass_on

WRONG = bytes(16)
"""The secret of a beacon that has none."""


async def device_names(fleet: RelayFleet) -> list[str]:
    return [device.name for device in await fleet.helm.store.read(list_devices)]


async def watch_an_enrolment(fleet: RelayFleet) -> tuple[TicketLink, TicketId]:
    """Cut a laptop's enrolment off after its first message; return its ticket, and the id that the beacon saw."""
    ticket = await fleet.invite("laptop")
    fleet.evil.edit_up = lambda: lambda number, frame: [frame] if number == 0 else [None]
    with pytest.raises(NoAnswerError):
        await enroll(fleet.device("laptop"), ticket)
    fleet.evil.edit_up = lambda: pass_on
    purpose = dict(fleet.evil.seen[-1].headers)[PURPOSE_HEADER]
    return ticket, TicketId(bytes.fromhex(purpose.removeprefix("enrol.")))


async def test_a24_id_that_a_beacon_sees_claims_nothing_and_burns_nothing(tmp_path: Path) -> None:
    async with fleet_behind(tmp_path) as fleet:
        ticket, seen = await watch_an_enrolment(fleet)
        assert seen == ticket.ticket_id
        for number in range(10):
            wrong = attrs.evolve(ticket, ticket_id=seen, secret=bytes([number]) * 16)
            with pytest.raises(HelmRefusedError):
                await enroll(fleet.device("thief"), wrong)
        assert await device_names(fleet) == []
        await enroll(fleet.device("laptop"), ticket)
        assert await device_names(fleet) == ["laptop"]


async def test_a24_turns_red_where_the_secret_is_made_of_the_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_the_id(_secret: bytes, ticket_id: TicketId) -> TicketKeys:
        return TicketKeys(psk=hashlib.sha256(ticket_id).digest(), proof=hashlib.sha256(ticket_id[::-1]).digest())

    monkeypatch.setattr(tickets, "expand_ticket_secret", of_the_id)
    async with fleet_behind(tmp_path) as fleet:
        ticket, seen = await watch_an_enrolment(fleet)
        await enroll(fleet.device("thief"), attrs.evolve(ticket, ticket_id=seen, secret=WRONG))
        with pytest.raises(HelmRefusedError):
            await enroll(fleet.device("laptop"), ticket)


@attrs.frozen(kw_only=True)
class TakenTicket(TicketLink):
    """A ticket of which the thief has what its secret stands for."""

    taken: TicketKeys = attrs.field(repr=False)

    def keys(self) -> TicketKeys:
        return self.taken


def taken_from(ticket: TicketLink, *, psk: bytes, proof: bytes) -> TakenTicket:
    fields = {field.name: getattr(ticket, field.name) for field in attrs.fields(TicketLink)}
    return TakenTicket(**fields, taken=TicketKeys(psk=psk, proof=proof))


@pytest.mark.red_inside
async def test_a24_psk_alone_claims_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads helm's store has the psk, and of the other half a hash."""
    async with fleet_behind(tmp_path) as fleet:
        ticket = await fleet.invite()
        stolen = taken_from(ticket, psk=ticket.keys().psk, proof=bytes(32))
        with pytest.raises(HelmRefusedError, match="used up, expired or unknown"):
            await enroll(fleet.device("thief"), stolen)
        # Red: a helm that does not compare it.
        monkeypatch.setattr(claims, "hmac", SimpleNamespace(compare_digest=lambda _one, _other: True))
        await enroll(fleet.device("thief"), stolen)


class TakesClaims(account_grpc.EnrolmentBase):
    """helm's part in an enrolment, up to the point at which it knows what it wanted to know."""

    def __init__(self) -> None:
        self.claims: list[pb.ClaimRequest] = []

    async def Challenge(self, stream: Stream[pb.ChallengeRequest, pb.ChallengeReply]) -> None:
        await stream.recv_message()
        await stream.send_message(pb.ChallengeReply(ephemeral=KeyPair.generate().public))

    async def Claim(self, stream: Stream[pb.ClaimRequest, pb.ClaimReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        self.claims.append(request)
        raise GRPCError(Status.UNAVAILABLE, "try again")


def stand_between(fleet: RelayFleet, ticket: TicketLink, key: KeyPair) -> TakesClaims:
    """Answer enrolments as if helm had this key, knowing the psk of the ticket."""
    taker = TakesClaims()

    def serve(_passage: AcceptedPassage) -> Service:
        return Service([taker])

    plays = PlaysHelm(serve, fleet=ticket.fleet, key=key, psks={ticket.ticket_id: ticket.keys().psk})
    fleet.evil.handle = plays.terminate
    return taker


async def test_a24_beacon_cannot_stand_between(tmp_path: Path) -> None:
    """Though it be given the psk: it lacks helm's private key, and the ticket names the public one."""
    async with fleet_behind(tmp_path) as fleet:
        ticket = await fleet.invite()
        taker = stand_between(fleet, ticket, KeyPair.generate())
        with pytest.raises(HelmRefusedError, match="UNAUTHENTICATED passage"):
            await enroll(fleet.device("laptop"), ticket)
        assert taker.claims == []
        fleet.evil.handle = fleet.evil.forward
        await enroll(fleet.device("laptop"), ticket)


async def test_a24_turns_red_where_the_beacon_says_which_key_is_helms(tmp_path: Path) -> None:
    """Then it learns the proof, and claims with keys of its own."""
    async with fleet_behind(tmp_path) as fleet:
        ticket, evil_key = await fleet.invite("laptop"), KeyPair.generate()
        taker = stand_between(fleet, ticket, evil_key)
        with pytest.raises(NoAnswerError):
            await enroll(fleet.device("laptop"), attrs.evolve(ticket, helm_key=evil_key.public))
        (claim,) = taker.claims
        fleet.evil.handle = fleet.evil.forward
        stolen = taken_from(ticket, psk=ticket.keys().psk, proof=claim.ticket_proof)
        thief = await enroll(fleet.device("thief"), stolen)
        devices = await fleet.helm.store.read(list_devices)
        assert [(device.name, device.awg_key) for device in devices] == [("laptop", thief.secrets.awg.public)]
        with pytest.raises(HelmRefusedError, match="used up"):
            await enroll(fleet.device("laptop"), ticket)


def flip(at: int, bit: int) -> Edit:
    """Change one bit of one frame, as somebody would who knew where a key stands in it."""

    def edit(number: int, frame: bytes) -> list[bytes | None]:
        if number != at:
            return [frame]
        changed = bytearray(frame)
        changed[bit // 8 % len(frame)] ^= 1 << bit % 8
        return [bytes(changed)]

    return edit


@pytest.mark.parametrize("number", range(4))
async def test_a24_keys_are_not_swapped_on_their_way(tmp_path: Path, number: int) -> None:
    """A frame that was touched ends the enrolment, and no device has come of it."""
    async with fleet_behind(tmp_path) as fleet:
        ticket = await fleet.invite("laptop")
        fleet.evil.edit_up = lambda: flip(number, 333)
        with pytest.raises((HelmRefusedError, NoAnswerError)):
            await enroll(fleet.device("laptop"), ticket)
        assert await device_names(fleet) == []
        fleet.evil.edit_up = lambda: pass_on
        enrolled = await enroll(fleet.device("laptop"), ticket)
        (device,) = await fleet.helm.store.read(list_devices)
        assert device.awg_key == enrolled.secrets.awg.public
