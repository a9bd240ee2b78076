"""An invitation is a link that carries its secret, and a record that cannot use it."""

from __future__ import annotations

import datetime

import attrs
import pytest

from pharos.helm.accounts.tickets import LONGEST, SHORTEST, check_device_name, invite_device, psk_name, withdraw_ticket
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import ConflictError, InvalidRequestError, NotFoundError, StaleVersionError
from pharos.helm.model.tickets import Ticket, TicketState
from pharos.helm.onboard.agents import adopt_relay
from pharos.helm.store.database import Database
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.tickets import find_ticket
from pharos.wire.pki.profile import spki_hash
from pharos.wire.seal.ticket import MAX_BEACONS, TicketLink
from tests.support.helm import adopt_sample_relay, fleet_in_memory, new_relay, now, relay_request, sample_act

VAULT = Vault(bytes(32))
HOUR = datetime.timedelta(hours=1)


def invite(
    db: Database, authority: Authority, name: str = "Ada's phone", lifetime: datetime.timedelta = HOUR
) -> tuple[TicketLink, Ticket]:
    made = invite_device(db, sample_act(), authority, VAULT, device_name=name, lifetime=lifetime)
    link = TicketLink.parse(made.link)
    ticket = find_ticket(db, link.ticket_id)
    assert ticket is not None
    return link, ticket


def test_link_says_where_helm_is_and_how_to_know_it() -> None:
    with fleet_in_memory() as (db, authority):
        relay, _ = adopt_sample_relay(db, authority)
        link, ticket = invite(db, authority)
        (beacon,) = link.beacons
        assert (beacon.relay, beacon.host, beacon.port) == (relay.id, relay.address, relay.ingress_port)
        assert link.root_hash == spki_hash(authority.trust.root.public_key())
        assert link.helm_key == authority.noise.public
        assert (ticket.device_name, ticket.used_keys, ticket.device_id) == ("Ada's phone", None, None)
        assert ticket.expires_at == pytest.approx((now() + HOUR).timestamp() * 1e6, abs=60e6)


def test_record_checks_the_link_and_cannot_use_it() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        link, ticket = invite(db, authority)
        keys = link.keys()
        assert ticket.id == link.ticket_id.hex()
        assert VAULT.unwrap(psk_name(link.ticket_id), 1, ticket.psk) == keys.psk
        assert ticket.proof == keys.proof_hash
        stored = b"".join(
            value if isinstance(value, bytes) else str(value).encode()
            for row in db.execute("SELECT * FROM tickets")
            for value in row
        )
        for secret in (link.secret, keys.psk, keys.proof):
            assert secret not in stored
            assert secret.hex().encode() not in stored


def test_psk_of_one_ticket_is_not_that_of_another() -> None:
    """Moved to another row, the wrapped psk does not open."""
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        (_, one), (other, _) = invite(db, authority), invite(db, authority)
        with pytest.raises(Exception, match="does not open"):
            VAULT.unwrap(psk_name(other.ticket_id), 1, one.psk)


def test_secret_is_in_no_entry_and_prints_nowhere() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        made = invite_device(db, sample_act(), authority, VAULT, device_name="phone", lifetime=HOUR)
        link = TicketLink.parse(made.link)
        (entry,) = [entry for entry in entries_after(db, 0) if entry.kind == "ticket_made"]
        assert entry.actor == "operator"
        for text in (repr(made), repr(link), str(entry)):
            assert made.link.rpartition("s=")[2] not in text
            assert link.secret.hex() not in text


def test_two_tickets_share_nothing() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        (one, _), (other, _) = invite(db, authority), invite(db, authority)
        assert one.ticket_id != other.ticket_id
        assert one.secret != other.secret


@pytest.mark.parametrize("lifetime", [SHORTEST, LONGEST])
def test_shortest_and_longest_life_fit(lifetime: datetime.timedelta) -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        invite(db, authority, lifetime=lifetime)


@pytest.mark.parametrize(
    "lifetime", [datetime.timedelta(0), -HOUR, SHORTEST - datetime.timedelta(1e-6), LONGEST + HOUR]
)
def test_any_other_life_is_refused(lifetime: datetime.timedelta) -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        with pytest.raises(InvalidRequestError, match="15 minutes to 7 days"):
            invite(db, authority, lifetime=lifetime)


@pytest.mark.parametrize("name", ["a", "Ada's phone", "Zoë — Büro", "電話", "x" * 64, "a/b", "<b>"])
def test_people_call_devices_what_they_like(name: str) -> None:
    assert check_device_name(name) == name


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\x1b[31m", "a\0", "x" * 65, "\u202eabc", "a\u2028b"])
def test_name_with_control_characters_is_refused(name: str) -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        with pytest.raises(InvalidRequestError, match="printable"):
            invite(db, authority, name=name)


def test_without_a_relay_nobody_is_invited_in_vain() -> None:
    with fleet_in_memory() as (db, authority), pytest.raises(InvalidRequestError, match="helm relays add"):
        invite(db, authority)


def test_link_names_no_more_beacons_than_fit() -> None:
    with fleet_in_memory() as (db, authority):
        for number in range(MAX_BEACONS + 1):
            adopt_sample_relay(db, authority, f"gate-{number}")
        link, _ = invite(db, authority)
        assert len(link.beacons) == MAX_BEACONS


@pytest.mark.parametrize("address", ["GATE.example", "2001:DB8::1", "192.0.2.1"])
def test_every_address_that_a_relay_can_have_can_stand_in_a_link(address: str) -> None:
    with fleet_in_memory() as (db, authority):
        wanted = attrs.evolve(new_relay(), address=address)
        adopt_relay(db, sample_act(), authority, relay_request(), wanted)
        link, _ = invite(db, authority)
        assert link.beacons[0].host == address.lower()


def test_open_ticket_is_withdrawn_once_and_any_other_is_not() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        _, ticket = invite(db, authority)
        withdrawn = withdraw_ticket(db, sample_act(), ticket.id, 1)
        assert withdrawn.state(withdrawn.updated_at) is TicketState.WITHDRAWN
        assert entries_after(db, 0)[-1].kind == "ticket_withdrawn"
        with pytest.raises(ConflictError, match="a ticket that is withdrawn"):
            withdraw_ticket(db, sample_act(), ticket.id, 2)
        _, other = invite(db, authority)
        with pytest.raises(ConflictError, match="a ticket that is expired"):
            withdraw_ticket(db, sample_act(at=other.expires_at), other.id, 1)
        with pytest.raises(StaleVersionError):
            withdraw_ticket(db, sample_act(), other.id, 2)


def test_ticket_is_for_a_user_that_there_is() -> None:
    with fleet_in_memory() as (db, authority):
        adopt_sample_relay(db, authority)
        with pytest.raises(NotFoundError, match="no user"):
            invite_device(db, sample_act(), authority, VAULT, device_name="phone", lifetime=HOUR, user_id="nobody")
