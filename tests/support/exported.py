"""What a browser does for an exported device, by the same functions that nodes and caravel use; and its test vectors.

    python -m tests.support.exported

writes ``frontend/src/lib/export/vectors.json``. Nothing in it is random: run again, it writes the same.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import uuid
import zlib
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.helm.model.devices import Device, DeviceKeys
from pharos.helm.model.fleet import Fleet, Posture
from pharos.helm.model.nodes import Node
from pharos.helm.profiles.build import open_record
from pharos.helm.profiles.configuration import configuration_of
from pharos.helm.store.pairs import Pair
from pharos.helm.store.realitykeys import ServedReality
from pharos.wire.awg.conf import InterfaceSection, PeerSection, TunnelConf, render
from pharos.wire.awg.generate import generate
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters
from pharos.wire.awg.randomness import Random
from pharos.wire.awg.ranges import Range
from pharos.wire.desired import Policy
from pharos.wire.ids import ControllerId, DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.params import RealityParameters
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.reports import RealityKey
from pharos.wire.seal.blind import Pairing, derive_both

VECTORS: Final = Path(__file__).parents[2] / "frontend" / "src" / "lib" / "export" / "vectors.json"
KEEPALIVE: Final = 25
"""Seconds: below what any translator of addresses forgets after."""

Json = dict[str, Any]


@attrs.frozen(kw_only=True)
class BrowserKeys:
    """What a browser draws for a device. It forgets the private sealing and Noise keys at once."""

    sealing: KeyPair
    derive: KeyPair
    noise: KeyPair
    awg: KeyPair

    @classmethod
    def generate(cls) -> BrowserKeys:
        """Draw four pairs."""
        return cls(**{name: KeyPair.generate() for name in attrs.fields_dict(cls)})

    @property
    def public(self) -> dict[str, str]:
        """As helm is told of them."""
        return {name: getattr(self, name).public.hex() for name in attrs.fields_dict(type(self))}


@attrs.frozen(kw_only=True)
class Secrets:
    """What a device has for one node."""

    awg: KeyPair
    psk: bytes
    user_id: uuid.UUID


def node_of(configuration: Json, name: str) -> Json:
    """Return one of the nodes."""
    (found,) = [node for node in configuration["nodes"] if node["name"] == name]
    return dict(found)


def secrets_of(configuration: Json, node: Json, keys: BrowserKeys) -> Secrets:
    """Derive what the node derives."""
    pairing = Pairing(
        fleet=FleetId(configuration["fleet"]),
        device=DeviceId(configuration["device"]),
        node=NodeId(node["id"]),
        generation=node["generation"],
        device_derive=keys.derive.public,
        node_derive=bytes.fromhex(node["derive_key"]),
        device_awg=keys.awg.public,
        node_awg=bytes.fromhex(node["awg_key"]),
    )
    psk, user_id = derive_both(pairing, keys.derive)
    return Secrets(awg=keys.awg, psk=psk, user_id=user_id)


def conf_of(configuration: Json, node: Json, secrets: Secrets, *, endpoint: int = 0, wireguard: bool = False) -> str:
    """Return the configuration file of a tunnel to one node."""
    place = node["endpoints"][endpoint]
    interface = InterfaceSection(
        private_key=secrets.awg.private_bytes(),
        addresses=tuple(ipaddress.ip_interface(text) for text in configuration["addresses"]),
        dns=tuple(configuration["dns"]),
        mtu=node["mtu"],
    )
    peer = PeerSection(
        public_key=bytes.fromhex(node["awg_key"]),
        preshared_key=secrets.psk,
        allowed_ips=tuple(ipaddress.ip_network(text) for text in configuration["allowed_ips"]),
        endpoint=(place["host"], place["port"]),
        persistent_keepalive=Range(KEEPALIVE, KEEPALIVE),
    )
    head, _, tail = render(TunnelConf(interface=interface, peers=(peer,))).partition("\n\n")
    lines = [] if wireguard else [f"{name} = {value}" for name, value in node["parameters"].items()]
    return "\n".join([head, *lines]) + "\n\n" + tail


def link_of(node: Json, secrets: Secrets, *, spare: int | None = None) -> str:
    """Return the ``vless://`` link into one node."""
    reality = node["reality"]
    port = reality["port"] if spare is None else reality["spare_ports"][spare]
    return ShareLink(
        user_id=secrets.user_id.bytes,
        address=Address(reality["address"], port),
        public_key=bytes.fromhex(reality["public_key"]),
        server_name=reality["server_names"][0],
        short_id=reality["short_id"],
        flow=reality["flow"],
        fingerprint=reality["fingerprint"],
        name=node["name"],
    ).render()


