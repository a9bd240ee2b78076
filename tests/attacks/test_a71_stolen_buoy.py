"""Row 71. Position: everything that a node has on its disk. Wants: the rest of the fleet.

The loot is the files of a node that served: its certificate and key, its AmneziaWG and derive keys, the orders of helm.
Countermeasure: each node has keys of its own and of nobody else; its certificate is a server's, for one role and one
id; what it signs nobody believes; and what a device shares with a node enters no other node.
"""

from __future__ import annotations

import base64
import shutil
import ssl
from pathlib import Path

import attrs
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.desired import Fence, Peer, Push
from pharos.wire.errors import LocalProtocolError, PeerRejectedError
from pharos.wire.files import StateFile
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.keys import certificate_to_der as der
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.profile import leaf_template
from pharos.wire.pki.roles import CONTROL, Role
from pharos.wire.pki.tls import client_context, server_context
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.seal.blind import Pairing, derive_psk, derive_uuid
from pharos.wire.seal.realitykey import derive_reality_key
from tests.support.agents import joined
from tests.support.buoy import make_buoy
from tests.support.pki import home_fleet, other_fleet, sign_certificate, utc_now
from tests.support.strategies import parameters_of
from tests.support.tls import shake_hands
from tests.support.trust import SIGNING_KEY, Signer
from tests.wire.pki.test_matrix import (
    Listener,
    admit_everybody,
    everywhere,
    gets_in,
    peer_context,
    proper_context,
    running,
)

HOME, HELM = home_fleet(), Signer()
STOLEN, OTHER = NodeId("stolen"), NodeId("other")


@attrs.frozen(kw_only=True)
class Loot:
    """What the thief has: copies of files, and what they make of him."""

    folder: Path
    keys: AgentKeys
    membership: Membership
    device: KeyPair
    """Of a device that the node serves; not the thief's, for the other side of what he tries."""
    other: AgentKeys
    """Another node, likewise."""

    def files(self) -> bytes:
        return b"\n".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())

    def dialler(self, listener: Listener) -> ssl.SSLContext:
        context = client_context(trust=HOME.trust, credentials=self.membership.credentials)
        # What is tested is whether it is let in, not whom it believes.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def pairing(self, node: NodeId, keys: AgentKeys) -> Pairing:
        """What the device has with a node."""
        return Pairing(
            fleet=HOME.id,
            device=DeviceId("phone"),
            node=node,
            generation=1,
            device_derive=self.device.public,
            node_derive=keys.derive_key.public,
            device_awg=self.device.public,
            node_awg=KeyPair.from_private_bytes(keys.awg_key).public,
        )


@pytest.fixture
def loot(tmp_path: Path) -> Loot:
    for name in (STOLEN, OTHER):
        (tmp_path / name).mkdir(mode=0o700)
    victim, other = (joined(tmp_path / name, name=name) for name in (STOLEN, OTHER))
    device = KeyPair.generate()
    phone = Peer(
        device_id=DeviceId("phone"),
        awg_key=device.public,
        derive_key=device.public,
        generation=1,
        addresses=("10.86.0.2/32",),
    )
    push = Push(
        fence=Fence(1, 1, 1),
        snapshot=True,
        upsert=(phone,),
        awg=parameters_of(1),
        addresses=("10.86.0.1",),
        manifest=HELM.manifest(),
        deny_list=HELM.deny_list(),
        checkpoint=HELM.checkpoint(1),
    )

    async def serve() -> None:
        node = make_buoy(tmp_path / STOLEN, keys=victim, membership=victim.membership(now=utc_now())).node
        await node.push(push)
        await node.keeping.renew()

    trio.run(serve)
    folder = tmp_path / "loot"
    shutil.copytree(tmp_path / STOLEN, folder)
    keys = AgentKeys(folder, Role.NODE)
    return Loot(folder=folder, keys=keys, membership=keys.membership(now=utc_now()), device=device, other=other)


def spellings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"=")]


def octets_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")


def pkcs8_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a71_files_hold_the_nodes_own_keys_and_nobody_elses(loot: Loot) -> None:
    files = loot.files()
    psk = derive_psk(loot.pairing(STOLEN, loot.keys), loot.device)
    absent = {
        "what the device shares with it": [psk, derive_uuid(loot.pairing(STOLEN, loot.keys), loot.device).bytes],
        "the device": [loot.device.private_bytes()],
        "the other node": [loot.other.awg_key, loot.other.derive_key.private_bytes()],
        "helm's signature": [bytes(SIGNING_KEY)],
    }
    for name, key in (("root", HOME.root_key), ("fleet", HOME.fleet_ca_key), ("device", HOME.device_ca_key)):
        absent[f"the authority {name}"] = [octets_of(key), pkcs8_of(key)]
    found = [whose for whose, secrets in absent.items() for one in secrets if any(s in files for s in spellings(one))]
    assert found == []
    # Red: looked for in the same way, its own are there.
    own = [loot.keys.awg_key, loot.keys.derive_key.private_bytes(), pkcs8_of(loot.membership.credentials.key)]
    assert all(any(spelling in files for spelling in spellings(one)) for one in own)
    body = StateFile(loot.folder / "identity.json", "pharos/node-identity/v1", "").load()
    assert body is not None
    assert set(body) == {"tls_key", "next_tls_key", "awg_key", "derive_key", "grant"}


