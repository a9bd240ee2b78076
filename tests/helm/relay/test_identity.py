"""What is wanted of the beacon aboard becomes a relay of the record, and what an admin did to it stands."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from pharos.helm.accounts.tickets import invite_device
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.config import HelmConfig
from pharos.helm.errors import InvalidRequestError
from pharos.helm.fleet.relays import change_relay, move_relay
from pharos.helm.model.aboard import AboardPlan, read_address
from pharos.helm.model.fleet import Posture
from pharos.helm.model.nodes import NodeAct, NodeState
from pharos.helm.model.relays import NO_TUNNEL, Relay
from pharos.helm.relay.identity import NAME, SecretDocument, settle_aboard
from pharos.helm.store.certificates import certificates_of
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.helm.store.relays import RELAYS
from pharos.wire.agent import AgentKeys
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der
from pharos.wire.pki.roles import Role
from tests.support.helm import adopt_sample_relay, fleet_in_memory, now, sample_act

LOOPBACK = AboardPlan()
TOLD = AboardPlan(told="vpn.example.org:443")
VAULT = Vault(bytes(32))


@attrs.frozen
class Record:
    """A fleet without machines."""

    db: Database
    authority: Authority

    def start(self, plan: AboardPlan | None, *, at: int | None = None) -> Relay | None:
        """Start helm with this wish; return the relay aboard."""
        act = sample_act(at=at)
        relay_id = settle_aboard(self.db, self.authority, VAULT, plan, at=act.at)
        return None if relay_id is None else get_record(self.db, RELAYS, relay_id)

    def aboard(self, plan: AboardPlan) -> Relay:
        """Start helm with a beacon aboard."""
        relay = self.start(plan)
        assert relay is not None
        return relay

    def move(self, relay: Relay, verb: NodeAct) -> Relay:
        """Be an admin."""
        return move_relay(self.db, sample_act(), relay.id, relay.version, verb)

    def listed(self) -> list[str]:
        """Hosts that a ticket made now names."""
        made = invite_device(
            self.db,
            sample_act(),
            self.authority,
            VAULT,
            device_name="laptop",
            lifetime=datetime.timedelta(hours=1),
        )
        return [part for part in ("127.0.0.1", "vpn.example.org", "10.0.0.7") if part in made.link]


@pytest.fixture
def record() -> Iterator[Record]:
    with fleet_in_memory() as (db, authority):
        yield Record(db, authority)


def test_first_start_makes_a_relay_whose_key_the_vault_wraps(record: Record) -> None:
    relay = record.aboard(TOLD)
    assert (relay.name, relay.address, relay.ingress_port, relay.tunnel_port) == (
        NAME,
        "vpn.example.org",
        443,
        NO_TUNNEL,
    )
    assert relay.aboard
    keys = AgentKeys(Path(), Role.RELAY, document=SecretDocument(VAULT, lambda do: do(record.db)))
    membership = keys.membership(now=now())
    assert membership.identity.id == relay.id
    assert certificate_to_der(membership.credentials.certificate) == relay.certificate
    (row,) = record.db.execute("SELECT wrapped FROM secrets WHERE name = 'beacon_aboard'").fetchall()
    assert b"tls_key" not in row["wrapped"]
    # The same wish changes nothing.
    assert record.aboard(TOLD) == relay


def test_name_that_is_taken_gets_a_number(record: Record) -> None:
    adopt_sample_relay(record.db, record.authority, NAME)
    assert record.aboard(TOLD).name == f"{NAME}-2"


def test_beacon_on_loopback_is_in_no_ticket_until_somebody_says_so(record: Record) -> None:
    relay = record.aboard(LOOPBACK)
    assert relay.state is NodeState.DRAINING
    with pytest.raises(InvalidRequestError, match="beacon_address"):
        record.listed()
    # By an admin, whose word stands at the next start.
    record.move(relay, NodeAct.RESUME)
    assert record.listed() == ["127.0.0.1"]
    assert record.aboard(LOOPBACK).state is NodeState.ACTIVE


def test_address_that_is_told_is_in_tickets(record: Record) -> None:
    relay = record.aboard(LOOPBACK)
    assert record.aboard(TOLD) == get_record(record.db, RELAYS, relay.id)
    assert record.listed() == ["vpn.example.org"]
    assert record.aboard(AboardPlan(host="10.0.0.7")).address == "10.0.0.7"
    assert record.listed() == ["10.0.0.7"]


def test_beacon_that_is_switched_off_is_disabled_and_comes_back_as_the_same(record: Record) -> None:
    relay = record.aboard(TOLD)
    assert record.start(None) is None
    assert get_record(record.db, RELAYS, relay.id).state is NodeState.DISABLED
    again = record.aboard(TOLD)
    assert (again.id, again.state) == (relay.id, NodeState.ACTIVE)


def test_what_an_admin_disabled_no_start_enables(record: Record) -> None:
    record.move(record.aboard(TOLD), NodeAct.DISABLE)
    assert record.aboard(TOLD).state is NodeState.DISABLED
    assert record.start(None) is None
    assert record.aboard(LOOPBACK).state is NodeState.DISABLED


def test_beacon_aboard_that_was_revoked_comes_back_as_another(record: Record) -> None:
    relay = record.aboard(TOLD)
    record.move(relay, NodeAct.REVOKE)
    other = record.aboard(TOLD)
    assert other.id != relay.id
    assert other.spki != relay.spki
    assert get_record(record.db, RELAYS, relay.id).state is NodeState.REVOKED


def test_certificate_that_ended_while_helm_was_away_is_made_anew(record: Record) -> None:
    relay = record.aboard(TOLD)
    ended = certificate_from_der(relay.certificate).not_valid_after_utc + datetime.timedelta(days=1)
    later = record.start(TOLD, at=int(ended.timestamp() * 1e6))
    assert later is not None
    assert (later.id, later.state) == (relay.id, NodeState.ACTIVE)
    assert certificate_from_der(later.certificate).not_valid_after_utc > ended
    assert len(certificates_of(record.db, relay.id)) == 2


def test_where_the_beacon_is_says_helms_file_alone(record: Record) -> None:
    relay = record.aboard(TOLD)
    with pytest.raises(InvalidRequestError, match="beacon_address"):
        change_relay(record.db, sample_act(), relay.id, relay.version, {"address": "a.example"})
    assert change_relay(record.db, sample_act(), relay.id, relay.version, {"name": "home"}).name == "home"


def test_posture_says_whether_a_beacon_is_aboard_and_the_file_overrules_it() -> None:
    config = HelmConfig()
    assert config.aboard(Posture.PERSONAL) == AboardPlan(host="127.0.0.1", port=8441)
    assert config.aboard(Posture.ENTERPRISE) is None
    assert HelmConfig(beacon="on").aboard(Posture.ENTERPRISE) is not None
    assert HelmConfig(beacon="off").aboard(Posture.PERSONAL) is None


def test_address_that_others_reach_is_an_explicit_choice_with_a_warning() -> None:
    assert not AboardPlan(host="::1").warning
    assert not TOLD.warning, "who forwards a port to loopback knows it"
    plan = AboardPlan(host="0.0.0.0", port=8441)
    assert "0.0.0.0:8441" in plan.warning
    assert "beacon_address" in plan.warning, "it is not known where devices reach it"
    assert not plan.listed
    assert "beacon_address" not in AboardPlan(host="10.0.0.7").warning


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("vpn.example.org", ("vpn.example.org", 8441)),
        ("VPN.example.org:443", ("vpn.example.org", 443)),
        ("192.0.2.7:443", ("192.0.2.7", 443)),
        ("2001:db8::1", ("2001:db8::1", 8441)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
        ("[2001:db8::1]", ("2001:db8::1", 8441)),
    ],
)
def test_address_is_read_with_and_without_a_port(text: str, read: tuple[str, int]) -> None:
    assert read_address(text, 8441) == read


@pytest.mark.parametrize("text", ["a b", "host:", "host:port", "host:70000", "[::1", "[::1]443", "-", "1.2.3.4.5"])
def test_address_that_is_none_is_refused_when_helms_file_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        HelmConfig(beacon_address=text)


def test_other_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="neither on nor off"):
        HelmConfig(beacon="yes")
    with pytest.raises(ValueError, match="beacon_port"):
        HelmConfig(beacon_port=0)
    with pytest.raises(ValueError, match="not an IP address"):
        HelmConfig(beacon_host="localhost.example")