def amnezia_of(configuration: Json, node: Json, secrets: Secrets) -> Json:
    """Return what Amnezia's own app makes of our file when it imports it."""
    place, names = node["endpoints"][0], [text for text in configuration["dns"] if ":" not in text]
    protocol = "awg" if node["parameters"] else "wireguard"
    inner = {
        "config": conf_of(configuration, node, secrets),
        "hostName": place["host"],
        "port": place["port"],
        "client_priv_key": base64.b64encode(secrets.awg.private_bytes()).decode(),
        "client_ip": ", ".join(configuration["addresses"]),
        "psk_key": base64.b64encode(secrets.psk).decode(),
        "server_pub_key": base64.b64encode(bytes.fromhex(node["awg_key"])).decode(),
        "mtu": str(node["mtu"]),
        "persistent_keep_alive": str(KEEPALIVE),
        "allowed_ips": configuration["allowed_ips"],
        **node["parameters"],
    }
    outer = {
        "last_config": json.dumps(inner, separators=(",", ":"), ensure_ascii=False),
        "isThirdPartyConfig": True,
        "port": str(place["port"]),
        "transport_proto": "udp",
    }
    container = f"amnezia-{protocol}"
    return {
        "containers": [{"container": container, protocol: outer}],
        "defaultContainer": container,
        "description": node["name"],
        "hostName": place["host"],
        **({"dns1": names[0], "dns2": names[min(1, len(names) - 1)]} if names else {}),
    }


def amnezia_text(document: Json) -> str:
    """Return ``vpn://`` text: Qt's qCompress, in base64url."""
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    packed = len(raw).to_bytes(4, "big") + zlib.compress(raw)
    return "vpn://" + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


# -- vectors


def _pair(name: str) -> KeyPair:
    return KeyPair.from_private_bytes(hashlib.sha256(f"pharos export vectors: {name}".encode()).digest())


def node_pair(number: int, use: str) -> KeyPair:
    """Return a key pair of one of the vectors' nodes."""
    return _pair(f"node {number} {use}")


def _random(name: str) -> Random:
    state = 0

    def draw(count: int) -> bytes:
        nonlocal state
        out = b""
        while len(out) < count:
            out += hashlib.sha256(f"{name} {state}".encode()).digest()
            state += 1
        return out[:count]

    return draw


def sample_browser(number: int) -> BrowserKeys:
    """Return keys that are the same each time."""
    return BrowserKeys(**{name: _pair(f"device {number} {name}") for name in attrs.fields_dict(BrowserKeys)})


def _node(number: int, name: str, address: str, parameters: ObfuscationParameters, **values: Any) -> Node:
    reality = RealityParameters(
        target="site.example:443",
        server_names=("site.example", "www.site.example"),
        short_ids=(f"{number:016x}",),
        generation=number,
    )
    return Node(
        id=NodeId(f"019b7c12-0000-7000-8000-{number:012d}"),
        name=name,
        address=address,
        control_port=7443,
        awg_port=443,
        awg_key=node_pair(number, "awg").public,
        derive_key=node_pair(number, "derive").public,
        awg_parameters=parameters,
        reality=reality,
        spki=b"",
        certificate=b"",
        **values,
    )


