"""The fleet's authority: what it signs verifies by role, and none of its secrets lies in the clear."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.helm.ca import authority as module
from pharos.helm.ca.authority import Authority, create_fleet, load_authority, new_serial, ula_of
from pharos.helm.ca.vault import RecoveryKit, Vault, open_vault
from pharos.helm.errors import AlreadyInitialisedError, NotInitialisedError
from pharos.helm.model.fleet import Posture
from pharos.helm.store.database import open_store
from pharos.helm.store.fleet import get_fleet, get_secret
from pharos.wire.errors import ManifestError, PeerRejectedError, RemoteProtocolError, StateFileError
from pharos.wire.ids import DeviceId, TicketId
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_to_der, generate_key, key_from_der
from pharos.wire.pki.manifest import verify_manifest
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Role
from pharos.wire.pki.trust import verify_trust
from pharos.wire.pki.verify import authorize_peer
from tests.support.helm import core_in_memory, fleet_in_memory, node_request, now, open_helm, relay_request

DEVICE = DeviceId("device-1")


def certified(authority: Authority) -> dict[Role, x509.Certificate]:
    """One certificate of every role that helm has a way to issue for."""
    return {
        Role.CONTROLLER: authority.controller.certificate,
        Role.NODE: authority.certify_agent(node_request(), "node-1", operator="o", now=now()),
        Role.RELAY: authority.certify_agent(relay_request(), "relay-1", operator="o", now=now()),
        Role.DEVICE: authority.certify_device(make_csr(generate_key()), DEVICE, TicketId(bytes(8)), now=now()),
    }


def test_certificates_prove_their_own_role_and_no_other() -> None:
    with fleet_in_memory() as (_, authority):
        for role, certificate in certified(authority).items():
            der = certificate_to_der(certificate)
            identity = authorize_peer(der, trust=authority.trust, roles={role}, peer_id=None, now=now())
            assert identity.role is role
            with pytest.raises(PeerRejectedError):
                authorize_peer(der, trust=authority.trust, roles=set(Role) - {role}, peer_id=None, now=now())
            with pytest.raises(PeerRejectedError):
                authorize_peer(der, trust=authority.trust, roles={role}, peer_id="somebody-else", now=now())


def test_certificates_prove_nothing_to_another_fleet() -> None:
    with fleet_in_memory() as (_, home), fleet_in_memory(1) as (_, other):
        for role, certificate in certified(home).items():
            with pytest.raises(PeerRejectedError):
                authorize_peer(
                    certificate_to_der(certificate), trust=other.trust, roles={role}, peer_id=None, now=now()
                )


def test_what_was_made_verifies_from_the_root_hash_alone() -> None:
    with fleet_in_memory() as (db, authority):
        fleet = get_fleet(db)
        root_hash = spki_hash(authority.trust.root.public_key())
        assert fleet.id == root_hash.hex()[:16]
        trust = verify_trust(
            root=fleet.root, fleet_ca=fleet.fleet_ca, device_ca=fleet.device_ca, root_hash=root_hash, now=now()
        )
        assert trust == authority.trust
        manifest = verify_manifest(authority.manifest, root_hash=root_hash, now=now())
        assert manifest.signing_key == bytes(authority.signing.verify_key)
        assert manifest.noise_key == authority.noise.public
        assert manifest.version == authority.manifest_version


def test_controller_certificate_fits_its_key() -> None:
    with fleet_in_memory() as (db, authority):
        credentials = authority.controller
        assert credentials.certificate.public_key() == credentials.key.public_key()
        assert authority.controller_id == get_fleet(db).controller_id


def test_device_without_proof_of_possession_is_not_certified() -> None:
    csr = bytearray(make_csr(generate_key()))
    csr[-1] ^= 1
    with fleet_in_memory() as (_, authority), pytest.raises(RemoteProtocolError):
        authority.certify_device(bytes(csr), DEVICE, TicketId(bytes(8)), now=now())


def test_second_fleet_in_one_store_is_refused() -> None:
    with fleet_in_memory() as (db, _):
        before = get_fleet(db)
        with pytest.raises(AlreadyInitialisedError, match="choose another --state"):
            create_fleet(db, Vault(bytes(32)), bytes(32), Posture.PERSONAL, now=now())
        assert get_fleet(db) == before


def test_authority_without_a_fleet_says_so() -> None:
    with core_in_memory() as db, pytest.raises(NotInitialisedError):
        load_authority(db, Vault(bytes(32)), now=now())


def test_authority_does_not_open_with_another_key() -> None:
    with fleet_in_memory() as (db, _), pytest.raises(StateFileError, match=r"restore core\.db and data\.key"):
        load_authority(db, Vault(b"X" * 32), now=now())


async def test_authority_comes_up_from_disk(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        made = helm.authority
    with open_store(tmp_path) as store:
        loaded = await store.run(load_authority, open_vault(tmp_path), now=now())
    assert loaded.trust == made.trust
    assert loaded.noise.private_bytes() == made.noise.private_bytes()
    assert bytes(loaded.signing) == bytes(made.signing)


async def test_root_key_opens_with_the_kit_only(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        version, wrapped = await helm.store.run(get_secret, "root")
        with pytest.raises(StateFileError):
            helm.vault.unwrap("root", version, wrapped)
        typed = RecoveryKit.parse(helm.kit.printed())
        root_key = key_from_der(typed.vault().unwrap("root", version, wrapped))
        assert root_key.public_key() == helm.authority.trust.root.public_key()
        with pytest.raises(StateFileError):
            RecoveryKit.create().vault().unwrap("root", version, wrapped)


async def test_kit_alone_opens_the_data_key_and_by_it_everything(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        version, wrapped = await helm.store.run(get_secret, "data-key")
        vault = Vault(helm.kit.vault().unwrap("data-key", version, wrapped))
        version, wrapped = await helm.store.run(get_secret, "noise")
        assert vault.unwrap("noise", version, wrapped) == helm.authority.noise.private_bytes()


async def test_no_secret_lies_in_the_clear_in_any_file_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every private key that `create_fleet` makes is caught as it is made, and looked for."""
    canaries: dict[str, bytes] = {}

    def catch_key(kind: str) -> object:
        make = getattr(module, kind)

        def caught() -> ec.EllipticCurvePrivateKey:
            key: ec.EllipticCurvePrivateKey = make()
            size = key.key_size // 8
            canaries[f"{kind} {len(canaries)}"] = key.private_numbers().private_value.to_bytes(size, "big")
            return key

        return caught

    for kind in ("generate_key", "generate_root_key"):
        monkeypatch.setattr(module, kind, catch_key(kind))
    async with open_helm(tmp_path, fresh=True) as helm:
        assert len(canaries) == 4, "root, both intermediates, controller"
        canaries["signing"] = bytes(helm.authority.signing)
        canaries["noise"] = helm.authority.noise.private_bytes()
        version, wrapped = await helm.store.run(get_secret, "data-key")
        canaries["data key"] = helm.kit.vault().unwrap("data-key", version, wrapped)
        canaries["kit"] = helm.kit._secret
        files = read_all(tmp_path)
        assert {"core.db", "core.db-wal", "telemetry.db", "data.key"} <= files.keys()
        for name, secret in canaries.items():
            for spelling in (secret, secret.hex().encode(), base64.b64encode(secret)):
                found = {file for file, content in files.items() if spelling in content}
                # The data key's daily wrap is its own file, mode 0600, beside the database and in no backup of it.
                allowed = {"data.key"} if name == "data key" else set()
                assert found <= allowed, f"{name} lies in {found}"
        assert base64.b64encode(canaries["data key"]) in files["data.key"], "the search finds what is there"


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_authority_prints_no_secret() -> None:
    with fleet_in_memory() as (_, authority):
        printed = repr(authority)
        assert bytes(authority.signing).hex() not in printed
        assert authority.noise.private_bytes().hex() not in printed
        assert "_fleet_ca_key" not in printed
        assert "PrivateKey" not in printed


def test_expired_manifest_stops_helm_with_its_own_error() -> None:
    later = now() + datetime.timedelta(days=10 * 366)
    with fleet_in_memory() as (db, _), pytest.raises(ManifestError):
        load_authority(db, Vault(bytes(32)), now=later)


def test_serials_are_positive_and_differ() -> None:
    serials = {new_serial() for _ in range(100)}
    assert len(serials) == 100
    assert all(0 < serial < 2**159 for serial in serials)


def test_inner_network_is_a_ula_of_this_fleet() -> None:
    with fleet_in_memory() as (_, one), fleet_in_memory(1) as (_, two):
        first, second = ula_of(one.trust.root), ula_of(two.trust.root)
        assert first != second
        assert first == ula_of(one.trust.root)
        assert first.startswith("fd")
        assert first.endswith("::/64")