def context_that_asks_nobody(listener: Listener) -> ssl.SSLContext:
    """Weakened: whoever comes is not asked who he is."""
    context = proper_context(listener)
    context.verify_mode = ssl.CERT_NONE
    return context


@everywhere
@pytest.mark.red_inside
async def test_a71_its_certificate_opens_no_door_of_the_fleet(loot: Loot, listener: Listener) -> None:
    # A buoy's control, as helm; a beacon's tunnel, as helm; an ingress, as a device; helm's own page.
    async with running(listener, admit=admit_everybody, make_context=context_that_asks_nobody) as weakened:
        assert await gets_in(weakened, loot.dialler(listener))
    async with running(listener) as target:
        assert not await gets_in(target, loot.dialler(listener))


@everywhere
async def test_a71_it_is_a_stranger_to_another_fleet(loot: Loot, listener: Listener) -> None:
    """Row 5 with what was stolen: a fleet that has the same names, and nodes of the same ids, knows no such member."""
    there = other_fleet()
    leaf = der(loot.membership.credentials.certificate)
    with pytest.raises(PeerRejectedError):
        authorize_peer(leaf, trust=there.trust, roles={Role.NODE}, peer_id=STOLEN, now=utc_now())
    # And the other way: what a thief makes in a fleet of his own opens nothing of this one.
    async with running(listener) as target:
        assert not await gets_in(target, peer_context(listener, there, Role.NODE))


@pytest.mark.parametrize(("role", "name"), [(Role.NODE, "other"), (Role.RELAY, "stolen"), (Role.RELAY, "gate")])
@pytest.mark.red_inside
def test_a71_it_answers_for_no_other_node_and_for_no_beacon(loot: Loot, role: Role, name: str) -> None:
    server = server_context(loot.membership.credentials, trust=HOME.trust, policy=CONTROL)
    dialled = HOME.identity(role, name).dns_name
    helm = client_context(trust=HOME.trust, credentials=HOME.member(Role.CONTROLLER))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, helm, server_hostname=dialled)
    leaf, now = der(loot.membership.credentials.certificate), utc_now()
    with pytest.raises(PeerRejectedError):
        authorize_peer(leaf, trust=HOME.trust, roles={role}, peer_id=name, now=now)
    # Red: one who does not say whom he dials takes it for that.
    helm.check_hostname = False
    shake_hands(server, helm, server_hostname=dialled)
    authorize_peer(leaf, trust=HOME.trust, roles=set(Role), peer_id=None, now=now)


@pytest.mark.parametrize("role", Role)
@pytest.mark.red_inside
def test_a71_what_it_signs_is_nobody(loot: Loot, role: Role) -> None:
    thief, key = loot.membership.credentials, generate_key()
    for subject in (thief.certificate.subject, HOME.trust.fleet_ca.subject):
        minted = sign_certificate(
            subject=x509.Name([]),
            public_key=key.public_key(),
            template=leaf_template(HOME.identity(role), key.public_key(), ca=thief.certificate),
            issuer=subject,
            issuer_key=thief.key,
        )
        with pytest.raises(PeerRejectedError, match="does not verify"):
            authorize_peer(der(minted), trust=HOME.trust, roles=set(Role), peer_id=None, now=utc_now())
    # Red: by signatures alone the path is whole.
    thief.certificate.verify_directly_issued_by(HOME.trust.fleet_ca)
    algorithm = minted.signature_hash_algorithm
    assert algorithm is not None
    thief.key.public_key().verify(minted.signature, minted.tbs_certificate_bytes, ec.ECDSA(algorithm))


@pytest.mark.red_inside
def test_a71_secrets_of_the_same_device_with_another_node_stay_theirs(loot: Loot) -> None:
    theirs = loot.pairing(OTHER, loot.other)
    thief = loot.keys.derive_key
    psk, user_id = derive_psk(theirs, loot.device), derive_uuid(theirs, loot.device)
    for derive in (derive_psk, derive_uuid):
        with pytest.raises(LocalProtocolError, match="neither side"):
            derive(theirs, thief)
    # With his own key in the other's place, or all his keys under the other's name, he gets something else.
    forged = attrs.evolve(theirs, node_derive=thief.public)
    assert derive_psk(forged, thief) != psk
    assert derive_psk(attrs.evolve(loot.pairing(STOLEN, loot.keys), node=OTHER), thief) != psk
    assert derive_uuid(forged, thief) != user_id
    stolen, other = (
        derive_reality_key(keys.derive_key, fleet=HOME.id, node=OTHER, generation=1) for keys in (loot.keys, loot.other)
    )
    assert stolen.public != other.public
    # Red: in a fleet whose nodes had one derive key, the device's secret with any of them would be his.
    shared = attrs.evolve(theirs, node_derive=thief.public)
    assert derive_psk(shared, thief) == derive_psk(shared, loot.device)


def test_a71_once_revoked_it_is_not_even_itself(loot: Loot) -> None:
    leaf, now = der(loot.membership.credentials.certificate), utc_now()
    # Until then a copy is as good as the node: that is what is lost.
    itself = authorize_peer(leaf, trust=HOME.trust, roles={Role.NODE}, peer_id=STOLEN, now=now)
    deny = HOME.deny_list(itself)
    with pytest.raises(PeerRejectedError, match="revoked"):
        authorize_peer(leaf, trust=HOME.trust, roles={Role.NODE}, peer_id=STOLEN, now=now, deny=deny)