def sample_configuration(number: int = 1, **policy: Any) -> Json:
    """Return a configuration with a node of each generation of parameters, and the keys of ``sample_browser``."""
    keys = DeviceKeys(**{name: bytes.fromhex(key) for name, key in sample_browser(number).public.items()})
    device = Device(
        id=DeviceId("019b7c12-0000-7000-8000-00000000d001"),
        name="Ada's phone",
        sealing_key=keys.sealing,
        derive_key=keys.derive,
        noise_key=keys.noise,
        awg_key=keys.awg,
        address4="10.86.0.7",
        address6="fd12:3456:789a:bcde::7",
        exported=True,
    )
    junk = attrs.evolve(PLAIN, jc=4, jmin=40, jmax=90)
    nodes = [
        _node(1, "amsterdam", "203.0.113.7", generate(_random("1.0"), Generation.V1_0)),
        _node(2, "new-york", "2001:db8::7", generate(_random("1.5"), Generation.V1_5), spare_ports=()),
        _node(3, "Zürich & ö", "zrh.example.net", generate(_random("2.0"), Generation.V2_0), spare_ports=(2053, 4500)),
        _node(4, "plain", "198.51.100.4", junk),
        _node(5, "newest", "198.51.100.5", generate(_random("3.1"), Generation.V3_1)),
    ]
    served = {
        node.id: ServedReality(
            port=443,
            keys={n: RealityKey(generation=n, public_key=node_pair(n, "reality").public, proof=bytes(64))},
        )
        for n, node in enumerate(nodes, 1)
        # The last one serves none.
        if n < 5
    }
    fleet = Fleet(
        id=FleetId("00112233aabbccdd"),
        posture=Posture.PERSONAL,
        epoch=1,
        term=1,
        revision=42,
        pool4="10.86.0.0/16",
        pool6="fd12:3456:789a:bcde::/64",
        root=b"",
        fleet_ca=b"",
        device_ca=b"",
        controller=b"",
        controller_id=ControllerId("c1"),
        manifest=b"",
        created_at=0,
    )
    moved = Pair(device_id=device.id, node_id=nodes[2].id, generation=3, acknowledged=3)
    record = attrs.evolve(
        open_record(fleet, nodes), reality=served, policy=Policy(**policy), pairs={device.id: {moved.node_id: moved}}
    )
    return configuration_of(record, device, pools=(fleet.pool4, fleet.pool6), revision=42)


def make_vectors() -> Json:
    """Return what a browser has to come to, and of what."""
    cases = []
    policies: list[Json] = [{}, {"internet": False, "resolvers": ("10.0.0.53", "fd00::53")}]
    for number, policy in enumerate(policies, 1):
        configuration, keys = sample_configuration(number, **policy), sample_browser(number)
        cases.append(
            {
                "private": {name: getattr(keys, name).private_bytes().hex() for name in ("derive", "awg")},
                "public": keys.public,
                "configuration": configuration | {"outdated_at": None},
                "nodes": [_case(configuration, node, keys) for node in configuration["nodes"]],
            }
        )
    return {
        "what": "made by python -m tests.support.exported, of which a test says that nodes derive the same",
        "cases": cases,
    }


def _case(configuration: Json, node: Json, keys: BrowserKeys) -> Json:
    secrets = secrets_of(configuration, node, keys)
    document = amnezia_of(configuration, node, secrets)
    return {
        "id": node["id"],
        "shared": keys.derive.exchange(bytes.fromhex(node["derive_key"])).hex(),
        "psk": base64.b64encode(secrets.psk).decode(),
        "user_id": str(secrets.user_id),
        "confs": [conf_of(configuration, node, secrets, endpoint=n) for n in range(len(node["endpoints"]))],
        "wireguard": conf_of(configuration, node, secrets, wireguard=True) if node["wireguard"] else None,
        "link": None if node["reality"] is None else link_of(node, secrets),
        "amnezia": document,
        "vpn": amnezia_text(document),
    }


def rendered() -> str:
    """Return the file."""
    return json.dumps(make_vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    VECTORS.write_text(rendered(), encoding="utf-8")
