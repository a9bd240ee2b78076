"""A claim consumes its ticket, records the device and certifies its key, in one transaction or not at all."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.helm.accounts.claim import REFUSED, DeviceClaim, claim_ticket
from pharos.helm.accounts.tickets import invite_device, withdraw_ticket
from pharos.helm.accounts.users import add_user, change_user
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import ConflictError, InvalidRequestError, NotAllowedError
from pharos.helm.model.devices import DeviceState
from pharos.helm.model.users import UserState
from pharos.helm.store.database import Database, microseconds, transact
from pharos.helm.store.devices import fingerprints_of, list_devices
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.tickets import find_ticket
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import TicketId
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, generate_key
from pharos.wire.pki.roles import Role
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.seal.ticket import TicketLink
from tests.support.helm import (
    adopt_sample_relay,
    fleet_in_memory,
    now,
    open_helm,
    revoke_sample_device,
    sample_act,
    sample_keys,
)

VAULT = Vault(bytes(32))
HOUR = datetime.timedelta(hours=1)


def invited(db: Database, authority: Authority, *, user_id: str | None = None) -> TicketLink:
    adopt_sample_relay(db, authority, f"gate-{len(entries_after(db, 0))}")
    made = invite_device(db, sample_act(), authority, VAULT, device_name="Ada's phone", lifetime=HOUR, user_id=user_id)
    return TicketLink.parse(made.link)


def claim_of(link: TicketLink, number: int = 1, key: ec.EllipticCurvePrivateKey | None = None) -> DeviceClaim:
    return DeviceClaim(
        ticket_id=link.ticket_id,
        proof=link.keys().proof,
        csr=make_csr(key or generate_key()),
        keys=sample_keys(number),
        device_name="",
    )


def test_claim_makes_a_device_with_a_certificate_of_its_own_key() -> None:
    key = generate_key()
    with fleet_in_memory() as (db, authority):
        link = invited(db, authority)
        before = get_fleet(db).revision
        device, der = claim_ticket(db, sample_act(), authority, claim_of(link, key=key))
        assert list_devices(db) == [device]
        assert (device.name, device.state, device.keys) == ("Ada's phone", DeviceState.ACTIVE, sample_keys(1))
        identity = authorize_peer(der, trust=authority.trust, roles={Role.DEVICE}, peer_id=device.id, now=now())
        assert identity.id == device.id
        assert certificate_from_der(der).public_key() == key.public_key()
        assert fingerprints_of(db, device.id) == {hashlib.sha256(der).hexdigest()}
        used = find_ticket(db, link.ticket_id)
        assert used is not None
        assert used.device_id == device.id
        assert get_fleet(db).revision == before + 1
        told = [entry.kind for entry in entries_after(db, 0)]
        assert told[-3:] == ["device_enrolled", "ticket_used", "certificate_issued"]


def test_repeated_claim_of_the_same_keys_gets_the_same_answer() -> None:
    """A reply may be lost (row 25)."""
    with fleet_in_memory() as (db, authority):
        link, key = invited(db, authority), generate_key()
        first = claim_ticket(db, sample_act(), authority, claim_of(link, key=key))
        told = entries_after(db, 0)
        # A new CSR of the same key has another signature.
        assert claim_ticket(db, sample_act(), authority, claim_of(link, key=key)) == first
        assert entries_after(db, 0) == told
        assert len(list_devices(db)) == 1


def test_used_ticket_is_refused_to_any_other_keys() -> None:
    with fleet_in_memory() as (db, authority):
        link, key = invited(db, authority), generate_key()
        claim = claim_of(link, key=key)
        claim_ticket(db, sample_act(), authority, claim)
        other_keys = attrs.evolve(claim.keys, awg=bytes(32))
        for stranger in (claim_of(link, 2, key), claim_of(link, 1), attrs.evolve(claim, keys=other_keys)):
            with pytest.raises(NotAllowedError, match=REFUSED):
                transact(db, claim_ticket, sample_act(), authority, stranger)
        assert len(list_devices(db)) == 1


def test_repeated_claim_of_a_revoked_device_is_refused() -> None:
    with fleet_in_memory() as (db, authority):
        link, key = invited(db, authority), generate_key()
        device, _ = claim_ticket(db, sample_act(), authority, claim_of(link, key=key))
        revoke_sample_device(db, device.id)
        with pytest.raises(NotAllowedError, match=REFUSED):
            claim_ticket(db, sample_act(), authority, claim_of(link, key=key))


def test_wrong_proof_unknown_and_expired_ticket_tell_the_same_and_burn_nothing() -> None:
    with fleet_in_memory() as (db, authority):
        link = invited(db, authority)
        good = claim_of(link)
        tries = [
            (attrs.evolve(good, proof=bytes(32)), now()),
            (attrs.evolve(good, proof=b""), now()),
            # Who reads the store has this, and it is not the proof.
            (attrs.evolve(good, proof=link.keys().proof_hash), now()),
            (attrs.evolve(good, ticket_id=TicketId(bytes(8))), now()),
            (good, now() + 2 * HOUR),
        ]
        for claim, then in tries:
            with pytest.raises(NotAllowedError) as caught:
                transact(db, claim_ticket, sample_act(at=microseconds(then.timestamp())), authority, claim)
            assert str(caught.value) == REFUSED
        assert list_devices(db) == []
        claim_ticket(db, sample_act(), authority, good)


def test_late_failure_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with fleet_in_memory() as (db, authority):
        link = invited(db, authority)
        before = (get_fleet(db), entries_after(db, 0))

        def fail(*_args: object, **_kwargs: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("pharos.helm.accounts.claim.next_revision", fail)
            with pytest.raises(ZeroDivisionError):
                transact(db, claim_ticket, sample_act(), authority, claim_of(link))
        assert list_devices(db) == []
        assert (get_fleet(db), entries_after(db, 0)) == before
        ticket = find_ticket(db, link.ticket_id)
        assert ticket is not None
        assert ticket.used_keys is None


@pytest.mark.parametrize("name", ["sealing", "derive", "noise", "awg"])
@pytest.mark.parametrize("revoked", [False, True])
def test_public_key_of_another_device_is_refused(name: str, *, revoked: bool) -> None:
    with fleet_in_memory() as (db, authority):
        first, _ = claim_ticket(db, sample_act(), authority, claim_of(invited(db, authority), 1))
        if revoked:
            revoke_sample_device(db, first.id)
        thief = claim_of(invited(db, authority), 2)
        thief = attrs.evolve(thief, keys=attrs.evolve(thief.keys, **{name: getattr(first.keys, name)}))
        with pytest.raises(ConflictError):
            transact(db, claim_ticket, sample_act(), authority, thief)
        assert len(list_devices(db)) == 1


def test_certificate_key_of_another_device_is_refused() -> None:
    key = generate_key()
    with fleet_in_memory() as (db, authority):
        claim_ticket(db, sample_act(), authority, claim_of(invited(db, authority), 1, key))
        with pytest.raises(ConflictError):
            transact(db, claim_ticket, sample_act(), authority, claim_of(invited(db, authority), 2, key))


def test_key_of_another_device_is_refused_for_any_other_use_too() -> None:
    """Somebody else's AmneziaWG key as my derive key is still somebody else's."""
    with fleet_in_memory() as (db, authority):
        first, _ = claim_ticket(db, sample_act(), authority, claim_of(invited(db, authority), 1))
        thief = claim_of(invited(db, authority), 2)
        thief = attrs.evolve(thief, keys=attrs.evolve(thief.keys, derive=first.keys.awg))
        with pytest.raises(ConflictError):
            transact(db, claim_ticket, sample_act(), authority, thief)


def test_one_key_for_two_uses_is_refused() -> None:
    """The derive key is used for nothing else (security design 2d)."""
    with fleet_in_memory() as (db, authority):
        claim = claim_of(invited(db, authority))
        with pytest.raises(InvalidRequestError, match="one key"):
            transact(
                db,
                claim_ticket,
                sample_act(),
                authority,
                attrs.evolve(claim, keys=attrs.evolve(claim.keys, derive=claim.keys.awg)),
            )


def test_claim_without_possession_of_its_certificate_key_is_refused() -> None:
    with fleet_in_memory() as (db, authority):
        claim = claim_of(invited(db, authority))
        csr = bytearray(claim.csr)
        csr[-1] ^= 1
        with pytest.raises(RemoteProtocolError):
            transact(db, claim_ticket, sample_act(), authority, attrs.evolve(claim, csr=bytes(csr)))
        assert list_devices(db) == []


def test_device_may_bring_a_name_that_fits() -> None:
    with fleet_in_memory() as (db, authority):
        claim = claim_of(invited(db, authority))
        with pytest.raises(InvalidRequestError):
            transact(db, claim_ticket, sample_act(), authority, attrs.evolve(claim, device_name="a\nb"))
        device, _ = claim_ticket(db, sample_act(), authority, attrs.evolve(claim, device_name="my phone"))
        assert device.name == "my phone"


def test_full_address_pool_is_refused_and_keeps_the_ticket() -> None:
    with fleet_in_memory() as (db, authority):
        link = invited(db, authority)
        db.execute("UPDATE pools SET next_host = 65535")
        with pytest.raises(ConflictError, match="used up"):
            transact(db, claim_ticket, sample_act(), authority, claim_of(link))
        ticket = find_ticket(db, link.ticket_id)
        assert ticket is not None
        assert ticket.used_keys is None


def test_ticket_of_a_user_makes_a_device_of_that_user_up_to_their_limit() -> None:
    with fleet_in_memory() as (db, authority):
        user = add_user(db, sample_act(), {"name": "ada", "device_limit": 1})
        first, second = (invited(db, authority, user_id=user.id) for _ in range(2))
        device, _ = claim_ticket(db, sample_act(), authority, claim_of(first, 1))
        assert device.user_id == user.id
        with pytest.raises(ConflictError, match="ada may have 1 devices"):
            transact(db, claim_ticket, sample_act(), authority, claim_of(second, 2))
        revoke_sample_device(db, device.id)
        other, _ = claim_ticket(db, sample_act(), authority, claim_of(second, 2))
        assert other.user_id == user.id, "the ticket was not burnt"


@pytest.mark.parametrize(
    ("change", "why"), [({"state": UserState.DISABLED}, "ada is disabled"), ({"expires_at": 1}, "ada has expired")]
)
def test_ticket_of_a_user_who_is_kept_out_says_so_to_whoever_holds_it(change: dict[str, object], why: str) -> None:
    with fleet_in_memory() as (db, authority):
        user = add_user(db, sample_act(), {"name": "ada"})
        link = invited(db, authority, user_id=user.id)
        change_user(db, sample_act(), user.id, 1, change)
        with pytest.raises(NotAllowedError, match=REFUSED):
            transact(db, claim_ticket, sample_act(), authority, attrs.evolve(claim_of(link), proof=bytes(32)))
        with pytest.raises(NotAllowedError, match=why):
            transact(db, claim_ticket, sample_act(), authority, claim_of(link))
        back = {"state": UserState.ACTIVE, "expires_at": None}
        change_user(db, sample_act(), user.id, 2, back)
        transact(db, claim_ticket, sample_act(), authority, claim_of(link))


def test_withdrawn_ticket_tells_the_same_as_a_used_one() -> None:
    with fleet_in_memory() as (db, authority):
        link = invited(db, authority)
        withdraw_ticket(db, sample_act(), link.ticket_id.hex(), 1)
        with pytest.raises(NotAllowedError, match=REFUSED):
            transact(db, claim_ticket, sample_act(), authority, claim_of(link))
        assert list_devices(db) == []


async def test_of_many_parallel_claims_of_one_user_as_many_win_as_fit(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def prepare(db: Database, authority: Authority) -> list[TicketLink]:
        user = add_user(db, sample_act(), {"name": "ada", "device_limit": 3})
        return [invited(db, authority, user_id=user.id) for _ in range(8)]

    async with open_helm(tmp_path) as helm:
        links = await helm.store.run(prepare, helm.authority)

        async def race(number: int, link: TicketLink) -> None:
            try:
                await helm.store.run(claim_ticket, sample_act(), helm.authority, claim_of(link, number))
            except ConflictError:
                outcomes.append("full")
            else:
                outcomes.append("enrolled")

        async with trio.open_nursery() as nursery:
            for number, link in enumerate(links):
                nursery.start_soon(race, number, link)
    assert sorted(outcomes) == ["enrolled"] * 3 + ["full"] * 5


async def test_of_many_parallel_claims_one_wins(tmp_path: Path) -> None:
    outcomes: list[str] = []
    async with open_helm(tmp_path) as helm:
        link = await helm.store.run(invited, helm.authority)

        async def race(number: int) -> None:
            try:
                await helm.store.run(claim_ticket, sample_act(), helm.authority, claim_of(link, number))
            except NotAllowedError:
                outcomes.append("refused")
            else:
                outcomes.append("enrolled")

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(race, number)
        assert sorted(outcomes) == ["enrolled"] + ["refused"] * 19
        assert len(await helm.store.run(list_devices)) == 1


def test_proof_does_not_print() -> None:
    with fleet_in_memory() as (db, authority):
        claim = claim_of(invited(db, authority))
        assert claim.proof.hex() not in repr(claim)
        assert repr(claim.proof) not in repr(claim)
