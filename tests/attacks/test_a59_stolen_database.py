"""Row 59. Position: has a copy of helm's databases, their logs, hourly copies and log. Wants: users' and CAs' secrets.

Countermeasure: devices make their keys themselves, and helm never has them; its own secrets, and what a ticket opens,
are wrapped by the data key. Looked for is each secret, as octets and in each way in which text holds octets.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.helm.accounts.claim import DeviceClaim, claim_ticket
from pharos.helm.accounts.tickets import invite_device
from pharos.helm.ca.vault import Vault
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import DeviceKeys
from pharos.helm.store.changes import Act
from pharos.helm.store.copies import make_copy
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_secret
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key, key_from_der
from pharos.wire.seal.ticket import TicketLink
from tests.support.helm import STARTED_AT, SampleHelm, adopt_sample_relay, open_helm

DEVICES = 3
HELMS_OWN = ("fleet-ca", "device-ca", "controller", "signing", "noise")


def scalar(key: ec.EllipticCurvePrivateKey) -> bytes:
    """What every encoding of a private key holds."""
    return key.private_numbers().private_value.to_bytes(32, "big")


def enrol(db: Database, helm: SampleHelm, number: int) -> dict[str, bytes]:
    """Bring a device in as devices come in; return what only it and its ticket know."""
    act = Act(actor="operator", at=now_us())
    hour = datetime.timedelta(hours=1)
    made = invite_device(db, act, helm.authority, helm.vault, device_name=f"phone {number}", lifetime=hour)
    link = TicketLink.parse(made.link)
    pairs = {name: KeyPair.generate() for name in ("sealing", "derive", "noise", "awg")}
    tls = generate_key()
    claim = DeviceClaim(
        ticket_id=link.ticket_id,
        proof=link.keys().proof,
        csr=make_csr(tls),
        keys=DeviceKeys(**{name: pair.public for name, pair in pairs.items()}),
        device_name="",
    )
    claim_ticket(db, act, helm.authority, claim)
    secrets = {name: pair.private_bytes() for name, pair in pairs.items()}
    secrets |= {"TLS": scalar(tls), "ticket": link.secret, "psk": link.keys().psk, "proof": link.keys().proof}
    return {f"{name} of phone {number}": secret for name, secret in secrets.items()}


def own_secrets(db: Database, helm: SampleHelm, vault: Vault) -> dict[str, bytes]:
    """What helm itself must keep to itself."""
    secrets = {}
    for name in HELMS_OWN:
        version, wrapped = get_secret(db, name)
        secret = vault.unwrap(name, version, wrapped)
        secrets[name] = secret if len(secret) == 32 else scalar(key_from_der(secret))
    version, wrapped = get_secret(db, "root")
    root = key_from_der(helm.kit.vault().unwrap("root", version, wrapped))
    return secrets | {"root": root.private_numbers().private_value.to_bytes(48, "big")}


def found_in(content: bytes, secrets: Mapping[str, bytes]) -> set[str]:
    """Return the names of the secrets that stand in ``content``, in any of their spellings."""
    folded = content.lower()
    return {
        name
        for name, secret in secrets.items()
        if secret in content
        or secret.hex().encode() in folded
        # Without the last characters, which depend on what follows.
        or base64.b64encode(secret).rstrip(b"=")[:-1] in content
        or base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1] in content
    }


async def leaks_of(state: Path, caplog: pytest.LogCaptureFixture) -> set[str]:
    """Run a fleet with three devices; return the secrets that stand in its files or in its log."""
    with caplog.at_level("DEBUG"):
        async with open_helm(state, fresh=True) as helm:
            await helm.store.run(adopt_sample_relay, helm.authority)
            secrets = await helm.store.run(own_secrets, helm, helm.vault)
            for number in range(DEVICES):
                secrets |= await helm.store.run(enrol, helm, number)
            make_copy(state, STARTED_AT, keep=1)
            # While it runs, for its log is part of the database.
            contents = contents_of(state)
    assert {"core.db", "core.db-wal", "telemetry.db", "core-20270115T080000Z.db"} <= contents.keys()
    assert len(secrets) == len(HELMS_OWN) + 1 + DEVICES * 8
    leaks = {name for content in contents.values() for name in found_in(content, secrets)}
    return leaks | found_in(caplog.text.encode(), secrets)


def contents_of(state: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in state.rglob("*") if path.is_file()}


async def test_a59_no_secret_stands_in_databases_copies_or_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await leaks_of(tmp_path, caplog) == set()


async def test_a59_turns_red_without_the_wrap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weakened: rows hold what they were given."""
    monkeypatch.setattr(Vault, "wrap", lambda _self, _name, _version, secret: secret)
    monkeypatch.setattr(Vault, "unwrap", lambda _self, _name, _version, wrapped: wrapped)
    assert await leaks_of(tmp_path, caplog) == {*HELMS_OWN, "root", *(f"psk of phone {n}" for n in range(DEVICES))}


@pytest.mark.parametrize("spell", [bytes, lambda raw: raw.hex().encode(), base64.b64encode, base64.urlsafe_b64encode])
def test_a59_every_spelling_is_found(spell: object) -> None:
    secret = bytes(range(150, 182))
    assert found_in(b"before " + spell(secret) + b" after", {"it": secret}) == {"it"}  # type: ignore[operator]
    assert found_in(b"before " + secret[1:], {"it": secret}) == set()
